"""How commands are grouped in blocks, batches and snapshots leaves no trace but their times."""

from __future__ import annotations

import random

import pytest

from dexcore.commands import ClockTick, encode_command
from dexruntime.journal import Record
from dexruntime.recovery import Recovered, recover
from dexruntime.snapshotter import take_snapshot
from tests.sim.disk import SimulatedDisk
from tests.unit.core.beside_twin import Pair
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import seed_of
from tests.unit.journal.journals import append_block, open_appender
from tests.unit.runtime.shards import (
    IDENTITY,
    fingerprint,
    open_market,
    random_orders,
    running,
)

COMMANDS = 1_500


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """A journal of random commands of every type, many of them at one moment."""
    seed = seed_of("tests/unit/runtime/test_groups.py")
    pair = Pair()
    pair.compare = False
    maker = CommandMaker(random.Random(seed), pair.exchange, pair.traders)
    while len(pair.journal) < COMMANDS:
        time_ns, command = maker.next()
        # The sequencer puts a tick before everything else of its batch.
        if type(command) is not ClockTick or time_ns > pair.exchange.time_ns:
            pair.apply(time_ns, command)
    return [
        Record(sequence, time_ns, encode_command(command), b"envelope")
        for sequence, time_ns, command in pair.journal
    ]


def written(records: list[Record], block: int, segment_bytes: int) -> tuple[SimulatedDisk, int]:
    """The records in blocks of a size, with a snapshot on the way; and where it is."""
    disk = SimulatedDisk(random.Random(1))
    appender = open_appender(disk, segment_bytes=segment_bytes)
    # A snapshot is taken of a durable batch, so it never parts commands of one moment.
    half = len(records) // 2
    while records[half - 1].time_ns == records[half].time_ns:
        half += 1
    for part in (records[:half], records[half:]):
        for start in range(0, len(part), block):
            append_block(appender, part[start : start + block])
        if part[0].sequence == 1:
            take_snapshot(disk, IDENTITY)
    return disk, half


def test_blocks_segments_and_snapshots_change_nothing(records: list[Record]) -> None:
    ways: list[Recovered] = []
    for block, segment_bytes in ((1, 1 << 20), (7, 32 << 10), (512, 256 << 10)):
        disk, half = written(records, block, segment_bytes)
        ways.append(recover(disk, IDENTITY, use_snapshot=False))
        ways.append(recover(disk, IDENTITY))
        assert ways[-1].snapshot_sequence == half
    [first, *others] = [(way.end.chain, *fingerprint(way)) for way in ways]
    assert sum(first[-1]) > 100
    for other in others:
        assert other == first


@pytest.mark.parametrize("bunch", [1, 7, 512])
async def test_what_lived_in_any_batches_is_what_its_journal_replays(bunch: int) -> None:
    seed = seed_of("tests/unit/runtime/test_groups.py -k lived")
    disk = SimulatedDisk(random.Random(seed))
    async with running(disk) as shard:
        traders = await open_market(shard, 3)
        streams = [
            random_orders(random.Random(f"{seed} {n}"), who) for n, who in enumerate(traders)
        ]
        for start in range(0, 600, bunch):
            count = min(bunch, 600 - start)
            promises = [
                shard.sequencer.submit(next(streams[(start + n) % 3])) for n in range(count)
            ]
            for promise in promises:
                await promise.wait()
        live = fingerprint(shard)
    assert fingerprint(recover(disk, IDENTITY)) == live
    assert sum(live[-1]) > 100
