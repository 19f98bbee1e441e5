"""Snapshot files: whole or not there, damaged ones skipped, retention."""

from __future__ import annotations

import errno
import logging
import random

import pytest

from dexruntime import snapshot_file
from dexruntime.journal import FormatUnsupported
from dexruntime.journal.segment import list_segments
from dexruntime.retention import removable_segments
from dexruntime.snapshot_file import (
    Snapshot,
    SnapshotDamaged,
    decode_snapshot,
    encode_snapshot,
    list_snapshots,
    newest_good_snapshot,
    snapshot_name,
    write_snapshot,
)
from tests.sim.disk import SimulatedCrash, SimulatedDisk
from tests.unit.journal.journals import IDENTITY, seed_of, write_journal


def make_snapshot(sequence: int, body: bytes = b"state " * 20) -> Snapshot:
    return Snapshot(
        identity=IDENTITY,
        sequence=sequence,
        time_ns=sequence * 1000,
        chain_hash=b"c" * 16,
        event_hash=b"e" * 16,
        state_hash=b"s" * 32,
        body=body,
    )


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("body", [b"", b"x", bytes(100_000)])
def test_a_snapshot_reads_back_as_it_was_written(compress: bool, body: bytes) -> None:
    disk = SimulatedDisk(random.Random(0))
    snapshot = make_snapshot(5, body)
    assert newest_good_snapshot(disk) is None
    assert write_snapshot(disk, snapshot, compress=compress) == snapshot_name(5)
    assert newest_good_snapshot(disk) == snapshot


def test_every_flipped_bit_and_every_cut_of_a_snapshot_is_found() -> None:
    data = encode_snapshot(make_snapshot(9))
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SnapshotDamaged):
            decode_snapshot(bytes(flipped), "flipped")
    for cut in range(len(data)):
        with pytest.raises(SnapshotDamaged):
            decode_snapshot(data[:cut], "cut")


def test_the_last_two_are_kept_and_a_damaged_one_is_skipped_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = SimulatedDisk(random.Random(0))
    for sequence in (10, 20, 30):
        write_snapshot(disk, make_snapshot(sequence))
    assert list_snapshots(disk) == [20, 30]
    name = snapshot_name(30)
    disk.put(name, disk.contents(name)[:-1])
    with caplog.at_level(logging.WARNING):
        assert newest_good_snapshot(disk) == make_snapshot(20)
    assert name in caplog.text
    disk.put(snapshot_name(40), disk.contents(snapshot_name(20)))
    assert newest_good_snapshot(disk) == make_snapshot(20)


def test_a_newer_format_is_refused_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk(random.Random(0))
    write_snapshot(disk, make_snapshot(1))
    newer = snapshot_file.SNAPSHOT_VERSION + 1
    monkeypatch.setattr(snapshot_file, "SNAPSHOT_VERSION", newer)
    write_snapshot(disk, make_snapshot(2))
    monkeypatch.undo()
    with pytest.raises(FormatUnsupported, match=f"version {newer}"):
        newest_good_snapshot(disk)


def test_a_crash_at_each_step_of_publishing_leaves_the_old_or_the_new() -> None:
    seed = seed_of("step_of_publishing")
    outcomes = set()
    for attempt in range(200):
        chance = random.Random(seed + attempt)
        disk = SimulatedDisk(chance)
        write_snapshot(disk, make_snapshot(1))
        write_snapshot(disk, make_snapshot(2))
        disk.crash_at = disk.steps + attempt % 7 + 1
        published = False
        try:
            write_snapshot(disk, make_snapshot(3, bytes(5000)), compress=False)
            published = True
        except SimulatedCrash:
            pass
        disk.crash()
        disk.restart()
        newest = newest_good_snapshot(disk)
        assert newest in (make_snapshot(2), make_snapshot(3, bytes(5000)))
        assert not published or newest.sequence == 3
        outcomes.add(newest.sequence)
        write_snapshot(disk, make_snapshot(4))
        assert newest_good_snapshot(disk) == make_snapshot(4)
    assert outcomes == {2, 3}


@pytest.mark.parametrize("lie", ["datasync", "sync_directory"])
def test_a_disk_that_does_not_sync_loses_a_published_snapshot(lie: str) -> None:
    lost = 0
    for seed in range(30):
        disk = SimulatedDisk(random.Random(seed), lies=(lie,))
        write_snapshot(disk, make_snapshot(1, bytes(5000)), compress=False)
        disk.crash()
        disk.restart()
        lost += newest_good_snapshot(disk) is None
    assert lost > 0


def test_a_full_disk_keeps_what_was_published() -> None:
    disk = SimulatedDisk(random.Random(0))
    write_snapshot(disk, make_snapshot(1))
    disk.fail_once("write", errno.ENOSPC)
    with pytest.raises(OSError, match="injected"):
        write_snapshot(disk, make_snapshot(2))
    assert disk.list_names() == [snapshot_name(1)]
    assert newest_good_snapshot(disk) == make_snapshot(1)


def test_only_segments_that_the_oldest_kept_snapshot_covers_are_removable() -> None:
    disk, written, _ = write_journal(random.Random(1), [3] * 30, segment_bytes=8192)
    segments = list_segments(disk)
    assert len(segments) > 3
    assert removable_segments(disk, ()) == []
    last_of_second = segments[2].first_sequence - 1
    write_snapshot(disk, make_snapshot(last_of_second))
    assert removable_segments(disk, ()) == []
    write_snapshot(disk, make_snapshot(len(written)))
    assert removable_segments(disk, ()) == [segments[0].name, segments[1].name]
    write_snapshot(disk, make_snapshot(len(written) + 1))
    assert removable_segments(disk, ()) == [segment.name for segment in segments[:-1]]
