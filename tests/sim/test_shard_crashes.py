"""A shard on a disk that forgets: what was acknowledged is there after a crash, and counts once.

Each seed is one history: a shard serves a few clients until the machine stops at a random step of
the disk, perhaps again while it recovers or later; then the clients send everything once more.
"""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import trio

from dexcore.commands import Command, OrderCommand, decode_command
from dexcore.exchange import Exchange
from dexcore.results import Outcome
from dexruntime.journal import JournalError, read_journal
from dexruntime.recovery import recover
from dexruntime.shard import Shard
from dexruntime.snapshotter import take_snapshot
from tests.sim.disk import SimulatedCrash, SimulatedDisk
from tests.unit.core.exchanges import Trader
from tests.unit.runtime.shards import IDENTITY, do, dying, fingerprint, open_market, random_orders
from tests.unit.runtime.shards import running as running_shard

SEEDS = 200
SEGMENT_BYTES = 16 << 10
CLIENTS = 4
COMMANDS = 12

Answer = tuple[int, int, tuple[Any, ...]]


def running(disk: SimulatedDisk) -> Any:
    """A shard whose disk failures end it instead of this process."""
    return running_shard(disk, segment_bytes=SEGMENT_BYTES, on_failure=lambda _: None)


def answer_of(outcome: Outcome) -> Answer:
    """What the sender was told."""
    return outcome.sequence, outcome.time_ns, outcome.items


class History:
    """The clients of one shard, what they sent and what they were told."""

    def __init__(self, seed: int, *, lies: tuple[str, ...] = ()) -> None:
        self.chance = random.Random(seed)
        self.disk = SimulatedDisk(self.chance, lies=lies)
        self.traders: list[Trader] = []
        self.sent: list[list[Command]] = [[] for _ in range(CLIENTS)]
        self.answers: dict[bytes, Answer] = {}
        # What readers have seen: (feed, sequence) -> item.
        self.seen: dict[tuple[str, int], tuple[Any, ...]] = {}
        self.crashes = 0

    async def run(self) -> None:
        """Live, crash, perhaps crash again, live to the end."""
        await self._open()
        for crash_at in self._crash_steps():
            self.disk.crash_at = crash_at and self.disk.steps + crash_at
            with dying():
                if self.chance.random() < 0.3:
                    take_snapshot(self.disk, IDENTITY)
                async with running(self.disk) as shard:
                    self._check_acknowledged(shard)
                    await self._serve(shard)
                    if crash_at == 0:
                        return
                    self._stop()
            self.crashes += 1
            self.disk.restart()

    def _crash_steps(self) -> list[int]:
        """Steps after the start at which the machine stops; 0 for the life that ends well."""
        lives = self.chance.choice((1, 1, 2, 3))
        return [self.chance.randint(1, self.chance.choice((8, 60))) for _ in range(lives)] + [0]

    def _stop(self) -> None:
        """The machine stops although the disk was not busy."""
        self.disk.crash()
        raise SimulatedCrash

    async def _open(self) -> None:
        async with running(self.disk) as shard:
            self.traders = await open_market(shard, CLIENTS)
        streams = [random_orders(self.chance, trader) for trader in self.traders]
        for stream, sent in zip(streams, self.sent, strict=True):
            sent += [next(stream) for _ in range(COMMANDS)]

    def _check_acknowledged(self, shard: Shard) -> None:
        """Every answer given before is known, and what was seen is still what is there."""
        for command in [command for sent in self.sent for command in sent]:
            assert isinstance(command, OrderCommand)
            if command.digest not in self.answers:
                continue
            key = command.account_key, command.nonce
            known = shard.exchange.nonces.answers.get(key)
            assert known is not None, "an acknowledged command is gone"
            told = known.sequence, known.time_ns, known.items
            assert told == self.answers[command.digest]
        view = shard.views.markets[0]
        for feed, sequence in self.seen:
            last = view.trade_feed if feed == "trade" else view.book_feed
            assert sequence <= last.last_sequence, "a feed went back"

    async def _serve(self, shard: Shard) -> None:
        """All clients send all they have, one after the other, and readers read."""
        view = shard.views.markets[0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, "trade", view.trade_feed)
            nursery.start_soon(self._read, "book", view.book_feed)
            async with trio.open_nursery() as clients:
                for sent in self.sent:
                    clients.start_soon(self._client, shard, sent)
            nursery.cancel_scope.cancel()

    async def _client(self, shard: Shard, sent: list[Command]) -> None:
        for command in sent:
            assert isinstance(command, OrderCommand)
            outcome = await do(shard, command)
            answer = answer_of(outcome)
            if command.digest in self.answers:
                assert outcome.repeated, "a retry was applied again"
                assert answer == self.answers[command.digest]
            self.answers[command.digest] = answer

    async def _read(self, name: str, feed: Any) -> None:
        after = feed.last_sequence
        while True:
            for item in await feed.read_after(after, 100):
                after += 1
                row = tuple(item) if name == "trade" else (item.bids, item.asks, item.time_ns)
                assert self.seen.setdefault((name, after), row) == row

    def check_journal(self) -> None:
        """Each payload took effect once, and the replay is what lived."""
        exchange = Exchange()
        applied: dict[bytes, int] = {}
        for record in read_journal(self.disk):
            command = decode_command(record.command)
            outcome = exchange.apply(record.sequence, record.time_ns, command)
            if isinstance(command, OrderCommand) and not outcome.repeated:
                applied[command.digest] = applied.get(command.digest, 0) + 1
                assert answer_of(outcome) == self.answers[command.digest]
        assert set(applied.values()) == {1}
        assert set(applied) == set(self.answers)
        assert len(applied) == CLIENTS * COMMANDS
        quick = recover(self.disk, IDENTITY)
        assert quick.exchange.event_hash == exchange.event_hash
        full = recover(self.disk, IDENTITY, use_snapshot=False)
        assert fingerprint(quick) == fingerprint(full)


def test_crashes_lose_nothing_and_repeat_nothing() -> None:
    crashes = snapshots = 0
    for seed in range(SEEDS):
        history = History(seed)
        try:
            trio.run(history.run)
            history.check_journal()
        except BaseException:
            print(f"seed {seed}: pytest tests/sim/test_shard_crashes.py -k nothing")
            raise
        crashes += history.crashes
        snapshots += any(name.startswith("snapshot-") for name in history.disk.list_names())
    assert crashes > SEEDS
    assert snapshots > SEEDS // 10


@pytest.mark.parametrize("lie", ["datasync", "sync_directory"])
def test_a_disk_that_does_not_sync_is_caught(lie: str) -> None:
    caught = 0
    for seed in range(SEEDS // 4):
        history = History(seed, lies=(lie,))
        try:
            trio.run(history.run)
            history.check_journal()
        except (AssertionError, JournalError, FileNotFoundError, BaseExceptionGroup):
            caught += 1
    assert caught > math.isqrt(SEEDS), f"{caught} of {SEEDS // 4} histories noticed"
