"""An answer is a promise that no crash takes back: it waits for the disk."""

from __future__ import annotations

import random

import trio.testing

from dexruntime.journal import read_journal
from tests.sim.disk import SimulatedDisk
from tests.unit.journal.journals import append_block, make_records, open_appender
from tests.unit.runtime.shards import GatedStorage, crossing, open_market, running, until


async def test_an_answer_waits_for_the_disk() -> None:
    storage = GatedStorage(SimulatedDisk(random.Random(1)))
    async with running(storage) as shard:
        traders = await open_market(shard)
        await shard.sequencer.settled()
        storage.gate.shut()
        promise = shard.sequencer.submit(crossing(traders, 1)[0])
        await until(lambda: storage.gate.waiting == 1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not promise.done, "answered before the command was on disk"
        storage.gate.open()
        assert (await promise.wait()).items[0].order_key


def test_a_written_block_outlives_a_power_cut() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        disk = SimulatedDisk(chance)
        appender = open_appender(disk, segment_bytes=16384)
        records = make_records(chance, 3)
        append_block(appender, records)
        disk.crash()
        disk.restart()
        assert list(read_journal(disk)) == records, f"seed {seed}"
