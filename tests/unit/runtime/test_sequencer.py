"""The one writer: order of answers, group commit, full queues, full disks, draining."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from dexcore.checkpoint import encode_state
from dexcore.codec import CodecError
from dexcore.commands import Command, Deposit
from dexcore.limits import BATCH_ITEMS_MAX
from dexcore.results import Outcome
from dexruntime.drain_rate import DELAY_NS_MAX, DELAY_NS_MIN
from dexruntime.journal import JournalFull, SyncSample, read_journal
from dexruntime.promise import Promise
from dexruntime.sequencer import (
    BATCHES_IN_FLIGHT_MAX,
    QUEUE_COMMANDS_MAX,
    QUEUE_ITEMS_MAX,
    DrainingError,
    QueueFull,
)
from dexruntime.shard import Shard
from dexruntime.storage import PosixStorage
from tests.sim.disk import SimulatedDisk
from tests.unit.core.exchanges import BUY, OPERATOR, START_NS, orders, place, seed_of
from tests.unit.runtime.shards import (
    GatedStorage,
    do,
    open_market,
    random_orders,
    running,
    trio_clock_ns,
    until,
)


async def test_answers_come_in_the_order_of_submission(tmp_path: Path) -> None:
    seed = seed_of("tests/unit/runtime/test_sequencer.py -k order_of_submission")
    answered: list[Command] = []
    async with running(
        PosixStorage(tmp_path), observer=lambda command, _: answered.append(command)
    ) as shard:
        traders = await open_market(shard, 3)
        streams = [random_orders(random.Random(f"{seed} {t}"), t) for t in traders]
        answered.clear()
        sent: list[Command] = []
        promises: list[Promise[Outcome]] = []
        for number in range(600):
            sent.append(next(streams[number % 3]))
            promises.append(shard.sequencer.submit(sent[-1]))
            if number % 37 == 0:
                await trio.lowlevel.checkpoint()
        outcomes = [await promise.wait() for promise in promises]
        sequences = [outcome.sequence for outcome in outcomes]
        assert sequences == list(range(sequences[0], sequences[0] + 600))
        assert answered == sent
        assert shard.sequencer.durable_sequence == sequences[-1]


async def test_what_waits_shares_one_sync(tmp_path: Path) -> None:
    syncs: list[SyncSample] = []
    storage = GatedStorage(PosixStorage(tmp_path))
    async with running(storage, on_sync=syncs.append) as shard:
        traders = await open_market(shard)
        # The journal's thread reports a sync after it has announced it.
        await until(lambda: sum(sync.record_count for sync in syncs) == shard.exchange.sequence)
        syncs.clear()
        storage.gate.shut()
        stream = random_orders(random.Random(1), traders[0])
        promises = [shard.sequencer.submit(next(stream))]
        await until(lambda: storage.gate.waiting == 1)
        promises += [shard.sequencer.submit(next(stream)) for _ in range(200)]
        await trio.testing.wait_all_tasks_blocked()
        storage.gate.open()
        for promise in promises:
            await promise.wait()
        await until(lambda: sum(sync.record_count for sync in syncs) == 201)
        assert syncs[0].record_count == 1
        # The backlog needs no more syncs than batches may wait in front of the disk.
        assert len(syncs) <= 1 + BATCHES_IN_FLIGHT_MAX


async def test_few_batches_wait_in_front_of_the_disk_and_the_queue_is_bounded(
    tmp_path: Path,
) -> None:
    storage = GatedStorage(PosixStorage(tmp_path))
    async with running(storage) as shard, trio.open_nursery() as nursery:
        traders = await open_market(shard)
        sequencer = shard.sequencer
        storage.gate.shut()
        stream = random_orders(random.Random(2), traders[0])
        applied = shard.exchange.sequence
        promises = []
        for _ in range(BATCHES_IN_FLIGHT_MAX + 3):
            promises.append(sequencer.submit(next(stream)))
            await trio.testing.wait_all_tasks_blocked()
        assert shard.exchange.sequence == applied + BATCHES_IN_FLIGHT_MAX
        assert sequencer.queue_depth == 3
        while sequencer.queue_depth < QUEUE_COMMANDS_MAX:
            promises.append(sequencer.submit(next(stream)))
        before = encode_state(shard.exchange)
        with pytest.raises(QueueFull):
            sequencer.submit(next(stream))
        had_room: list[bool] = []

        async def wait_room() -> None:
            await sequencer.wait_room()
            had_room.append(sequencer.queue_depth < QUEUE_COMMANDS_MAX // 2)

        nursery.start_soon(wait_room)
        await trio.testing.wait_all_tasks_blocked()
        assert had_room == []
        assert encode_state(shard.exchange) == before
        storage.gate.open()
        for promise in promises:
            await promise.wait()
        await until(lambda: had_room == [True])
        assert shard.exchange.sequence == applied + len(promises)


async def test_the_queue_is_bounded_in_items_and_says_how_long_it_takes(tmp_path: Path) -> None:
    """A command may hold a thousand items: their number is what takes time."""
    storage = GatedStorage(PosixStorage(tmp_path))
    async with running(storage, clock_ns=trio_clock_ns) as shard:
        traders = await open_market(shard)
        sequencer = shard.sequencer
        storage.gate.shut()
        batch = [place(BUY, 90, 1)] * BATCH_ITEMS_MAX
        nonces = itertools.count(100)
        for _ in range(BATCHES_IN_FLIGHT_MAX + 1):
            sequencer.submit(orders(traders[0], next(nonces), batch))
            await trio.testing.wait_all_tasks_blocked()
        promises = []
        while not sequencer.is_full:
            promises.append(sequencer.submit(orders(traders[0], next(nonces), batch)))
            assert sequencer.queue_items < QUEUE_ITEMS_MAX + BATCH_ITEMS_MAX, "no bound on items"
        assert sequencer.queue_depth < QUEUE_COMMANDS_MAX // 10
        with pytest.raises(QueueFull):
            sequencer.submit(orders(traders[0], next(nonces), batch[:1]))
        storage.gate.open()
        for promise in promises:
            await promise.wait()
        assert sequencer.queue_items == 0
        assert DELAY_NS_MIN <= sequencer.retry_delay_ns <= DELAY_NS_MAX


async def test_what_cannot_be_journaled_fails_its_sender_alone(tmp_path: Path) -> None:
    async with running(PosixStorage(tmp_path)) as shard:
        traders = await open_market(shard)
        good = orders(traders[0], 1, [place()])
        promise = shard.sequencer.submit(good)
        for bad in (
            good._replace(items=b""),
            good._replace(digest=b"short"),
            Deposit(OPERATOR, 2**63, "QQQ", 1, "reference"),
        ):
            with pytest.raises(CodecError):
                shard.sequencer.submit(bad)
        assert (await promise.wait()).items[0].order_key
        assert (await do(shard, orders(traders[1], 1, [place()]))).items[0].order_key


async def test_time_never_runs_backwards(tmp_path: Path) -> None:
    times = iter([START_NS + 50, START_NS - 10**9, START_NS + 20, START_NS + 60])
    now = [START_NS]

    def clock_ns() -> int:
        now[0] = next(times, now[0])
        return now[0]

    async with running(PosixStorage(tmp_path), clock_ns=clock_ns) as shard:
        await open_market(shard)
    stamps = [record.time_ns for record in read_journal(PosixStorage(tmp_path))]
    assert stamps == sorted(stamps)
    assert stamps[-1] >= START_NS + 60


async def test_a_full_disk_refuses_before_anything_is_applied() -> None:
    seed = seed_of("tests/unit/runtime/test_sequencer.py -k full_disk_refuses")
    segment_bytes = 64 << 10
    disk = SimulatedDisk(random.Random(seed), capacity_bytes=2 * segment_bytes + 1_000)
    async with running(disk, segment_bytes=segment_bytes) as shard:
        traders = await open_market(shard)
        stream = random_orders(random.Random(seed), traders[0])
        command, full = await fill(shard, stream)
        assert full.reason == "no space"
        before = encode_state(shard.exchange), shard.views.checkpoint()
        for _ in range(3):
            with pytest.raises(JournalFull):
                await do(shard, command)
        assert (encode_state(shard.exchange), shard.views.checkpoint()) == before

        # A sender that waits for room is let go when its like are refused.
        sequencer = shard.sequencer
        refused = [sequencer.submit(next(stream)) for _ in range(QUEUE_COMMANDS_MAX // 2)]
        with trio.fail_after(20):
            await sequencer.wait_room()
        for promise in refused:
            with pytest.raises(JournalFull):
                await promise.wait()

        disk.capacity_bytes *= 2
        outcome = await retry(shard, command)
        assert not outcome.repeated
        assert (await do(shard, command)).repeated
        sequence = shard.exchange.sequence
        state = encode_state(shard.exchange)
    assert [record.sequence for record in read_journal(disk)] == list(range(1, sequence + 1))
    async with running(disk, segment_bytes=segment_bytes) as shard:
        assert encode_state(shard.exchange) == state


async def fill(shard: Shard, stream: Iterator[Command]) -> tuple[Command, JournalFull]:
    """Submit until the journal is full; the first refused command and its error."""
    for command in stream:
        try:
            await do(shard, command)
        except JournalFull as full:
            return command, full
    raise AssertionError("an endless stream ended")


async def retry(shard: Shard, command: Command) -> Outcome:
    """Submit until the journal has room again."""
    while True:
        try:
            return await do(shard, command)
        except JournalFull:
            await trio.sleep(0.001)


async def test_draining_takes_nothing_new_and_waits_for_the_rest(tmp_path: Path) -> None:
    storage = GatedStorage(PosixStorage(tmp_path))
    async with running(storage) as shard, trio.open_nursery() as nursery:
        traders = await open_market(shard)
        storage.gate.shut()
        stream = random_orders(random.Random(3), traders[0])
        promises = [shard.sequencer.submit(next(stream)) for _ in range(50)]
        drained: list[int] = []

        async def drain() -> None:
            await shard.sequencer.drain()
            drained.append(shard.sequencer.durable_sequence)

        nursery.start_soon(drain)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert drained == []
        with pytest.raises(DrainingError):
            shard.sequencer.submit(next(stream))
        storage.gate.open()
        await until(lambda: bool(drained))
        assert drained == [shard.exchange.sequence]
        assert all(promise.done for promise in promises)
