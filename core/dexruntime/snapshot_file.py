"""Snapshot files: the state after one sequence, published whole or not at all.

A snapshot is written under a temporary name, synced, renamed and the directory synced, so a crash
leaves the old ones. One BLAKE2b-128 covers all of it; a damaged file is skipped for an older one,
and the journal since then is replayed instead (docs/reference/journal-format.md).
"""

from __future__ import annotations

import hashlib
import logging
import re
import struct
import zlib
from typing import NamedTuple

from dexruntime.journal.errors import FormatUnsupported, JournalError
from dexruntime.journal.format import CHAIN_BYTES, NETWORK_ID_BYTES_MAX, Identity
from dexruntime.storage import Storage

# Written: version 2. Version 1 is the same but for what its state may hold.
SNAPSHOT_VERSION = 2
SNAPSHOT_VERSION_OLDEST = 1
SNAPSHOTS_KEPT = 2
# What is synced at once: the journal of the running node waits for the same disk.
SYNCED_PIECE_BYTES = 256 << 10
HASH_BYTES_MAX = 32

_MAGIC = b"DXSNAP\r\n"
_NAME = re.compile(r"snapshot-(\d{20})\.dxs")
_TEMPORARY_SUFFIX = ".tmp"
_DIGEST_BYTES = 16
_HEADER = struct.Struct("<8sHHIqq16sB32sB32sBB64sQQ")
_RAW, _ZLIB = 0, 1

_log = logging.getLogger(__name__)


class SnapshotDamaged(JournalError):
    """The file is not what was published."""


class Snapshot(NamedTuple):
    """State after ``sequence``; ``body`` is opaque here, the hashes are up to 32 bytes each.

    ``chain_hash`` is the journal's after that sequence: it ties the snapshot to one history.
    """

    identity: Identity
    sequence: int
    time_ns: int
    chain_hash: bytes
    event_hash: bytes
    state_hash: bytes
    body: bytes


def snapshot_name(sequence: int) -> str:
    """File name of the snapshot after ``sequence``."""
    return f"snapshot-{sequence:020d}.dxs"


def list_snapshots(storage: Storage) -> list[int]:
    """Sequences of all published snapshots, oldest first."""
    matches = (_NAME.fullmatch(name) for name in storage.list_names())
    return sorted(int(match[1]) for match in matches if match)


def encode_snapshot(snapshot: Snapshot, *, compress: bool = True) -> bytes:
    """The bytes of a snapshot file."""
    network = snapshot.identity.network_id.encode()
    if not 0 < len(network) <= NETWORK_ID_BYTES_MAX:
        raise ValueError(f"network id must be 1 to {NETWORK_ID_BYTES_MAX} bytes")
    if max(len(snapshot.event_hash), len(snapshot.state_hash)) > HASH_BYTES_MAX:
        raise ValueError(f"a hash has at most {HASH_BYTES_MAX} bytes")
    if len(snapshot.chain_hash) != CHAIN_BYTES:
        raise ValueError(f"the chain hash has {CHAIN_BYTES} bytes")
    body = _deflate(snapshot.body) if compress else snapshot.body
    header = _HEADER.pack(
        _MAGIC,
        SNAPSHOT_VERSION,
        snapshot.identity.shard,
        snapshot.identity.epoch,
        snapshot.sequence,
        snapshot.time_ns,
        snapshot.chain_hash,
        len(snapshot.event_hash),
        snapshot.event_hash,
        len(snapshot.state_hash),
        snapshot.state_hash,
        _ZLIB if compress else _RAW,
        len(network),
        network,
        len(body),
        len(snapshot.body),
    )
    return header + body + hashlib.blake2b(header + body, digest_size=_DIGEST_BYTES).digest()


def _deflate(body: bytes) -> bytes:
    """In pieces, between which a process that takes its time may rest."""
    deflater = zlib.compressobj(1)
    pieces = [
        deflater.compress(body[start : start + SYNCED_PIECE_BYTES])
        for start in range(0, len(body), SYNCED_PIECE_BYTES)
    ]
    return b"".join([*pieces, deflater.flush()])


