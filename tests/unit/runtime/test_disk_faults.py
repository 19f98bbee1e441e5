"""Every verb of the disk fails once, at every place; and the clock jumps an hour.

What must hold: what was acknowledged is in the journal, a full disk refuses and goes on when there
is room, and any other failure of the journal ends the process and is never tried again.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from dexcore.commands import Command
from dexruntime.journal import JournalFailed, JournalFull, read_journal
from dexruntime.recovery import recover
from dexruntime.storage import PosixStorage
from tests.sim.disk import SimulatedDisk
from tests.unit.core.exchanges import START_NS, seed_of
from tests.unit.runtime.shards import (
    IDENTITY,
    crossing,
    do,
    fingerprint,
    open_market,
    random_orders,
    running,
)

SEGMENT_BYTES = 6 << 10
COMMANDS = 36
RETRY_SECONDS = 4.0
RETRIED_EVERY = 7
HOUR_NS = 3_600 * 10**9
# Verbs in which a full disk may be met: preparing the spare. A write never meets it.
PREPARING = ("create", "preallocate")


class FaultyDisk(SimulatedDisk):
    """Fails the changing step of one number, and remembers which verb that was."""

    def __init__(self, chance: random.Random, fail_step: int, error_number: int) -> None:
        super().__init__(chance)
        self.fail_step = fail_step
        self.error_number = error_number
        self.failed_verb = ""

    def step(self, verb: str, work: Callable[[], None], *, crash_after: bool = False) -> None:
        if self.steps + 1 == self.fail_step:
            self.failed_verb = verb
            self.fail_once(verb, self.error_number)
        super().step(verb, work, crash_after=crash_after)


class Run:
    """One life of a shard on a disk that fails once: what was acknowledged, and how it ended."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.disk = disk
        self.acknowledged: list[tuple[int, Command]] = []
        self.refused = 0
        self.failures: list[BaseException] = []
        self.refused_to_start = False

    async def live(self, commands: list[Command]) -> None:
        try:
            async with running(
                self.disk, segment_bytes=SEGMENT_BYTES, on_failure=self.failures.append
            ) as shard:
                for command in commands:
                    await self.send(shard, command)
        except* OSError:
            self.refused_to_start = not self.failures
        except* JournalFailed:
            assert self.failures, "the journal failed and nobody was told"

    async def send(self, shard: Any, command: Command) -> None:
        """Send it until it is taken."""
        deadline = time.monotonic() + RETRY_SECONDS
        while time.monotonic() < deadline:
            try:
                outcome = await do(shard, command)
            except JournalFull:
                # Its sender tries again, as RetryInfo says; meanwhile the journal's thread looks.
                self.refused += 1
                await trio.to_thread.run_sync(lambda: None)
                continue
            self.acknowledged.append((outcome.sequence, command))
            return
        raise AssertionError("the disk has room, and the shard did not go on")


class History(NamedTuple):
    """A disk with a market on it, commands, and the verb of each step they take on it."""

    opened: dict[str, bytes]
    commands: list[Command]
    verbs: list[str]


