"""What one order costs the node's loop: `python -m tests.bench.edge [--session] [--batch N]`.

An order stream, intake, sequencer, exchange, views and answers in this process, on a journal on
disk: everything that the loop does but sockets and subscribers. Prints CPU time of the loop's
thread per order, which a busy machine disturbs little. `--profile` prints where it goes instead,
and makes all of it slower.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import random
import shutil
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import trio

from dex.orders.v1 import order_intake_pb2 as pb
from dexcore.commands import CreateMarket, Deposit
from dexnode.admission import Admission
from dexnode.collector import set_thresholds
from dexnode.disconnects import Disconnects
from dexnode.ids import IdFormat
from dexnode.intake import Intake
from dexnode.services.orders import OrderIntakeService
from dexnode.settings import LimitSettings
from dexrpc import Peer, Receiver, Sender
from dexruntime.clock import system_clock_ns
from dexruntime.journal import Identity
from dexruntime.shard import Shard
from dexruntime.storage import PosixStorage
from dexsdk import Key
from dexsdk.order_session import Handshake, OrderSession
from dexsdk.session import Session
from tests.bench.bench_node import (
    ACCOUNT_ATOMS,
    ACCOUNT_COUNT,
    ASSETS,
    MARKET_ID,
    NETWORK_ID,
    Trader,
)
from tests.bench.workload import Workload, messages
from tests.unit.core.exchanges import spec

FOLDER: Final = Path("build/bench/edge")
# What the socket brings at a time, and what may be unanswered: as under a load near the knee.
ARRIVE: Final = 64
# One of eight sessions signs after so many orders: often enough where the machine is busy.
COUNTERSIGN_EVERY: Final = 101
WINDOW: Final = 512


class _Inbox(Receiver[bytes]):
    """Messages that arrive some at a time, while not too many wait for their answer."""

    def __init__(self, waiting: Sequence[bytes], outbox: _Outbox) -> None:
        self._waiting = deque(waiting)
        self._outbox = outbox
        self._taken = 0

    async def receive(self) -> bytes:
        return (await self.receive_available(1))[0]

    async def receive_available(self, count_max: int | None = None) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        if not self._waiting:
            raise trio.EndOfChannel
        while self._taken - len(self._outbox.answers) >= WINDOW:
            await self._outbox.more.wait()
        count = min(ARRIVE, len(self._waiting), count_max or ARRIVE)
        self._taken += count
        return [self._waiting.popleft() for _ in range(count)]


class _Outbox(Sender[pb.OrderStreamResponse]):
    """Serialized answers."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.more = trio.Event()

    async def send(self, message: pb.OrderStreamResponse) -> None:
        await self.send_many([message])

    async def send_many(self, messages: Sequence[pb.OrderStreamResponse]) -> None:
        self.answers += [message.SerializeToString() for message in messages]
        self.more.set()
        self.more = trio.Event()
        await trio.lowlevel.checkpoint()


class Edge:
    """A shard with its service and funded accounts."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.ids = IdFormat(shard.identity.shard, shard.identity.epoch)
        self.intake = Intake(shard, self.ids, system_clock_ns, Admission(LimitSettings()))
        disconnects = Disconnects(shard.sequencer)
        self.service = OrderIntakeService(
            shard, self.intake, self.ids, disconnects, Key(bytes(range(32)))
        )
        self.traders: list[Trader] = []
        self._ctx: Any = SimpleNamespace(peer=Peer("1.1.1.1:1", False))

    async def open(self) -> None:
        """The bench's market and accounts."""
        base, quote = ASSETS
        market = spec(base, quote, quote_scale=8, market_id=MARKET_ID, price_ticks_max=10**9)
        market = market._replace(quantity_lots_max=10**9, maker_fee_ppm=100, taker_fee_ppm=200)
        await self.intake.apply(CreateMarket("operator", market), b"")
        for number in range(ACCOUNT_COUNT):
            key = Key(bytes([number + 1]) * 32)
            session = Session(NETWORK_ID, key)
            payload = session.payload("")
            payload.register_key.public_key = key.public_bytes
            outcome = await self.intake.run(session.sign(payload).envelope, "register_key")
            for asset_id in ASSETS:
                name = f"{number} {asset_id}"
                deposit = Deposit("operator", outcome.key, asset_id, ACCOUNT_ATOMS, name)
                await self.intake.apply(deposit, b"")
            seed = (bytes([number + 1]) * 32).hex()
            self.traders.append(Trader(seed, self.ids.format(outcome.key)))

    async def stream(self, requests: Sequence[bytes]) -> list[bytes]:
        """Everything through one stream; its answers."""
        outbox = _Outbox()
        inbox = _Inbox(requests, outbox)
        await self.service.order_stream(inbox, self._ctx, outbox)
        return outbox.answers