def decode_snapshot(data: bytes, name: str) -> Snapshot:
    """Read a snapshot file; raises SnapshotDamaged or FormatUnsupported.

    Magic, version and the digest in the last 16 bytes keep their place in all versions.
    """
    checked, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.blake2b(checked, digest_size=_DIGEST_BYTES).digest() != digest:
        raise SnapshotDamaged(f"{name} does not match its digest")
    if not checked.startswith(_MAGIC) or len(checked) < len(_MAGIC) + 2:
        raise SnapshotDamaged(f"{name} is not a snapshot")
    (version,) = struct.unpack_from("<H", checked, len(_MAGIC))
    if not SNAPSHOT_VERSION_OLDEST <= version <= SNAPSHOT_VERSION:
        raise FormatUnsupported(name, version, SNAPSHOT_VERSION)
    if len(checked) < _HEADER.size:
        raise SnapshotDamaged(f"{name} ends in its header")
    (_, _, shard, epoch, sequence, time_ns, chain, event_bytes, event, state_bytes, state) = (
        _HEADER.unpack_from(checked)[:11]
    )
    encoding, network_bytes, network, body_bytes, plain_bytes = _HEADER.unpack_from(checked)[11:]
    body = checked[_HEADER.size :]
    if len(body) != body_bytes:
        raise SnapshotDamaged(f"{name} has {len(body)} of its {body_bytes} bytes")
    if encoding == _ZLIB:
        body = _inflate(body, plain_bytes, name)
    try:
        identity = Identity(network[:network_bytes].decode(), shard, epoch)
    except UnicodeDecodeError:
        raise SnapshotDamaged(f"{name} has no network id") from None
    return Snapshot(
        identity, sequence, time_ns, chain, event[:event_bytes], state[:state_bytes], body
    )


def _inflate(body: bytes, plain_bytes: int, name: str) -> bytes:
    """The body as it was; never more of it than the header says."""
    inflater = zlib.decompressobj()
    try:
        # One byte more shows a longer one; zero would mean no limit.
        plain = inflater.decompress(body, plain_bytes + 1)
    except (zlib.error, OverflowError) as error:
        raise SnapshotDamaged(f"{name} cannot be inflated: {error}") from None
    if len(plain) != plain_bytes or not inflater.eof:
        raise SnapshotDamaged(f"{name} does not inflate to its {plain_bytes} bytes")
    return plain


def write_snapshot(
    storage: Storage, snapshot: Snapshot, *, compress: bool = True, keep: int = SNAPSHOTS_KEPT
) -> str:
    """Publish a snapshot durably, then remove all but the newest ``keep``; returns its name.

    Raises OSError; what was published before is untouched then.
    """
    name = snapshot_name(snapshot.sequence)
    temporary = name + _TEMPORARY_SUFFIX
    data = encode_snapshot(snapshot, compress=compress)
    if temporary in storage.list_names():
        storage.remove(temporary)
    file = storage.open(temporary, "create")
    try:
        for start in range(0, len(data), SYNCED_PIECE_BYTES):
            file.write(start, data[start : start + SYNCED_PIECE_BYTES])
            file.datasync()
    except OSError:
        storage.remove(temporary)
        raise
    finally:
        file.close()
    storage.rename(temporary, name)
    storage.sync_directory()
    for sequence in list_snapshots(storage)[:-keep]:
        storage.remove(snapshot_name(sequence))
    return name


def newest_good_snapshot(storage: Storage) -> Snapshot | None:
    """The newest sound snapshot, or None; damaged ones are skipped and logged as warnings.

    Raises FormatUnsupported for one of a newer format: an older one would hide that this build
    must not run on this directory.
    """
    for sequence in reversed(list_snapshots(storage)):
        try:
            return read_snapshot(storage, sequence)
        except SnapshotDamaged as error:
            _log.warning("skipping a damaged snapshot: %s", error)
    return None


def read_snapshot(storage: Storage, sequence: int) -> Snapshot:
    """The published snapshot after ``sequence``.

    Raises:
        SnapshotDamaged: it is not what was published.
        FormatUnsupported: it is of a newer release.
    """
    name = snapshot_name(sequence)
    file = storage.open(name)
    try:
        data = file.read(0, file.size())
    finally:
        file.close()
    snapshot = decode_snapshot(data, name)
    if snapshot.sequence != sequence:
        raise SnapshotDamaged(f"{name} holds sequence {snapshot.sequence}")
    return snapshot
