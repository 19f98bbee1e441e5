"""One start path: what recovery makes is what lived, with snapshots and without."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from dexcore.checkpoint import state_hash
from dexruntime.journal import Identity, JournalMismatch, read_journal
from dexruntime.journal.segment import list_segments
from dexruntime.recovery import recover
from dexruntime.retention import removable_segments
from dexruntime.shard import Shard
from dexruntime.snapshot_file import list_snapshots, snapshot_name
from dexruntime.snapshotter import take_snapshot
from dexruntime.storage import PosixStorage, StorageInUse
from tests.sim.disk import SimulatedDisk
from tests.unit.core.exchanges import Trader, seed_of
from tests.unit.runtime.shards import (
    IDENTITY,
    GatedStorage,
    dying,
    fingerprint,
    open_market,
    random_orders,
    running,
    until,
)


async def trade(shard: Shard, traders: list[Trader], chance: random.Random, count: int) -> None:
    """Random orders of all traders, until they are durable."""
    streams = [random_orders(random.Random(chance.random()), trader) for trader in traders]
    promises = [shard.sequencer.submit(next(chance.choice(streams))) for _ in range(count)]
    for promise in promises:
        await promise.wait()


async def test_recovery_makes_what_lived(tmp_path: Path) -> None:
    seed = seed_of("tests/unit/runtime/test_recovery.py -k makes_what_lived")
    chance = random.Random(seed)
    storage = PosixStorage(tmp_path)
    async with running(storage) as shard:
        assert shard.replayed_count == 0
        traders = await open_market(shard, 3)
    for _ in range(3):
        async with running(storage) as shard:
            await trade(shard, traders, chance, 150)
            live = fingerprint(shard)
            feeds = [view.trade_feed.last_sequence for view in shard.views.markets]
        again = recover(storage, IDENTITY)
        assert fingerprint(again) == live
        assert [view.trade_feed.last_sequence for view in again.views.markets] == feeds
    assert feeds[0] > 50


async def test_a_snapshot_and_the_tail_are_the_full_replay() -> None:
    seed = seed_of("tests/unit/runtime/test_recovery.py -k full_replay")
    chance = random.Random(seed)
    disk = SimulatedDisk(chance)
    async with running(disk, segment_bytes=64 << 10) as shard:
        traders = await open_market(shard, 3)
    for _ in range(4):
        async with running(disk, segment_bytes=64 << 10) as shard:
            await trade(shard, traders, chance, 100)
        snapshot, _ = take_snapshot(disk, IDENTITY)
        async with running(disk, segment_bytes=64 << 10) as shard:
            assert shard.replayed_count == 0
            await trade(shard, traders, chance, chance.choice((0, 1, 60)))
            live = fingerprint(shard)
        quick = recover(disk, IDENTITY)
        assert quick.snapshot_sequence == snapshot.sequence
        full = recover(disk, IDENTITY, use_snapshot=False)
        assert fingerprint(quick) == fingerprint(full) == live


async def test_a_running_shard_is_snapshot_by_a_second_process(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path)
    async with running(storage) as shard, trio.open_nursery() as nursery:
        traders = await open_market(shard, 2)
        await trade(shard, traders, random.Random(1), 50)
        # It goes on taking orders meanwhile.
        nursery.start_soon(trade, shard, traders, random.Random(2), 300)
        floor = shard.sequencer.durable_sequence
        report = await shard.take_snapshot(tmp_path)
        assert shard.snapshot_sequence == report.sequence >= floor
        assert (tmp_path / snapshot_name(report.sequence)).stat().st_size == report.size_bytes
        with trio.fail_after(20):
            await shard.sequencer.settled()
        live = fingerprint(shard)
    quick = recover(storage, IDENTITY)
    assert quick.snapshot_sequence == report.sequence
    assert quick.exchange.event_hash == live[0] or quick.exchange.sequence > report.sequence
    assert fingerprint(quick) == fingerprint(recover(storage, IDENTITY, use_snapshot=False))
    states = {}
    for record in read_journal(storage):
        states[record.sequence] = record.time_ns
    assert report.sequence in states
    assert len(report.state_hash) == len(state_hash(b""))


async def test_a_snapshot_before_the_first_command_can_be_started_from(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path)
    async with running(storage) as shard:
        assert (await shard.take_snapshot(tmp_path)).sequence == 0
        await open_market(shard)
        live = fingerprint(shard)
    assert fingerprint(recover(storage, IDENTITY)) == live


async def test_segments_that_no_snapshot_needs_may_go() -> None:
    segment_bytes = 8 << 10
    chance = random.Random(5)
    disk = SimulatedDisk(chance)
    async with running(disk, segment_bytes=segment_bytes) as shard:
        traders = await open_market(shard, 3)
    removed = at_start = 0
    for _ in range(40):
        async with running(disk, segment_bytes=segment_bytes) as shard:
            # One command a block, so that snapshots sometimes end where a segment ends.
            for _ in range(chance.randint(1, 4)):
                await trade(shard, traders, chance, 1)
            live = fingerprint(shard)
        take_snapshot(disk, IDENTITY)
        for name in removable_segments(disk, ()):
            disk.remove(name)
            removed += 1
        assert fingerprint(recover(disk, IDENTITY)) == live
        older, newer = ([0] * 2 + list_snapshots(disk))[-2:]
        if older:
            # The older one must do as well, should the newer be damaged.
            kept = disk.contents(snapshot_name(newer))
            disk.remove(snapshot_name(newer))
            assert fingerprint(recover(disk, IDENTITY)) == live
            disk.put(snapshot_name(newer), kept)
            at_start += list_segments(disk)[0].first_sequence == older + 1
    assert removed > 5
    assert at_start, "no snapshot ended where a segment ends"


async def test_a_snapshot_beside_a_node_leaves_alone_what_is_not_durable() -> None:
    disk = SimulatedDisk(random.Random(1))
    storage = GatedStorage(disk)
    async with running(storage) as shard:
        traders = await open_market(shard)
        await shard.sequencer.settled()
        storage.gate.shut()
        promise = shard.sequencer.submit(next(random_orders(random.Random(1), traders[0])))
        await until(lambda: storage.gate.waiting == 1)
        durable = shard.sequencer.durable_sequence
        syncs = disk.calls.count("datasync")
        snapshot, _ = take_snapshot(disk, IDENTITY, durable)
        assert snapshot.sequence == durable, "a record in front of the disk is in a snapshot"
        assert disk.calls.count("datasync") == syncs + 1, "it synced the journal of the node"
        storage.gate.open()
        await promise.wait()


@pytest.mark.parametrize("seed", range(30))
async def test_a_snapshot_never_outlives_the_journal(seed: int) -> None:
    disk = SimulatedDisk(random.Random(seed))
    storage = GatedStorage(disk)
    acknowledged = 0
    with dying():
        async with running(storage, on_failure=lambda _: None) as shard:
            traders = await open_market(shard)
            acknowledged = shard.sequencer.durable_sequence
            storage.gate.shut()
            shard.sequencer.submit(next(random_orders(random.Random(seed), traders[0])))
            await until(lambda: storage.gate.waiting == 1)
            # The block is written, its sync is under way, and another process reads it.
            take_snapshot(disk, IDENTITY)
            disk.crash()
    disk.restart()
    again = recover(disk, IDENTITY)
    assert again.exchange.sequence >= acknowledged > 0
    assert again.end.sequence == again.exchange.sequence


async def test_a_damaged_snapshot_is_passed_over_for_an_older_one(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path)
    for _ in range(2):
        async with running(storage) as shard:
            traders = await open_market(shard)
            await trade(shard, traders, random.Random(1), 20)
            live = fingerprint(shard)
        take_snapshot(storage, IDENTITY)
    older, newer = list_snapshots(storage)
    path = tmp_path / snapshot_name(newer)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again = recover(storage, IDENTITY)
    assert again.snapshot_sequence == older
    assert fingerprint(again) == live


async def test_a_directory_of_another_network_is_refused_and_let_go(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path)
    async with running(storage) as shard:
        await open_market(shard)
        with pytest.raises(StorageInUse):
            Shard(PosixStorage(tmp_path), IDENTITY)
    take_snapshot(storage, IDENTITY)
    for other in (Identity("elsewhere", IDENTITY.shard, 7), Identity(IDENTITY.network_id, 4, 7)):
        with pytest.raises(JournalMismatch):
            Shard(storage, other)
    async with running(storage) as shard:
        assert shard.replayed_count == 0


async def test_a_snapshot_of_another_journal_is_noticed(tmp_path: Path) -> None:
    for number in range(2):
        storage = PosixStorage(tmp_path / str(number))
        async with running(storage) as shard:
            traders = await open_market(shard)
            await trade(shard, traders, random.Random(number), 20)
    _, name = take_snapshot(PosixStorage(tmp_path / "0"), IDENTITY)
    (tmp_path / "0" / name).rename(tmp_path / "1" / name)
    with pytest.raises(JournalMismatch):
        recover(PosixStorage(tmp_path / "1"), IDENTITY)


async def test_a_journal_that_lost_what_the_snapshot_has_is_refused() -> None:
    disk = SimulatedDisk(random.Random(1))
    async with running(disk) as shard:
        traders = await open_market(shard)
    name = list_segments(disk)[-1].name
    shorter = disk.contents(name)
    async with running(disk) as shard:
        await trade(shard, traders, random.Random(1), 1)
    take_snapshot(disk, IDENTITY)
    disk.put(name, shorter)
    with pytest.raises(JournalMismatch, match="before the snapshot"):
        recover(disk, IDENTITY)
