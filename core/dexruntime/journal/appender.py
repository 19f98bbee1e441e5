"""Blocks onto a disk: the part of the writer without threads, which a simulation can drive.

Theory of operation. The last segment is written from front to back, one block per write and
datasync. The segment after it stands ready as a preallocated spare without a name, so that the
disk is known to have room before anything is promised. Rotation makes the spare a segment: header,
datasync, rename, directory sync; only then does a block go into it.

Opening repairs what a crash left, before a new block is written: a torn tail is zeroed, and the
last block is written once more. That block may be in the page cache alone (its datasync never
returned, or failed and dropped it), and a plain datasync would then succeed without writing it.
"""

from __future__ import annotations

import errno
import os

from dexruntime.journal.errors import JournalError, JournalMismatch
from dexruntime.journal.format import (
    BLOCK_BODY_BYTES_MAX,
    BLOCK_OVERHEAD_BYTES_MAX,
    FIRST_BLOCK_OFFSET,
    FORMAT_VERSION,
    SALT_BYTES,
    Identity,
    block_bytes,
    decode_segment_header,
    encode_block,
    encode_segment_header,
    genesis_chain,
)
from dexruntime.journal.reader import JournalEnd
from dexruntime.journal.segment import SPARE_NAME, segment_name
from dexruntime.storage import SECTOR_BYTES, Storage, StorageFile

SEGMENT_BYTES = 64 << 20
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class BlockAppender:
    """Writes blocks after ``end``, the end a JournalReader found. Every verb blocks on the disk.

    Raises OSError as the disk does; after any but a failed ``prepare_spare`` it must not be used
    again. ``sequence``, ``time_ns`` and ``chain`` tell of the last durable record.
    """

    def __init__(
        self,
        storage: Storage,
        end: JournalEnd,
        identity: Identity,
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        if segment_bytes % SECTOR_BYTES or segment_bytes < 4 * SECTOR_BYTES:
            raise ValueError(f"segment_bytes must be at least 4 sectors of {SECTOR_BYTES} bytes")
        self._storage = storage
        self._identity = identity
        self._segment_bytes = segment_bytes
        self._spare: StorageFile | None = None
        self._file: StorageFile | None = None
        self._offset = self._end_offset = self._checksum = 0
        self.sequence = end.sequence
        self.time_ns = end.time_ns
        self.chain = end.chain
        if SPARE_NAME in storage.list_names():
            storage.remove(SPARE_NAME)
        if end.header is None:
            self.chain = genesis_chain(identity)
        else:
            self._continue(end, end.header.identity)
        self.prepare_spare()

    @property
    def free_bytes(self) -> int:
        """Room for blocks in the present segment; 0 if the next block begins a new one."""
        return self._end_offset - self._offset

    @property
    def spare_bytes(self) -> int:
        """Room for blocks in the spare; 0 if the disk had none."""
        return self._segment_bytes - FIRST_BLOCK_OFFSET if self._spare is not None else 0

    @property
    def body_bytes_max(self) -> int:
        """Most bytes of records one block may hold."""
        room = self._segment_bytes - FIRST_BLOCK_OFFSET - BLOCK_OVERHEAD_BYTES_MAX
        return min(room, BLOCK_BODY_BYTES_MAX)

    def prepare_spare(self) -> bool:
        """Preallocate the next segment unless it stands ready; False if the disk is full."""
        if self._spare is not None:
            return True
        try:
            file = self._storage.open(SPARE_NAME, "create")
        except OSError as error:
            if error.errno in _NO_SPACE:
                return False
            raise
        try:
            file.preallocate(self._segment_bytes)
        except OSError as error:
            file.close()
            self._storage.remove(SPARE_NAME)
            if error.errno in _NO_SPACE:
                return False
            raise
        self._spare = file
        return True

    def append(
        self, body: bytes, *, record_count: int, sequence: int, time_ns: int, chain: bytes
    ) -> None:
        """Make one block of encoded records durable; the rest describes its last record."""
        if self._offset + block_bytes(len(body)) > self._end_offset:
            self._rotate()
        block = encode_block(
            body,
            record_count=record_count,
            first_sequence=self.sequence + 1,
            chain=chain,
            segment_checksum=self._checksum,
        )
        file = self._file
        if file is None or self._offset + len(block) > self._end_offset:
            raise JournalError(f"no room was reserved for a block of {len(block)} bytes")
        file.write(self._offset, block)
        file.datasync()
        self._offset += len(block)
        self.sequence, self.time_ns, self.chain = sequence, time_ns, chain

    def close(self) -> None:
        """Close the files; what was appended is durable already."""
        for file in (self._file, self._spare):
            if file is not None:
                file.close()

    def _rotate(self) -> None:
        spare = self._spare
        if spare is None:
            raise JournalError("no room was reserved: there is no spare segment")
        header = encode_segment_header(
            self._identity,
            first_sequence=self.sequence + 1,
            previous_time_ns=self.time_ns,
            previous_chain=self.chain,
            segment_bytes=self._segment_bytes,
            salt=os.urandom(SALT_BYTES),
        )
        spare.write(0, header)
        spare.datasync()
        self._storage.rename(SPARE_NAME, segment_name(self.sequence + 1))
        self._storage.sync_directory()
        if self._file is not None:
            self._file.close()
        self._file, self._spare = spare, None
        self._checksum = decode_segment_header(header).checksum
        self._offset, self._end_offset = FIRST_BLOCK_OFFSET, self._segment_bytes

    def _continue(self, end: JournalEnd, found: Identity) -> None:
        """Repair the last segment and go on in it, or in a new one if the epoch is new.

        A segment of an older format version is not gone on in either: the release that wrote it
        would take a record it does not know for one of its own.
        """
        identity = self._identity
        if found[:2] != identity[:2] or found.epoch > identity.epoch:
            raise JournalMismatch(f"{end.name} belongs to {found}, this node is {identity}")
        header = end.header
        if header is None:
            raise JournalError("a journal without segments has nothing to continue")
        file = self._storage.open(end.name, "write")
        if end.torn is not None:
            file.write(end.torn.start, bytes(end.torn.end - end.torn.start))
        if end.last_block:
            file.write(end.last_block, file.read(end.last_block, end.offset - end.last_block))
        file.datasync()
        self._storage.sync_directory()
        self._file, self._checksum, self._offset = file, header.checksum, end.offset
        same = found == identity and header.version == FORMAT_VERSION
        self._end_offset = header.segment_bytes if same else end.offset