class _InSession(Receiver[bytes]):
    """The same with sessions: their handshakes first."""

    def __init__(self, edge: Edge, payloads: Sequence[bytes], outbox: _Outbox) -> None:
        self.clients = [
            Session(NETWORK_ID, Key(bytes.fromhex(seed)), account_id)
            for seed, account_id in edge.traders
        ]
        self.handshakes = [Handshake(client) for client in self.clients]
        self.payloads = payloads
        self.outbox = outbox
        self.inbox: _Inbox | None = None
        self.started_ns = 0

    async def receive(self) -> bytes:
        return (await self.receive_available(1))[0]

    async def receive_available(self, count_max: int | None = None) -> list[bytes]:
        if self.inbox is not None:
            return await self.inbox.receive_available(count_max)
        if not self.started_ns:
            self.started_ns = time.thread_time_ns()
            return [
                pb.OrderStreamRequest(envelope=each.opening.envelope).SerializeToString()
                for each in self.handshakes
            ]
        while len(self.outbox.answers) < len(self.handshakes):
            await self.outbox.more.wait()
        sessions = [
            each.finish(pb.OrderStreamResponse.FromString(answer).session_opened, None)
            for each, answer in zip(self.handshakes, self.outbox.answers, strict=True)
        ]
        self.outbox.answers.clear()
        self.inbox = _Inbox(self._requests(sessions), self.outbox)
        self.started_ns = time.thread_time_ns()
        return await self.inbox.receive_available(count_max)

    def _requests(self, sessions: list[OrderSession]) -> list[bytes]:
        """The payloads in turns, and countersignatures now and then."""
        requests = []
        for number, payload in enumerate(self.payloads):
            session = sessions[number % len(sessions)]
            order = session.order(payload, 0)
            requests.append(pb.OrderStreamRequest(session_order=order).SerializeToString())
            if number % COUNTERSIGN_EVERY == 0:
                client = self.clients[number % len(sessions)]
                envelope = session.countersign(client).envelope
                requests.append(pb.OrderStreamRequest(envelope=envelope).SerializeToString())
        return requests


async def measure(
    orders: int, batch: int, *, in_session: bool, profiler: cProfile.Profile | None = None
) -> float:
    """CPU microseconds of the loop's thread per order."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    shard = Shard(PosixStorage(FOLDER), Identity(NETWORK_ID, 0, 1))
    async with trio.open_nursery() as nursery:
        await nursery.start(shard.run)
        edge = Edge(shard)
        await edge.open()
        count = orders // max(1, batch)
        workload = Workload(edge.traders, count, batch, 10.0, 1, 1, in_session)
        expire_ns = time.time_ns() + 200 * 10**9
        made = list(messages(workload, 0, lambda: expire_ns, 1))
        set_thresholds(calls_in_flight=0)
        gc.collect()
        gc.freeze()
        outbox = _Outbox()
        inbox = _InSession(edge, made, outbox) if in_session else _Inbox(made, outbox)
        if profiler is not None:
            profiler.enable()
        started_ns = time.thread_time_ns()
        await edge.service.order_stream(inbox, edge._ctx, outbox)
        ended_ns = time.thread_time_ns()
        if profiler is not None:
            profiler.disable()
        if isinstance(inbox, _InSession):
            started_ns = inbox.started_ns
        assert len(outbox.answers) >= count
        refused = sum(
            pb.OrderStreamResponse.FromString(each).HasField("rejection")
            for each in random.Random(1).sample(outbox.answers, min(500, count))
        )
        assert not refused, "the load is refused"
        nursery.cancel_scope.cancel()
    shutil.rmtree(FOLDER)
    return (ended_ns - started_ns) / 1_000 / orders


def main() -> None:
    """Measure, or profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--session", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    profiler = cProfile.Profile() if options.profile else None
    costs = []
    for _ in range(1 if options.profile else options.runs):

        async def once() -> float:
            return await measure(
                options.orders, options.batch, in_session=options.session, profiler=profiler
            )

        costs.append(trio.run(once))
    print("us of the loop's thread per order: " + ", ".join(f"{cost:.1f}" for cost in costs))
    if profiler is not None:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
