"""Journal format, version 2: every byte of a segment (docs/reference/journal-format.md).

A segment is one preallocated file: a header sector, then blocks. A block is what one write and one
datasync made durable: header, records, end mark, zeros up to the next sector. What is checked:

- the segment header by a CRC-32 over all of its sector;
- a block header (lengths included) by a CRC-32 that starts from the segment header's, which holds
  a random salt: neither a block of another segment nor one a client sends inside its command
  passes for a block of this one;
- the records by a BLAKE2b-128 chain, chain_n = H(chain_{n-1} || record_n), which runs through all
  segments and does not depend on how records were batched. The block header holds its value.

Marks that end in a non-zero byte close the block header and the block: whole bytes that a crash
kept from the disk read as zero, so a block whose marks and sectors are all there, yet does not
check, was not interrupted but changed.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from dexruntime.storage import SECTOR_BYTES

# Written: version 2. Version 1 has the same bytes, and records that release 0.1.0 reads.
FORMAT_VERSION = 2
FORMAT_VERSION_OLDEST = 1
CHAIN_BYTES = 16
SALT_BYTES = 8
SEGMENT_MAGIC = b"DXJRNL\r\n"
BLOCK_MAGIC = b"DXBK"
HEADER_MARK = b"dxh\xa5"
END_MARK = b"dxe\xa5"
NETWORK_ID_BYTES_MAX = 64
BLOCK_BODY_BYTES_MAX = 8 << 20

_SEGMENT = struct.Struct("<8sHHIqqQ16s8sB64s")
_BLOCK = struct.Struct("<4sIIq16sI4s")
_BLOCK_CHECKED = struct.Struct("<4sIIq16s")
_RECORD = struct.Struct("<IIqq")
_CRC = struct.Struct("<I")

BLOCK_HEADER_BYTES = _BLOCK.size
BLOCK_OVERHEAD_BYTES_MAX = BLOCK_HEADER_BYTES + len(END_MARK) + SECTOR_BYTES - 1
RECORD_HEADER_BYTES = _RECORD.size
FIRST_BLOCK_OFFSET = SECTOR_BYTES


class FormatError(ValueError):
    """The bytes are not what the format says; the message is the reason."""


class VersionError(FormatError):
    """A sound header of a format version this build does not read."""

    def __init__(self, version: int) -> None:
        super().__init__(f"format version {version}")
        self.version = version


class Identity(NamedTuple):
    """Whose journal it is. ``epoch`` may only grow: it begins a new segment."""

    network_id: str
    shard: int
    epoch: int


class Record(NamedTuple):
    """One journaled command; ``command`` and ``envelope`` are opaque here."""

    sequence: int
    time_ns: int
    command: bytes
    envelope: bytes


class SegmentHeader(NamedTuple):
    """What a segment says of itself and of the record before its first."""

    identity: Identity
    first_sequence: int
    previous_time_ns: int
    previous_chain: bytes
    segment_bytes: int
    checksum: int
    version: int


class BlockHeader(NamedTuple):
    """What a block holds; ``chain`` is the chain hash after its last record."""

    body_bytes: int
    record_count: int
    first_sequence: int
    chain: bytes

    def block_bytes(self) -> int:
        """Length of the whole block on disk, padding included."""
        return block_bytes(self.body_bytes)


def block_bytes(body_bytes: int) -> int:
    """Length on disk of a block with ``body_bytes`` bytes of records."""
    return round_up(BLOCK_HEADER_BYTES + body_bytes + len(END_MARK))


def round_up(length: int) -> int:
    """Round a length in bytes up to whole sectors."""
    return -(-length // SECTOR_BYTES) * SECTOR_BYTES


def genesis_chain(identity: Identity) -> bytes:
    """The chain hash before the first record: another network or shard is another chain."""
    text = f"triodex.journal\0{identity.network_id}\0{identity.shard}"
    return hashlib.blake2b(text.encode(), digest_size=CHAIN_BYTES).digest()


def encode_segment_header(
    identity: Identity,
    *,
    first_sequence: int,
    previous_time_ns: int,
    previous_chain: bytes,
    segment_bytes: int,
    salt: bytes,
) -> bytes:
    """The first sector of a segment; ``salt`` is 8 random bytes nobody outside can know."""
    network = identity.network_id.encode()
    if not 0 < len(network) <= NETWORK_ID_BYTES_MAX:
        raise ValueError(f"network id must be 1 to {NETWORK_ID_BYTES_MAX} bytes")
    head = _SEGMENT.pack(
        SEGMENT_MAGIC,
        FORMAT_VERSION,
        identity.shard,
        identity.epoch,
        first_sequence,
        previous_time_ns,
        segment_bytes,
        previous_chain,
        salt,
        len(network),
        network,
    )
    body = head.ljust(SECTOR_BYTES - _CRC.size, b"\0")
    return body + _CRC.pack(zlib.crc32(body))


def decode_segment_header(sector: bytes) -> SegmentHeader:
    """Read the first sector of a segment; raises FormatError.

    Magic, version and the CRC in the sector's last four bytes keep their place in all versions.
    """
    if len(sector) < SECTOR_BYTES or not sector.startswith(SEGMENT_MAGIC):
        raise FormatError("not a journal segment")
    (checksum,) = _CRC.unpack_from(sector, SECTOR_BYTES - _CRC.size)
    if zlib.crc32(sector[: SECTOR_BYTES - _CRC.size]) != checksum:
        raise FormatError("segment header does not match its checksum")
    _, version, shard, epoch, first, time_ns, size, chain, _, network_bytes, network = (
        _SEGMENT.unpack_from(sector)
    )
    if not FORMAT_VERSION_OLDEST <= version <= FORMAT_VERSION:
        raise VersionError(version)
    try:
        identity = Identity(network[:network_bytes].decode(), shard, epoch)
    except UnicodeDecodeError:
        raise FormatError("segment header has no network id") from None
    return SegmentHeader(identity, first, time_ns, chain, size, checksum, version)


def encode_block(
    body: bytes, *, record_count: int, first_sequence: int, chain: bytes, segment_checksum: int
) -> bytes:
    """A whole block: header, records, end mark and padding."""
    checked = _BLOCK_CHECKED.pack(BLOCK_MAGIC, len(body), record_count, first_sequence, chain)
    header = checked + _CRC.pack(zlib.crc32(checked, segment_checksum)) + HEADER_MARK
    padding = bytes(block_bytes(len(body)) - BLOCK_HEADER_BYTES - len(body) - len(END_MARK))
    return b"".join((header, body, END_MARK, padding))


def decode_block_header(data: bytes, offset: int, segment_checksum: int) -> BlockHeader | None:
    """Read a block header at ``offset`` of ``data``; None if there is no sound one."""
    if len(data) - offset < BLOCK_HEADER_BYTES:
        return None
    magic, body_bytes, count, first, chain, crc, mark = _BLOCK.unpack_from(data, offset)
    if magic != BLOCK_MAGIC or mark != HEADER_MARK:
        return None
    if zlib.crc32(data[offset : offset + _BLOCK_CHECKED.size], segment_checksum) != crc:
        return None
    return BlockHeader(body_bytes, count, first, chain)


def encode_records(
    records: Iterable[tuple[int, int, bytes, bytes]], *, sequence: int, time_ns: int, chain: bytes
) -> tuple[list[bytes], int, int, bytes]:
    """Encode (sequence, time_ns, command, envelope) tuples that follow ``sequence``.

    Returns the encoded records and the sequence, time and chain hash after the last one. Raises
    ValueError where a sequence leaves a gap or a time runs backwards.
    """
    blake2b, pack, header_bytes = hashlib.blake2b, _RECORD.pack, RECORD_HEADER_BYTES
    encoded: list[bytes] = []
    for next_sequence, next_time_ns, command, envelope in records:
        if next_sequence != sequence + 1 or next_time_ns < time_ns:
            raise ValueError(
                f"record {next_sequence} at {next_time_ns} ns does not follow "
                f"{sequence} at {time_ns} ns"
            )
        sequence, time_ns = next_sequence, next_time_ns
        command_bytes = len(command)
        record_bytes = header_bytes + command_bytes + len(envelope)
        record = pack(record_bytes, command_bytes, sequence, time_ns) + command + envelope
        chain = blake2b(chain + record, digest_size=16).digest()
        encoded.append(record)
    return encoded, sequence, time_ns, chain


def decode_records(
    body: bytes, *, sequence: int, time_ns: int, chain: bytes
) -> tuple[list[Record], bytes]:
    """Read the records of a block that follow ``sequence``; raises FormatError.

    Returns them with the chain hash after the last, which the caller holds against the header's.
    """
    blake2b, unpack_from, header_bytes = hashlib.blake2b, _RECORD.unpack_from, RECORD_HEADER_BYTES
    new = tuple.__new__
    records: list[Record] = []
    offset, end = 0, len(body)
    while offset < end:
        if end - offset < header_bytes:
            raise FormatError("record runs past its block")
        record_bytes, command_bytes, next_sequence, next_time_ns = unpack_from(body, offset)
        stop = offset + record_bytes
        envelope_start = offset + header_bytes + command_bytes
        if stop > end or envelope_start > stop:
            raise FormatError("record runs past its block")
        if next_sequence != sequence + 1:
            raise FormatError(f"sequence {next_sequence} where {sequence + 1} belongs")
        if next_time_ns < time_ns:
            raise FormatError(f"time of record {next_sequence} runs backwards")
        sequence, time_ns = next_sequence, next_time_ns
        chain = blake2b(chain + body[offset:stop], digest_size=16).digest()
        command = body[offset + header_bytes : envelope_start]
        # Half the price of Record(...), which is most of this loop beside the hash.
        records.append(new(Record, (sequence, time_ns, command, body[envelope_start:stop])))
        offset = stop
    return records, chain
