"""A segment goes when nothing needs it, the oldest first, and never one too many."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from dexruntime.journal import SequenceRemoved
from dexruntime.journal.segment import list_segments
from dexruntime.recovery import recover
from dexruntime.retention import covered_sequence, removable_segments, remove_covered
from dexruntime.snapshot_file import SnapshotDamaged, list_snapshots, snapshot_name
from dexruntime.snapshotter import take_snapshot
from dexruntime.storage import PosixStorage
from tests.sim.disk import SimulatedCrash, SimulatedDisk
from tests.unit.core.exchanges import seed_of
from tests.unit.runtime.shards import IDENTITY, do, fingerprint, open_market, random_orders, running

SEGMENT_BYTES = 16 << 10


class FileStore:
    """A derived store of the test's own: a file that holds how far it is."""

    name = "test"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.write_text("0")

    @property
    def applied_sequence(self) -> int:
        """What is on disk, not what was meant to be."""
        return int(self.path.read_text())

    def apply(self, sequence: int) -> None:
        self.path.write_text(str(sequence))


async def many_segments(disk: SimulatedDisk, chance: random.Random) -> list[int]:
    """A journal of several segments with two snapshots; their sequences."""
    for _ in range(2):
        async with running(disk, segment_bytes=SEGMENT_BYTES) as shard:
            traders = await open_market(shard)
            stream = random_orders(chance, traders[0])
            for _ in range(250):
                await do(shard, next(stream))
        take_snapshot(disk, IDENTITY)
    assert len(list_segments(disk)) > 4
    return list_snapshots(disk)


def numbers(disk: SimulatedDisk) -> list[int]:
    return [segment.first_sequence for segment in list_segments(disk)]


async def test_it_waits_for_the_older_snapshot_and_the_slowest_store(tmp_path: Path) -> None:
    chance = random.Random(1)
    disk = SimulatedDisk(chance)
    slow, fast = FileStore(tmp_path / "slow"), FileStore(tmp_path / "fast")
    snapshots = await many_segments(disk, chance)
    before = numbers(disk)
    live = fingerprint(recover(disk, IDENTITY, use_snapshot=False))
    fast.apply(snapshots[-1])
    assert remove_covered(disk, (slow, fast)) == [], "a store had not applied them"
    slow.apply(before[2])
    assert covered_sequence(disk, (slow, fast)) == before[2]
    # The store needs the record after the one it applied, and with it the segment that holds it.
    names = [segment.name for segment in list_segments(disk)]
    assert remove_covered(disk, (slow, fast)) == names[:2], "a store had not applied them"
    assert numbers(disk) == before[2:]
    slow.apply(snapshots[-1])
    remove_covered(disk, (slow, fast))
    kept = numbers(disk)
    assert kept == [n for n in before if n >= max(m for m in before if m <= snapshots[0] + 1)]
    assert remove_covered(disk, (slow, fast)) == []
    # Both snapshots are still ways in.
    assert fingerprint(recover(disk, IDENTITY)) == live
    disk.put(snapshot_name(snapshots[1]), b"damaged")
    assert fingerprint(recover(disk, IDENTITY)) == live
    with pytest.raises(SequenceRemoved, match=r"removed by retention; .*: start from a snapshot"):
        recover(disk, IDENTITY, use_snapshot=False)


async def test_nothing_goes_while_a_kept_snapshot_is_damaged() -> None:
    chance = random.Random(2)
    disk = SimulatedDisk(chance)
    snapshots = await many_segments(disk, chance)
    assert removable_segments(disk, ())
    for sequence in snapshots:
        sound = disk.contents(snapshot_name(sequence))
        disk.put(snapshot_name(sequence), sound[:-1])
        before = numbers(disk)
        with pytest.raises(SnapshotDamaged):
            remove_covered(disk, ())
        assert numbers(disk) == before
        disk.put(snapshot_name(sequence), sound)


async def test_a_crash_at_each_step_leaves_a_journal_without_a_gap() -> None:
    seed = seed_of("tests/unit/runtime/test_retention.py -k without_a_gap")
    chance = random.Random(seed)
    disk = SimulatedDisk(chance)
    await many_segments(disk, chance)
    files = {name: disk.contents(name) for name in disk.list_names()}
    live = fingerprint(recover(disk, IDENTITY))
    before = numbers(disk)
    removable = len(removable_segments(disk, ()))
    assert removable > 2
    recovered = set()
    # At the first step and the last, a crash leaves either of two journals by the toss of a coin.
    for _ in range(20):
        for step in range(1, 2 * removable + 1):
            crashed = SimulatedDisk(random.Random(chance.random()))
            for name, data in files.items():
                crashed.put(name, data)
            crashed.crash_at = step
            with pytest.raises(SimulatedCrash):
                remove_covered(crashed, ())
            crashed.restart()
            kept = numbers(crashed)
            assert kept == before[len(before) - len(kept) :], "a segment is missing in the middle"
            if len(kept) not in recovered:
                assert fingerprint(recover(crashed, IDENTITY)) == live
                recovered.add(len(kept))
    assert len(recovered) == removable + 1


async def test_each_removal_is_durable_before_the_next() -> None:
    chance = random.Random(3)
    disk = SimulatedDisk(chance)
    await many_segments(disk, chance)
    removable = len(removable_segments(disk, ()))
    disk.calls.clear()
    remove_covered(disk, ())
    assert disk.calls == ["remove", "sync_directory"] * removable


async def test_a_shard_removes_after_a_snapshot_when_it_is_set(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path / "journal")
    store = FileStore(tmp_path / "store")
    options: dict[str, Any] = {"segment_bytes": SEGMENT_BYTES, "remove_covered_segments": True}
    async with running(storage, **options) as shard:
        shard.derived_stores.append(store)
        traders = await open_market(shard)
        stream = random_orders(random.Random(4), traders[0])
        for _ in range(3):
            for _ in range(250):
                await do(shard, next(stream))
            await shard.take_snapshot(storage.directory)
        assert len(list_snapshots(storage)) == 2
        assert (shard.oldest_sequence, shard.removed_segments) == (1, 0)
        store.apply(shard.exchange.sequence)
        await shard.take_snapshot(storage.directory)
        assert shard.removed_segments > 1
        assert shard.oldest_sequence == list_segments(storage)[0].first_sequence > 1
        live = fingerprint(shard)
    async with running(storage, **options) as shard:
        assert fingerprint(shard) == live
