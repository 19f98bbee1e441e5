"""The signed heads on disk, one sector each, appended and synced before anybody sees them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple, final

from dex.audit.v1 import audit_pb2 as pb
from dexruntime.audit import AuditContradicted, AuditFailed
from dexruntime.storage import SECTOR_BYTES, Storage

HEADS_NAME: Final = "audit-heads.dxa"
# CRC-32 of what follows it, length of the message, leaves.
_SLOT: Final = struct.Struct("<IHq")
_CRC_BYTES: Final = 4


class StoredHead(NamedTuple):
    """A head: how many leaves, and the serialized SignedTreeHead."""

    tree_size: int
    signed: bytes

    def message(self) -> pb.SignedTreeHead:
        """The head as a message."""
        return pb.SignedTreeHead.FromString(self.signed)


@final
class HeadFile:
    """Heads by ascending size. One thread appends; others read those counted in ``count``."""

    def __init__(self, storage: Storage) -> None:
        """Find the last head. One that a crash interrupted was never shown and is written over.

        Raises AuditContradicted when more than that is damaged.
        """
        if HEADS_NAME not in storage.list_names():
            storage.open(HEADS_NAME, "create").close()
            storage.sync_directory()
        self._file = storage.open(HEADS_NAME, "write")
        self.count = -(-self._file.size() // SECTOR_BYTES)
        self.last: StoredHead | None = None
        if self.count and self._read(self.count - 1) is None:
            self.count -= 1
        if self.count:
            self.last = self.read(self.count - 1)

    def append(self, head: StoredHead) -> None:
        """Make a head durable; raises AuditFailed."""
        if self.last is not None and head.tree_size <= self.last.tree_size:
            raise AuditFailed(f"a head of {head.tree_size} leaves after {self.last.tree_size}")
        try:
            self._file.write(self.count * SECTOR_BYTES, encode_head(head))
            self._file.datasync()
        except OSError as error:
            raise AuditFailed(f"{HEADS_NAME} could not be made durable: {error}") from error
        self.count += 1
        self.last = head

    def read(self, index: int) -> StoredHead:
        """The head at an index, from 0; raises AuditContradicted for a damaged one."""
        head = self._read(index)
        if head is None:
            raise AuditContradicted(f"{HEADS_NAME}: head {index + 1} of {self.count} is damaged")
        return head

    def first_above(self, tree_size: int, count: int) -> int:
        """Index of the first of ``count`` heads with more leaves than this."""
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if self.read(middle).tree_size <= tree_size:
                low = middle + 1
            else:
                high = middle
        return low

    def find(self, tree_size: int) -> StoredHead | None:
        """The head of a tree of exactly this size."""
        index = self.first_above(tree_size, self.count) - 1
        head = self.read(index) if index >= 0 else None
        return head if head is not None and head.tree_size == tree_size else None

    def __iter__(self) -> Iterator[StoredHead]:
        """All heads, oldest first."""
        return (self.read(index) for index in range(self.count))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, index: int) -> StoredHead | None:
        return decode_head(self._file.read(index * SECTOR_BYTES, SECTOR_BYTES))


def stored_heads(storage: Storage) -> Iterator[StoredHead]:
    """The heads in a folder that a node may be adding to, oldest first, up to the last good one."""
    if HEADS_NAME not in storage.list_names():
        return
    file = storage.open(HEADS_NAME)
    try:
        for offset in range(0, file.size(), SECTOR_BYTES):
            head = decode_head(file.read(offset, SECTOR_BYTES))
            if head is None:
                return
            yield head
    finally:
        file.close()


def decode_head(sector: bytes) -> StoredHead | None:
    """The head in a sector; None where there is no sound one."""
    if len(sector) != SECTOR_BYTES:
        return None
    checksum, length, tree_size = _SLOT.unpack_from(sector)
    if not length or checksum != zlib.crc32(sector[_CRC_BYTES:]):
        return None
    return StoredHead(tree_size, sector[_SLOT.size : _SLOT.size + length])


def encode_head(head: StoredHead) -> bytes:
    """A head as a sector."""
    body = _SLOT.pack(0, len(head.signed), head.tree_size) + head.signed
    if len(body) > SECTOR_BYTES:
        raise AuditFailed(f"a head of {len(body)} bytes does not fit a sector")
    body = body.ljust(SECTOR_BYTES, b"\0")
    return struct.pack("<I", zlib.crc32(body[_CRC_BYTES:])) + body[_CRC_BYTES:]
