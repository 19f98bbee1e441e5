"""A copy of the tree for a backup: no more of it than the backup's journal holds.

The files of the tree only grow, so a running node may go on while they are copied. What is copied
was checked leaf by leaf and hash by hash before: against the records the journal still has, and
where retention removed them against itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dexcore import merkle
from dexcore.leaf import digests, encode_leaf
from dexcore.merkle import HASH_BYTES, Frontier
from dexruntime.audit.errors import AuditFailed
from dexruntime.audit.follower import chain_after
from dexruntime.audit.store import (
    COMMIT_NAME,
    LEAF_BYTES,
    LEAVES_NAME,
    NODES_NAME,
    Commit,
    ReadOnlyTree,
    encode_commits,
    read_commits,
    read_rows,
)
from dexruntime.files import publish_file
from dexruntime.journal import Identity, JournalEnd, JournalReader
from dexruntime.journal.segment import list_segments
from dexruntime.storage import PosixStorage, Storage

_ROWS_AT_A_TIME: Final = 8_192
_COPY_BYTES: Final = 1 << 20


def tree_up_to(tree: Storage, journal: Storage, identity: Identity, end: JournalEnd) -> Commit:
    """What of the tree belongs to a journal that ends there, with nothing of it looked at yet.

    Raises AuditFailed where there is nothing, JournalMismatch for the tree of another network.
    """
    file = tree.open(COMMIT_NAME)
    try:
        found = max(read_commits(file, identity), default=None)
    finally:
        file.close()
    if found is None:
        raise AuditFailed("the audit tree has no good commit")
    if found.size > end.sequence:
        nodes = ReadOnlyTree(tree, identity)
        try:
            root = merkle.root(nodes, end.sequence)
        finally:
            nodes.close()
        return Commit(1, end.sequence, end.time_ns, root, end.chain)
    if chain_after(journal, found.size) != found.chain:
        raise AuditFailed("the audit tree is of another journal")
    return found._replace(number=1)


def check_tree(tree: Storage, journal: Storage, commit: Commit) -> None:
    """Make all hashes of a tree again, from the journal's records; raises AuditFailed."""
    first = list_segments(journal)[0].first_sequence
    reader = JournalReader(journal, first)
    records = iter(reader)
    nodes, leaves = tree.open(NODES_NAME), tree.open(LEAVES_NAME)
    frontier = Frontier()
    time_ns = 0
    try:
        for start in range(0, commit.size, _ROWS_AT_A_TIME):
            made = bytearray()
            count = min(_ROWS_AT_A_TIME, commit.size - start)
            for sequence, row in enumerate(read_rows(leaves, start, count), start + 1):
                if sequence >= first:
                    record = next(records)
                    of_record = digests(record.command, record.envelope)
                    if (record.time_ns, *of_record) != row:
                        raise AuditFailed(f"leaf {sequence - 1} is not that of record {sequence}")
                made += b"".join(frontier.append(merkle.leaf_hash(encode_leaf(sequence, *row))))
                time_ns = row.time_ns
            if nodes.read(merkle.node_count(start) * HASH_BYTES, len(made)) != made:
                raise AuditFailed(f"hashes of the leaves from {start} on are damaged")
    finally:
        reader.close()
        nodes.close()
        leaves.close()
    if (frontier.root(), time_ns) != (commit.root, commit.time_ns):
        raise AuditFailed("the audit tree does not have the root of its commit")


def copy_tree(tree: Storage, target: PosixStorage, identity: Identity, commit: Commit) -> None:
    """Copy that much of the tree over an earlier copy of it, the commit last; raises OSError."""
    for name, length in (
        (NODES_NAME, merkle.node_count(commit.size) * HASH_BYTES),
        (LEAVES_NAME, commit.size * LEAF_BYTES),
    ):
        publish_file(target.directory / name, _first_bytes(tree, name, length))
    publish_file(target.directory / COMMIT_NAME, [encode_commits(commit, identity)])


def _first_bytes(storage: Storage, name: str, length: int) -> Iterator[bytes]:
    file = storage.open(name)
    try:
        for offset in range(0, length, _COPY_BYTES):
            yield file.read(offset, min(_COPY_BYTES, length - offset))
    finally:
        file.close()
