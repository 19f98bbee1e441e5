"""The bytes of format version 1, read at the offsets the reference states: they never move."""

from __future__ import annotations

import hashlib
import random
import zlib

from dexruntime.journal import Record, verify
from tests.sim.disk import SimulatedDisk
from tests.unit.journal.journals import FIRST_NAME, IDENTITY, append_block, open_appender

RECORDS = [
    Record(1, 1_700_000_000_000_000_001, b"command", b"envelope"),
    Record(2, 2**62, b"", b""),
]


def number(data: bytes, start: int, stop: int) -> int:
    return int.from_bytes(data[start:stop], "little")


def test_a_segment_has_the_bytes_of_the_reference() -> None:
    disk = SimulatedDisk(random.Random(0))
    append_block(open_appender(disk, segment_bytes=4096), RECORDS)
    data = disk.contents(FIRST_NAME)
    assert FIRST_NAME == "journal-00000000000000000001.dxj"
    assert len(data) == 4096
    assert data[:8] == b"DXJRNL\r\n"
    assert [number(data, 8, 10), number(data, 10, 12), number(data, 12, 16)] == [2, 3, 7]
    assert [number(data, 16, 24), number(data, 24, 32), number(data, 32, 40)] == [1, 0, 4096]
    genesis = hashlib.blake2b(b"triodex.journal\0triodex-test\x003", digest_size=16).digest()
    assert data[40:56] == genesis
    assert data[56:64] != bytes(8)
    assert (data[64], data[65:77], data[77:508]) == (12, b"triodex-test", bytes(431))
    checksum = number(data, 508, 512)
    assert checksum == zlib.crc32(data[:508])

    block = data[512:1024]
    assert (block[:4], number(block, 4, 8), number(block, 8, 12)) == (b"DXBK", 63, 2)
    assert number(block, 12, 20) == 1
    assert number(block, 36, 40) == zlib.crc32(block[:36], checksum)
    assert block[40:44] == b"dxh\xa5"
    first, second = block[44:83], block[83:107]
    assert [number(first, 0, 4), number(first, 4, 8), number(first, 8, 16)] == [39, 7, 1]
    assert number(first, 16, 24) == 1_700_000_000_000_000_001
    assert first[24:] == b"commandenvelope"
    assert [number(second, 0, 4), number(second, 4, 8), number(second, 8, 16)] == [24, 0, 2]
    assert block[107:111] == b"dxe\xa5"
    assert data[512 + 111 :] == bytes(4096 - 512 - 111)
    chain = hashlib.blake2b(genesis + first, digest_size=16).digest()
    chain = hashlib.blake2b(chain + second, digest_size=16).digest()
    assert block[20:36] == chain == verify(disk).chain
    assert IDENTITY == ("triodex-test", 3, 7)
