"""The tree on disk: three files that only grow, and a commit that says how much of them counts.

Theory of operation. ``nodes`` holds the hashes of all perfect subtrees in the order in which they
become full (dexcore.merkle), ``leaves`` a row for each record. Both are appended to and synced;
then the commit, size and root and the journal's chain hash, is written into the older one of two
sectors and synced. Whatever a crash leaves behind the last good commit was never part of the tree:
it is written over. A commit is believed only when the root made of the hashes on disk is the one
it names; where none is, the tree is empty and is built again from the journal.

One thread appends. Others may read what is committed, which never changes again.
"""

from __future__ import annotations

import errno
import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple, final

from dexcore import merkle
from dexcore.leaf import DIGEST_BYTES, NO_DIGEST, digests, encode_leaf
from dexcore.merkle import HASH_BYTES, Frontier
from dexruntime.audit.errors import AuditFailed, AuditFull
from dexruntime.journal import Identity, JournalMismatch, Record
from dexruntime.journal.format import CHAIN_BYTES
from dexruntime.storage import SECTOR_BYTES, Storage, StorageFile

NODES_NAME: Final = "audit-nodes.dxa"
LEAVES_NAME: Final = "audit-leaves.dxa"
COMMIT_NAME: Final = "audit-commit.dxa"
COMMIT_MAGIC: Final = b"DXAUDIT\n"
COMMIT_VERSION: Final = 1
_COMMITS: Final = 2
# magic, version, shard, commit number, size, time_ns, root, chain, network id and its length.
_COMMIT: Final = struct.Struct(f"<8sHHQqq{HASH_BYTES}s{CHAIN_BYTES}sB64s")
_CRC: Final = struct.Struct("<I")
# time_ns, command digest, envelope digest (zeros: no envelope).
_LEAF: Final = struct.Struct(f"<q{DIGEST_BYTES}s{DIGEST_BYTES}s")
_ZEROS: Final = bytes(DIGEST_BYTES)
LEAF_BYTES: Final = _LEAF.size
_FLUSH_BYTES: Final = 1 << 20
# A whole number of rows, so that a search never finds a digest across two reads.
_SEARCH_LEAVES: Final = 16_384


class Commit(NamedTuple):
    """How much of the files is the tree, and of which journal."""

    number: int
    size: int
    time_ns: int
    root: bytes
    chain: bytes


_NOTHING: Final = Commit(0, 0, 0, merkle.EMPTY_ROOT, b"")


class LeafRow(NamedTuple):
    """What is kept of a record: enough to make its leaf without the journal."""

    time_ns: int
    command_digest: bytes
    envelope_digest: bytes


