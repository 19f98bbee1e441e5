"""Running shards for the tests of the runtime, and storages that wait or fail when told to."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio

from dexcore.checkpoint import encode_state
from dexcore.commands import Command, CreateMarket, Deposit
from dexcore.items import IOC, Item
from dexcore.results import Outcome
from dexruntime.journal import Identity, JournalFailed
from dexruntime.shard import Shard
from dexruntime.storage import Access, Storage, StorageFile
from tests.sim.disk import SimulatedCrash
from tests.unit.core.exchanges import (
    ASSETS,
    BUY,
    MARKETS,
    OPERATOR,
    SELL,
    START_NS,
    Trader,
    amend,
    cancel,
    orders,
    place,
    public_key,
    register,
)

IDENTITY = Identity("triodex-test", 3, 7)
SEGMENT_BYTES = 1 << 20


def fixed_clock_ns() -> int:
    """A clock that stands still: the exchange's time then never makes a window due."""
    return START_NS


def trio_clock_ns() -> int:
    """The time of the Trio run, for tests with a mock clock."""
    return START_NS + round(trio.current_time() * 1e9)


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait for another thread's doing, by the real clock even under a mock clock."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        await trio.to_thread.run_sync(time.sleep, 0.0005)


class Gate:
    """While shut, every datasync waits in front of it."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.waiting = 0

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def pass_through(self) -> None:
        self.waiting += 1
        assert self._open.wait(60), "the gate was never opened"
        self.waiting -= 1


class GatedFile:
    """A file whose datasync waits at a gate."""

    def __init__(self, file: StorageFile, gate: Gate) -> None:
        self._file = file
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def datasync(self) -> None:
        self._gate.pass_through()
        self._file.datasync()


class GatedStorage:
    """A storage whose files' datasync waits at its gate."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.gate = Gate()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def open(self, name: str, access: Access = "read") -> Any:
        return GatedFile(self._storage.open(name, access), self.gate)


class NoSignatures:
    """In the place of the verifier where nothing is signed, to start shards by the hundred."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()


@asynccontextmanager
async def running(storage: Any, *, signed: bool = False, **options: Any) -> AsyncIterator[Shard]:
    """A shard that serves until the block ends; then it stops as a node does."""
    options = {"clock_ns": fixed_clock_ns, "segment_bytes": SEGMENT_BYTES, **options}
    async with trio.open_nursery() as nursery:
        shard = Shard(storage, IDENTITY, **options)
        if not signed:
            shard.verifier = NoSignatures()  # type: ignore[assignment]
        await nursery.start(shard.run)
        try:
            yield shard
        finally:
            if isinstance(storage, GatedStorage):
                storage.gate.open()
            nursery.cancel_scope.cancel()


@contextmanager
def dying() -> Iterator[None]:
    """Around a shard whose disk stops: the process would have ended where the error ends here."""
    try:
        yield
    except* (JournalFailed, SimulatedCrash):
        pass


async def do(shard: Shard, command: Command) -> Outcome:
    """Submit a command and wait for its durable outcome."""
    return await shard.sequencer.submit(command, b"envelope").wait()


async def open_market(shard: Shard, traders: int = 2, atoms: int = 10**9) -> list[Trader]:
    """Open the markets and some funded accounts; a second time changes nothing."""
    for market in MARKETS:
        await do(shard, CreateMarket(OPERATOR, market))
    opened = []
    for number in range(traders):
        outcome = await do(shard, register(number))
        trader = Trader(outcome.key, public_key(number))
        opened.append(trader)
        for asset_id in ASSETS:
            reference = f"{number} {asset_id}"
            await do(shard, Deposit(OPERATOR, trader.account_key, asset_id, atoms, reference))
    return opened


def crossing(traders: list[Trader], nonce: int, lots: int = 5) -> list[Command]:
    """Two commands that trade with each other."""
    sell, buy = place(SELL, 100, lots), place(BUY, 100, lots, tif=IOC)
    return [orders(traders[0], nonce, [sell]), orders(traders[1], nonce, [buy])]


def random_orders(chance: random.Random, trader: Trader) -> Iterator[Command]:
    """Endless orders of one trader that name each other by client order ids alone."""
    nonce = 10
    while True:
        nonce += 1
        items = [_random_item(chance) for _ in range(chance.choice((1, 1, 3, 10)))]
        yield orders(trader, nonce, items)


def _random_item(chance: random.Random) -> Item:
    client_id = chance.randint(1, 20)
    roll = chance.random()
    if roll < 0.2:
        return cancel(client_id=client_id)
    if roll < 0.3:
        return amend(chance.randint(1, 40), client_id=client_id)
    side, price = chance.choice((BUY, SELL)), 100 + chance.randint(-6, 6)
    return place(side, price, chance.randint(1, 20), client_id=chance.choice((0, client_id)))


def fingerprint(shard: Any) -> tuple[bytes, bytes, bytes, list[int]]:
    """What a replay must repeat: event hash, state, views, feed numbers; of Shard or Recovered."""
    exchange = shard.exchange
    feeds = [
        feed.last_sequence
        for view in shard.views.markets
        for feed in (view.book_feed, view.trade_feed, *view.kline_feeds.values())
    ]
    return exchange.event_hash, encode_state(exchange), shard.views.checkpoint(), feeds