async def history() -> History:
    """The same each time, on a disk that does not fail."""
    disk = SimulatedDisk(random.Random(0))
    async with running(disk, segment_bytes=SEGMENT_BYTES) as shard:
        traders = await open_market(shard)
    commands: list[Command] = []
    stream = random_orders(random.Random(1), traders[0])
    for nonce in range(1, COMMANDS // 3):
        commands += [*crossing(traders, 10_000 + nonce), next(stream)]
    opened = {name: disk.contents(name) for name in disk.list_names()}
    disk.calls.clear()
    await Run(disk).live(commands)
    return History(opened, commands, list(disk.calls))


async def fail_at(known: History, step: int, error_number: int, seed: str) -> tuple[str, Run]:
    """One life with a failure at a step, and then a crash: the verb that failed, and the run."""
    disk = FaultyDisk(random.Random(seed), step, error_number)
    for name, data in known.opened.items():
        disk.put(name, data)
    run = Run(disk)
    await run.live(known.commands)
    disk.crash()
    disk.restart()
    check_kept(disk, run)
    return disk.failed_verb, run


async def test_a_full_disk_is_met_in_preparing_alone_and_passes() -> None:
    seed = seed_of("tests/unit/runtime/test_disk_faults.py -k preparing")
    known = await history()
    steps = [number for number, verb in enumerate(known.verbs, 1) if verb in PREPARING]
    assert len(steps) > 6
    for step in steps:
        _, run = await fail_at(known, step, errno.ENOSPC, f"{seed} {step}")
        assert (run.failures, run.refused_to_start) == ([], False), step
        assert len(run.acknowledged) == len(known.commands)


async def test_a_disk_that_stays_full_stops_intake_and_the_shard_goes_on_with_the_room() -> None:
    disk = SimulatedDisk(random.Random(0))
    run = Run(disk)
    async with running(disk, segment_bytes=SEGMENT_BYTES, on_failure=run.failures.append) as shard:
        traders = await open_market(shard)
        stream = random_orders(random.Random(1), traders[0])

        sent: list[Command] = []

        async def fill() -> None:
            while True:
                sent.append(next(stream))
                await do(shard, sent[-1])

        disk.capacity_bytes = 0
        with pytest.raises(JournalFull):
            await fill()
        disk.capacity_bytes = 1 << 30
        # The refused one: a smaller one may still fit into what is left of the segment.
        await run.send(shard, sent[-1])
    assert run.failures == []


@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
async def test_each_verb_fails_once_at_each_step(error_number: int) -> None:
    seed = seed_of("tests/unit/runtime/test_disk_faults.py -k each_verb")
    known = await history()
    failed: set[str] = set()
    for step, expected in enumerate(known.verbs, 1):
        if error_number == errno.ENOSPC and expected in PREPARING:
            continue
        verb, run = await fail_at(known, step, error_number, f"{seed} {step}")
        assert verb, step
        assert len(run.failures) == 1 or run.refused_to_start, f"{verb} failed, and it went on"
        failed.add(verb)
        if step % RETRIED_EVERY:
            continue
        # A new life on the same disk: everything sent again, and nothing counts twice.
        again = Run(run.disk)
        await again.live(known.commands)
        assert len(again.acknowledged) == len(known.commands)
        first = {command: sequence for sequence, command in run.acknowledged}
        for sequence, command in again.acknowledged:
            assert first.get(command, sequence) == sequence, "it was applied twice"
    assert failed >= {"write", "datasync", "rename", "sync_directory"}
    assert error_number == errno.ENOSPC or failed >= set(PREPARING)


def check_kept(disk: SimulatedDisk, run: Run) -> None:
    """All that was acknowledged is in the journal, at the place that was acknowledged."""
    kept = {record.sequence: record for record in read_journal(disk)}
    for sequence, _ in run.acknowledged:
        assert sequence in kept, f"{sequence} was acknowledged and is lost"
    assert recover(disk, IDENTITY).exchange.sequence == max(kept)


@pytest.mark.parametrize("jump_ns", [-HOUR_NS, HOUR_NS])
async def test_a_clock_that_jumps_an_hour_changes_times_alone(jump_ns: int) -> None:
    now_ns = START_NS
    disk = SimulatedDisk(random.Random(0))
    async with running(disk, clock_ns=lambda: now_ns) as shard:
        traders = await open_market(shard)
        for command in crossing(traders, 1):
            await do(shard, command)
        before_ns = shard.exchange.time_ns
        now_ns += jump_ns
        # Signed for now, by clients whose clocks are right: a clock ahead refuses what has expired.
        outcomes = [await do(shard, command) for command in crossing(traders, 2)]
        now_ns -= jump_ns
        outcomes += [await do(shard, command) for command in crossing(traders, 3)]
        assert all(outcome.sequence for outcome in outcomes)
        assert shard.exchange.time_ns >= before_ns
        live = fingerprint(shard)
    times = [record.time_ns for record in read_journal(disk)]
    assert times == sorted(times)
    assert fingerprint(recover(disk, IDENTITY)) == live


def test_a_short_write_is_gone_on_with_and_its_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = PosixStorage(tmp_path)
    file = storage.open("data", "create")
    real = os.pwrite
    sizes: list[int] = []

    def short(descriptor: int, data: bytes, offset: int) -> int:
        sizes.append(len(data))
        return real(descriptor, bytes(data)[: max(1, len(data) // 2)], offset)

    monkeypatch.setattr(os, "pwrite", short)
    file.write(512, bytes(range(256)) * 4)
    assert len(sizes) > 5
    assert file.read(512, 1024) == bytes(range(256)) * 4

    def short_then_full(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) < 1024:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, bytes(data)[:100], offset)

    monkeypatch.setattr(os, "pwrite", short_then_full)
    with pytest.raises(OSError, match="No space left"):
        file.write(0, bytes(1024))
    file.close()