@final
class TreeStore:
    """The tree of one shard. ``open`` finds its last good commit, or starts anew."""

    def __init__(self, storage: Storage, identity: Identity) -> None:
        """Open the tree; ``size`` is 0 where there is none that can be believed.

        Raises JournalMismatch for one of another network or shard, OSError.
        """
        self._storage = storage
        self._identity = identity
        names = storage.list_names()
        for name in (NODES_NAME, LEAVES_NAME, COMMIT_NAME):
            if name not in names:
                storage.open(name, "create").close()
        storage.sync_directory()
        self._nodes = storage.open(NODES_NAME, "write")
        self._leaves = storage.open(LEAVES_NAME, "write")
        self._commits = storage.open(COMMIT_NAME, "write")
        found = sorted(read_commits(self._commits, identity), reverse=True)
        self._last_number = found[0].number if found else 0
        self._begin(next((each for each in found if self._holds(each)), _NOTHING))

    def _begin(self, commit: Commit) -> None:
        self.committed = commit
        self._new_nodes = bytearray()
        self._new_leaves = bytearray()
        self._flushed = commit.size
        self._frontier = Frontier.of(self, commit.size)
        self._time_ns = commit.time_ns

    def reset(self) -> None:
        """Forget all: the tree is built again from the journal."""
        self._begin(_NOTHING._replace(number=self._last_number))

    def close(self) -> None:
        """Close the files; what was not committed is forgotten."""
        for file in (self._nodes, self._leaves, self._commits):
            file.close()

    @property
    def size(self) -> int:
        """Leaves appended, committed or not."""
        return self._frontier.size

    # --- growing

    def append(self, record: Record) -> None:
        """Add the record after the last; raises ValueError for any other."""
        if record.sequence != self._frontier.size + 1:
            raise ValueError(f"record {record.sequence} does not follow {self._frontier.size}")
        command, envelope = digests(record.command, record.envelope)
        leaf = encode_leaf(record.sequence, record.time_ns, command, envelope)
        self._new_nodes += b"".join(self._frontier.append(merkle.leaf_hash(leaf)))
        self._new_leaves += _LEAF.pack(record.time_ns, command, envelope or _ZEROS)
        self._time_ns = record.time_ns

    def flush(self, at_least_bytes: int = _FLUSH_BYTES) -> None:
        """Write what was appended, once it is enough; raises AuditFull, and may be called again."""
        if not self._new_leaves or len(self._new_nodes) < at_least_bytes:
            return
        try:
            self._nodes.write(merkle.node_count(self._flushed) * HASH_BYTES, bytes(self._new_nodes))
            self._leaves.write(self._flushed * LEAF_BYTES, bytes(self._new_leaves))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise AuditFull(f"no room for the audit tree: {error}") from error
            raise
        self._flushed = self._frontier.size
        self._new_nodes.clear()
        self._new_leaves.clear()

    def commit(self, chain: bytes) -> None:
        """Make all that was appended durable; ``chain`` is the journal's after the last record.

        Raises AuditFull, which may pass, and AuditFailed, which does not.
        """
        if self._frontier.size == self.committed.size:
            return
        self.flush(0)
        commit = Commit(
            self._last_number + 1, self._frontier.size, self._time_ns, self._frontier.root(), chain
        )
        # The pair of the running root: the one that proofs will be made from.
        if merkle.root(self, commit.size) != commit.root:
            raise AuditFailed(f"the audit tree of {commit.size} leaves reads back differently")
        name = NODES_NAME
        try:
            self._nodes.datasync()
            name = LEAVES_NAME
            self._leaves.datasync()
            name = COMMIT_NAME
            offset = commit.number % _COMMITS * SECTOR_BYTES
            self._commits.write(offset, encode_commit(commit, self._identity))
            self._commits.datasync()
        except OSError as error:
            raise AuditFailed(f"{name} could not be made durable: {error}") from error
        self._last_number = commit.number
        self.committed = commit

    # --- reading

    def hash_at(self, position: int) -> bytes:
        """The subtree hash at a position of the list (dexcore.merkle)."""
        start = merkle.node_count(self._flushed)
        if position < start:
            return read_hash(self._nodes, position)
        offset = (position - start) * HASH_BYTES
        return bytes(self._new_nodes[offset : offset + HASH_BYTES])

    def leaf(self, index: int) -> bytes:
        """The serialized leaf of a written record."""
        row = self._row(index)
        return encode_leaf(index + 1, *row)

    def time_ns(self, index: int) -> int:
        """The time of a written record."""
        return self._row(index).time_ns

    def find_envelope(self, digest: bytes, size: int, from_ns: int, to_ns: int) -> int | None:
        """Index of the first leaf with this envelope digest whose time is in [from, to]."""
        index = self._first_at(from_ns, size)
        while index < size:
            count = min(_SEARCH_LEAVES, size - index)
            rows = self._leaves.read(index * LEAF_BYTES, count * LEAF_BYTES)
            at = rows.find(digest)
            while at >= 0:
                row, offset = divmod(at, LEAF_BYTES)
                if offset == LEAF_BYTES - DIGEST_BYTES:
                    return index + row
                at = rows.find(digest, at + 1)
            (last_ns,) = struct.unpack_from("<q", rows, len(rows) - LEAF_BYTES)
            if last_ns > to_ns:
                return None
            index += count
        return None

    def _first_at(self, time_ns: int, size: int) -> int:
        """Index of the first leaf at or after a time; times never fall."""
        low, high = 0, size
        while low < high:
            middle = (low + high) // 2
            if self._row(middle).time_ns < time_ns:
                low = middle + 1
            else:
                high = middle
        return low

    def _row(self, index: int) -> LeafRow:
        [row] = read_rows(self._leaves, index, 1)
        return row

    # --- opening

    def _holds(self, commit: Commit) -> bool:
        """Whether the files hold what a commit says."""
        if self._nodes.size() < merkle.node_count(commit.size) * HASH_BYTES:
            return False
        if self._leaves.size() < commit.size * LEAF_BYTES:
            return False
        self._flushed = commit.size
        if merkle.root(self, commit.size) != commit.root:
            return False
        last = merkle.leaf_hash(self.leaf(commit.size - 1))
        return (
            self.hash_at(merkle.node_position(0, commit.size - 1)) == last
            and self._row(commit.size - 1).time_ns == commit.time_ns
        )


