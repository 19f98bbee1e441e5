"""A mixed journal of two segments, and bits of it flipped: all, or a choice that is quick."""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from dexruntime.journal import JournalDamaged, JournalReader, Record, TornTail
from dexruntime.journal.format import (
    BLOCK_HEADER_BYTES,
    END_MARK,
    RECORD_HEADER_BYTES,
)
from dexruntime.storage import SECTOR_BYTES
from tests.sim.disk import SimulatedDisk
from tests.unit.core import goldens
from tests.unit.journal.journals import append_block, open_appender
from tests.unit.journal.memory import MemoryStorage, Paused

SEGMENT_BYTES = 32 << 10
RECORDS_PER_BLOCK = (1, 7, 2, 12, 1, 3)


class Place(NamedTuple):
    """A block: where it starts and ends in its segment, the last byte of it that is not blank,
    and the last record in it."""

    start: int
    end: int
    last_nonblank: int
    last_sequence: int


class Written(NamedTuple):
    """A journal of two segments, its records, and each segment's blocks."""

    files: dict[str, bytes]
    records: list[Record]
    places: list[list[Place]]

    def complete_before(self, segment: int, cut: int) -> int:
        """Last sequence whose block lies before ``cut`` in its segment."""
        before = self.places[segment - 1][-1].last_sequence if segment else 0
        whole = [p.last_sequence for p in self.places[segment] if p.last_nonblank < cut]
        return max(whole, default=before)


@cache
def write_mixed() -> Written:
    """Golden commands with envelopes until two segments are as good as full."""
    disk = SimulatedDisk(random.Random(0))
    appender = open_appender(disk, segment_bytes=SEGMENT_BYTES)
    golden = [
        row
        for path in sorted(goldens.FOLDER.glob("*.json"))
        for row in json.loads(path.read_text())["commands"]
    ]
    # One of each type first, so that what fits has all of them.
    commands = [bytes.fromhex(data) for _, data in golden]
    firsts = list({data[0]: data for data in reversed(commands)}.values())
    records: list[Record] = []
    places: list[list[Place]] = []
    rest = iter([*firsts, *commands, *commands])
    while True:
        count = RECORDS_PER_BLOCK[sum(map(len, places)) % len(RECORDS_PER_BLOCK)]
        block = []
        for sequence in range(len(records) + 1, len(records) + 1 + count):
            envelope = b"envelope %d " % sequence * (sequence % 5)
            block.append(Record(sequence, sequence // 3, next(rest), envelope))
        size = sum(RECORD_HEADER_BYTES + len(r.command) + len(r.envelope) for r in block)
        sectors = -(-(BLOCK_HEADER_BYTES + size + len(END_MARK)) // SECTOR_BYTES)
        if len(places) == 2 and (sectors + 1) * SECTOR_BYTES > appender.free_bytes:
            # The last segment has something behind its end.
            break
        full = sectors * SECTOR_BYTES > appender.free_bytes
        if full or not places:
            places.append([])
        append_block(appender, block)
        records += block
        end = SEGMENT_BYTES - appender.free_bytes
        start = places[-1][-1].end if places[-1] else SECTOR_BYTES
        last_nonblank = start + BLOCK_HEADER_BYTES + size + 3
        places[-1].append(Place(start, end, last_nonblank, len(records)))
    names = [name for name in disk.list_names() if name.endswith(".dxj")]
    return Written({name: disk.contents(name) for name in names}, records, places)


def read(reader: JournalReader) -> tuple[int, TornTail | None, JournalDamaged | None]:
    """Last sequence read, the torn tail and the damage."""
    last = reader.sequence
    try:
        for record in reader:
            assert record.sequence == last + 1
            last = record.sequence
    except JournalDamaged as damage:
        return last, None, damage
    return last, reader.end().torn, None


def pauses(storage: MemoryStorage, written: Written) -> list[tuple[int, Paused]]:
    """(segment, reader before its next block) for every block boundary."""
    reader = JournalReader(storage)
    found = [(0, Paused(reader, 0))]
    ends = {p.last_sequence: (n, p.end) for n, ps in enumerate(written.places) for p in ps}
    for record in reader:
        if record.sequence == 1:
            # Its first block is read; a reader that has the header alone is not to be had.
            continue
        if record.sequence == reader.sequence:
            segment, end = ends[record.sequence]
            found.append((segment, Paused(reader, end)))
    assert [record.sequence for record in written.records][-1] == reader.sequence
    return found


class Flips(NamedTuple):
    """How many bits were flipped: found as damage, and cut behind the end of the journal."""

    found: int
    stray: int


Bit = tuple[int, int]
"""Offset of a byte in its segment, and which of its bits."""


def every_bit(start: int, stop: int) -> Iterator[Bit]:
    """All bits of the bytes [start, stop)."""
    return ((offset, bit) for offset in range(start, stop) for bit in range(8))


def some_bits(written: Written, segment: int, chance: random.Random) -> Iterator[Bit]:
    """One bit of every byte; all bits of headers, marks, and where padding begins and ends."""
    edges = set(range(SECTOR_BYTES))
    for place in written.places[segment]:
        edges.update(range(place.start, place.start + BLOCK_HEADER_BYTES))
        edges.update(range(place.last_nonblank + 1 - len(END_MARK), place.last_nonblank + 2))
        edges.add(place.end - 1)
    for offset in range(SEGMENT_BYTES):
        if offset in edges:
            yield from every_bit(offset, offset + 1)
        else:
            yield offset, chance.randrange(8)


def flip(segment: int, bits: Iterable[Bit]) -> Flips:
    """Flip one bit after another of the mixed journal, and read on from the boundary before it."""
    written = write_mixed()
    storage = MemoryStorage(written.files)
    boundaries = pauses(storage, written)
    places = [(n, p.offset) for n, p in boundaries]
    name = list(written.files)[segment]
    data = storage.files[name].data
    last_sequence = len(written.records)
    found = stray = 0
    for offset, bit in bits:
        before = boundaries[bisect_right(places, (segment, offset)) - 1][1]
        # Where the block starts whose bytes these are, its padding included.
        starts = [p.start for p in written.places[segment] if p.start <= offset < p.end]
        sound = written.complete_before(segment, starts[0] if starts else offset)
        data[offset] ^= 1 << bit
        last, torn, damage = read(before.start())
        data[offset] ^= 1 << bit
        if segment == 1 and offset >= written.places[1][-1].end:
            # Behind the end nothing was durable: the byte is cut, no record with it.
            assert (damage, last) == (None, last_sequence), (name, offset, bit)
            assert torn is not None, (name, offset, bit)
            stray += 1
        else:
            assert damage is not None, f"{name}, byte {offset}, bit {bit} was not found"
            assert last == sound, (name, offset, bit)
            found += 1
    return Flips(found, stray)
