"""Crashes at every step of the disk: nothing reported durable is lost, nothing is invented.

``check_crash`` is the judge. The last tests turn it against a disk whose datasync or directory
sync does nothing, and demand that it notices.
"""

from __future__ import annotations

import errno
import random

import pytest
import trio

from dexruntime.journal import (
    JournalDamaged,
    JournalFailed,
    JournalFull,
    JournalReader,
    JournalWriter,
    Record,
)
from dexruntime.journal.appender import BlockAppender
from tests.sim.disk import SimulatedCrash, SimulatedDisk
from tests.unit.journal.journals import (
    IDENTITY,
    append_block,
    make_records,
    open_appender,
    seed_of,
)

SEGMENT_BYTES = 8192


class LostRecords(AssertionError):
    """Recovery does not know what was reported durable."""


def recover(disk: SimulatedDisk) -> list[Record]:
    reader = JournalReader(disk)
    records = list(reader)
    reader.end()
    return records


def check_recovered(disk: SimulatedDisk, appended: list[Record], durable: int) -> int:
    """Hold a restarted disk against what was appended; returns how many records it still has."""
    recovered = recover(disk)
    if len(recovered) < durable:
        raise LostRecords(f"{durable} were reported durable, {len(recovered)} are there")
    assert recovered == appended[: len(recovered)]
    return len(recovered)


def write_until_crash(
    disk: SimulatedDisk, chance: random.Random, appended: list[Record], blocks: int
) -> int:
    """One life of a node on this disk; returns the sequence it reported as durable."""
    durable = 0
    try:
        appender: BlockAppender = open_appender(disk, segment_bytes=SEGMENT_BYTES)
        durable = appender.sequence
        del appended[durable:]
        for _ in range(blocks):
            records = make_records(
                chance, chance.choice((1, 1, 2, 9)), after=durable, time_ns=appender.time_ns
            )
            appended += records
            append_block(appender, records)
            durable = appender.sequence
    except SimulatedCrash:
        pass
    return durable


def check_crash(seed: int, crash_at: int, *, lies: tuple[str, ...] = ()) -> bool:
    """Two lives with a crash in each, the second often in recovery; whether the first did crash."""
    chance = random.Random(seed)
    lies_after = chance.choice((0, 10, 30))
    disk = SimulatedDisk(chance, crash_at=crash_at, lies=lies, lies_after=lies_after)
    appended: list[Record] = []
    durable = write_until_crash(disk, chance, appended, 14)
    crashed = disk.steps >= crash_at
    disk.crash()
    for crash_again_at in (chance.randint(1, 5), chance.randint(1, 60), 0):
        disk.restart()
        kept = check_recovered(disk, appended, durable)
        disk.crash_at = disk.steps + crash_again_at
        durable = max(kept, write_until_crash(disk, chance, appended, 5))
        disk.crash()
    disk.restart()
    check_recovered(disk, appended, durable)
    return crashed


def test_a_crash_at_each_step_loses_nothing_reported_durable() -> None:
    seed = seed_of("crash_at_each_step")
    crash_at, crashes = 1, 0
    while check_crash(seed, crash_at):
        crashes += 1
        for more in range(1, 4):
            check_crash(seed + more, crash_at)
        crash_at += 1
    # Fourteen blocks that happen to fit into one segment take 36 steps.
    assert crashes > 30


@pytest.mark.parametrize("verb", ["datasync", "sync_directory"])
def test_the_check_above_notices_a_disk_that_does_not_sync(verb: str) -> None:
    seed = seed_of("notices")
    found: set[type[Exception]] = set()
    for crash_at in range(1, 80):
        try:
            check_crash(seed + crash_at, crash_at, lies=(verb,))
        except (LostRecords, JournalDamaged) as error:
            found.add(type(error))
    assert LostRecords in found


def test_a_failed_datasync_is_made_good_by_the_next_recovery() -> None:
    """The page cache shows what the failed sync dropped: recovery must write it, not trust it."""
    for seed in range(20):
        chance = random.Random(seed)
        disk = SimulatedDisk(chance)
        appender = open_appender(disk, segment_bytes=1 << 16)
        first = make_records(chance, 5)
        append_block(appender, first)
        second = make_records(chance, 5, after=5, time_ns=appender.time_ns)
        disk.fail_once("datasync", errno.EIO)
        with pytest.raises(OSError, match="injected"):
            append_block(appender, second)
        disk.kill()
        assert recover(disk) == first + second
        open_appender(disk, segment_bytes=1 << 16)
        disk.crash()
        disk.restart()
        assert recover(disk) == first + second


async def live_until_crash(disk: SimulatedDisk, chance: random.Random) -> tuple[list[Record], int]:
    """A JournalWriter under load until its disk crashes; what it took, and reported durable."""
    reader = JournalReader(disk)
    appended = list(reader)
    reported = [len(appended)]
    try:
        writer = JournalWriter(
            disk,
            reader.end(),
            IDENTITY,
            on_durable=reported.append,
            on_failure=lambda _: None,
            segment_bytes=1 << 15,
        )
    except SimulatedCrash:
        return appended, reported[-1]
    time_ns = 0
    try:
        while True:
            records = make_records(
                chance, chance.randint(1, 8), after=len(appended), time_ns=time_ns
            )
            try:
                writer.append(records)
            except JournalFull:
                await trio.lowlevel.checkpoint()
                await writer.wait_durable(len(appended))
                continue
            appended += records
            time_ns = records[-1].time_ns
            if chance.random() < 0.5:
                await writer.wait_durable(len(appended))
    except JournalFailed:
        return appended, reported[-1]


async def test_a_live_writer_that_crashes_has_lost_nothing_it_reported() -> None:
    seed = seed_of("live_writer")
    reported = 0
    for life in range(100):
        chance = random.Random(seed + life)
        disk = SimulatedDisk(chance, crash_at=chance.randint(1, 60))
        appended, durable = await live_until_crash(disk, chance)
        reported += durable
        disk.restart()
        check_recovered(disk, appended, durable)
    assert reported > 1000
