"""Small journals on a simulated disk, for the tests beside this file."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import NamedTuple

from dexruntime.journal import Identity, JournalReader, Record
from dexruntime.journal.appender import BlockAppender
from dexruntime.journal.format import encode_records
from dexruntime.journal.segment import segment_name
from dexruntime.storage import Storage
from tests.sim.disk import SimulatedDisk

IDENTITY = Identity("triodex-test", 3, 7)
FIRST_NAME = segment_name(1)


class BlockPlace(NamedTuple):
    """Where a block stands in its segment, and what is sound once it is complete."""

    start: int
    end: int
    last_sequence: int


def seed_of(selection: str) -> int:
    """The seed of a random test, printed with the command that replays it."""
    seed = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"replay: TEST_SEED={seed} pytest tests/unit/journal -k {selection}")
    return seed


def make_records(
    chance: random.Random, count: int, *, after: int = 0, time_ns: int = 0, bytes_max: int = 300
) -> list[Record]:
    """Records of mixed sizes that follow a sequence and a time; no byte in them is zero."""
    records = []
    for sequence in range(after + 1, after + count + 1):
        time_ns += chance.choice((0, 1, 10**9))
        command = bytes(chance.choices(range(1, 256), k=chance.randint(1, bytes_max)))
        envelope = bytes(chance.choices(range(1, 256), k=chance.choice((0, 1, bytes_max))))
        records.append(Record(sequence, time_ns, command, envelope))
    return records


def open_appender(storage: Storage, **options: int) -> BlockAppender:
    """Recover and open for appending, as a node does at its start."""
    reader = JournalReader(storage)
    for _ in reader:
        pass
    reader.close()
    return BlockAppender(storage, reader.end(), IDENTITY, **options)


def append_block(appender: BlockAppender, records: Sequence[Record]) -> None:
    """Make one block of records durable."""
    encoded, sequence, time_ns, chain = encode_records(
        records, sequence=appender.sequence, time_ns=appender.time_ns, chain=appender.chain
    )
    appender.append(
        b"".join(encoded),
        record_count=len(encoded),
        sequence=sequence,
        time_ns=time_ns,
        chain=chain,
    )
    appender.prepare_spare()


def write_journal(
    chance: random.Random, blocks: Sequence[int], *, segment_bytes: int, bytes_max: int = 300
) -> tuple[SimulatedDisk, list[Record], list[BlockPlace]]:
    """A journal with so many records in each block, and the places of the last segment's blocks."""
    disk = SimulatedDisk(chance)
    appender = open_appender(disk, segment_bytes=segment_bytes)
    written: list[Record] = []
    places: list[BlockPlace] = []
    for count in blocks:
        records = make_records(
            chance, count, after=len(written), time_ns=appender.time_ns, bytes_max=bytes_max
        )
        before = segment_bytes - appender.free_bytes
        append_block(appender, records)
        written += records
        end = segment_bytes - appender.free_bytes
        if end < before or not places:
            before, places = 512, []
        places.append(BlockPlace(before, end, len(written)))
    return disk, written, places


def disk_with(name: str, data: bytes) -> SimulatedDisk:
    """A disk that holds one file."""
    disk = SimulatedDisk(random.Random(0))
    disk.put(name, data)
    return disk