@final
class ReadOnlyTree:
    """The committed hashes of a tree on disk, for a verifier beside a running node."""

    def __init__(self, storage: Storage, identity: Identity) -> None:
        """Raises OSError where there is no tree, JournalMismatch for that of another network."""
        self._nodes = storage.open(NODES_NAME)
        commits = storage.open(COMMIT_NAME)
        found = list(read_commits(commits, identity))
        commits.close()
        self.size = max((commit.size for commit in found), default=0)

    def close(self) -> None:
        """Close the file."""
        self._nodes.close()

    def hash_at(self, position: int) -> bytes:
        """The subtree hash at a position of the list (dexcore.merkle)."""
        return read_hash(self._nodes, position)

    def leaf_hashes(self, start: int, end: int) -> Iterator[bytes]:
        """Hashes of the leaves [start, end)."""
        for index in range(start, end):
            yield self.hash_at(merkle.node_position(0, index))


def read_hash(nodes: StorageFile, position: int) -> bytes:
    """One hash of the file of nodes; raises AuditFailed where it ends."""
    data = nodes.read(position * HASH_BYTES, HASH_BYTES)
    if len(data) != HASH_BYTES:
        raise AuditFailed(f"the audit tree ends before its hash {position}")
    return data


def read_rows(leaves: StorageFile, start: int, count: int) -> list[LeafRow]:
    """Rows of the file of leaves; raises AuditFailed where it ends."""
    data = leaves.read(start * LEAF_BYTES, count * LEAF_BYTES)
    if len(data) != count * LEAF_BYTES:
        raise AuditFailed(f"the audit tree ends before its leaf {start + count - 1}")
    return [
        LeafRow(time_ns, command, NO_DIGEST if envelope == _ZEROS else envelope)
        for time_ns, command, envelope in _LEAF.iter_unpack(data)
    ]


def encode_commits(commit: Commit, identity: Identity) -> bytes:
    """The file of commits with this one alone in it."""
    sectors = [bytes(SECTOR_BYTES)] * _COMMITS
    sectors[commit.number % _COMMITS] = encode_commit(commit, identity)
    return b"".join(sectors)


def encode_commit(commit: Commit, identity: Identity) -> bytes:
    """A commit as a sector."""
    network = identity.network_id.encode()
    body = _COMMIT.pack(
        COMMIT_MAGIC,
        COMMIT_VERSION,
        identity.shard,
        commit.number,
        commit.size,
        commit.time_ns,
        commit.root,
        commit.chain,
        len(network),
        network,
    ).ljust(SECTOR_BYTES - _CRC.size, b"\0")
    return body + _CRC.pack(zlib.crc32(body))


def read_commits(file: StorageFile, identity: Identity) -> Iterator[Commit]:
    """The sound commits of the file; raises JournalMismatch for one of another journal."""
    for slot in range(_COMMITS):
        sector = file.read(slot * SECTOR_BYTES, SECTOR_BYTES)
        if len(sector) != SECTOR_BYTES:
            continue
        if _CRC.unpack_from(sector, SECTOR_BYTES - _CRC.size)[0] != zlib.crc32(
            sector[: -_CRC.size]
        ):
            continue
        magic, version, shard, *values, length, network = _COMMIT.unpack_from(sector)
        if magic != COMMIT_MAGIC or version != COMMIT_VERSION:
            continue
        if (network[:length].decode(), shard) != (identity.network_id, identity.shard):
            raise JournalMismatch("the audit tree belongs to another network or shard")
        yield Commit(*values)
