"""Segment files: their names, and what the bytes after the last sound block of one mean."""

from __future__ import annotations

import re
from typing import NamedTuple

from dexruntime.journal.errors import FormatUnsupported, JournalDamaged
from dexruntime.journal.format import (
    BLOCK_HEADER_BYTES,
    BLOCK_MAGIC,
    END_MARK,
    FORMAT_VERSION,
    FormatError,
    SegmentHeader,
    VersionError,
    decode_block_header,
    decode_segment_header,
)
from dexruntime.storage import SECTOR_BYTES, Storage, StorageFile

SPARE_NAME = "journal-spare.tmp"
_NAME = re.compile(r"journal-(\d{20})\.dxj")
_SCAN_BYTES = 1 << 20
_BLANK_SECTOR = bytes(SECTOR_BYTES)


class TornTail(NamedTuple):
    """Bytes ``[start, end)`` of the last segment left by an interrupted write, never durable."""

    start: int
    end: int


class SegmentName(NamedTuple):
    """A segment file and the sequence its name promises."""

    first_sequence: int
    name: str


def segment_name(first_sequence: int) -> str:
    """File name of the segment whose first record has this sequence."""
    return f"journal-{first_sequence:020d}.dxj"


def list_segments(storage: Storage) -> list[SegmentName]:
    """All segments, oldest first."""
    matches = (_NAME.fullmatch(name) for name in storage.list_names())
    return sorted(SegmentName(int(match[1]), match[0]) for match in matches if match)


def read_segment_header(file: StorageFile, segment: SegmentName, sequence: int) -> SegmentHeader:
    """Read and check a segment's header; ``sequence`` is what was read soundly before it.

    Raises JournalDamaged or FormatUnsupported. A header is durable before its file gets its name,
    and so is the file's full length: neither is ever the work of a crash.
    """
    try:
        header = decode_segment_header(file.read(0, SECTOR_BYTES))
    except VersionError as error:
        raise FormatUnsupported(segment.name, error.version, FORMAT_VERSION) from None
    except FormatError as error:
        raise JournalDamaged(segment.name, 0, sequence, str(error)) from None
    if header.first_sequence != segment.first_sequence:
        raise JournalDamaged(segment.name, 0, sequence, "header names another first sequence")
    size = file.size()
    if size != header.segment_bytes:
        reason = f"file has {size} of its {header.segment_bytes} bytes"
        raise JournalDamaged(segment.name, size, sequence, reason)
    return header


def judge_tail(
    file: StorageFile, header: SegmentHeader, name: str, offset: int, sequence: int
) -> TornTail | None:
    """Decide what stands at ``offset``, where no sound block does: None is a clean end.

    A torn tail is what one interrupted write leaves: nothing sound behind it, and something of it
    missing. All else was durable once and has changed: raises JournalDamaged.
    """
    last = _last_nonblank(file, offset)
    if last is None:
        return None
    later = _find_block(file, header, offset + SECTOR_BYTES)
    if later is not None:
        reason = f"no sound block here, yet one at byte {later}"
        raise JournalDamaged(name, offset, sequence, reason)
    if not _was_interrupted(file, header, offset):
        reason = "block is complete but does not match its checksums"
        raise JournalDamaged(name, offset, sequence, reason)
    return TornTail(offset, last + 1)


def _was_interrupted(file: StorageFile, header: SegmentHeader, offset: int) -> bool:
    """Whether bytes are missing from the block at ``offset``, as an interrupted write leaves it."""
    sector = file.read(offset, SECTOR_BYTES)
    block = decode_block_header(sector, 0, header.checksum)
    if block is None:
        # Cut while it was written, or while an earlier recovery wrote zeros over it.
        return sector[BLOCK_HEADER_BYTES - 1] == 0 or sector[0] == 0
    if offset + block.block_bytes() > header.segment_bytes:
        return False
    data = file.read(offset, block.block_bytes())
    if data[BLOCK_HEADER_BYTES + block.body_bytes + len(END_MARK) - 1] == 0:
        return True
    return any(data.startswith(_BLANK_SECTOR, start) for start in range(0, len(data), SECTOR_BYTES))


def _last_nonblank(file: StorageFile, offset: int) -> int | None:
    last = None
    while data := file.read(offset, _SCAN_BYTES):
        kept = len(data.rstrip(b"\0"))
        if kept:
            last = offset + kept - 1
        offset += len(data)
    return last


def _find_block(file: StorageFile, header: SegmentHeader, offset: int) -> int | None:
    """Offset of the first sound block header at or after ``offset``."""
    while data := file.read(offset, _SCAN_BYTES):
        found = data.find(BLOCK_MAGIC)
        while found >= 0:
            if found % SECTOR_BYTES == 0 and decode_block_header(data, found, header.checksum):
                return offset + found
            found = data.find(BLOCK_MAGIC, found + 1)
        offset += len(data)
    return None
