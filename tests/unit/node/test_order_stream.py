"""An order stream holds back who sends too fast, and refuses what has waited too long."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from google.protobuf.timestamp_pb2 import Timestamp
from nacl.signing import SigningKey
from trio.testing import MockClock

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as wire
from dexcore.commands import Command, Deposit, MassCancel
from dexcore.results import Outcome
from dexnode import disconnects
from dexnode.admission import Admission
from dexnode.disconnects import Disconnects
from dexnode.ids import IdFormat
from dexnode.intake import Intake
from dexnode.services import order_stream
from dexnode.services.orders import OrderIntakeService
from dexnode.settings import LimitSettings
from dexrpc import Peer, Receiver, Sender
from dexruntime import sequencer
from dexruntime.promise import Promise
from dexruntime.shard import Shard
from dexsdk import Key
from tests.sim.disk import SimulatedDisk
from tests.unit.core.exchanges import ASSETS, MARKETS, START_NS
from tests.unit.runtime.shards import IDENTITY, fixed_clock_ns, open_market, running, until

KEY = SigningKey(bytes([7]) * 32)
NODE_KEY = Key(bytes([9]) * 32)
MALFORMED = b"\xff"


class Requests(Receiver[bytes]):
    """Messages that arrive two at a time, each when the stream is done with what it has."""

    def __init__(self, messages: Sequence[bytes]) -> None:
        self._left = deque(messages)
        self.taken = 0

    async def receive(self) -> bytes:
        return (await self.receive_available(1))[0]

    async def receive_available(self, count_max: int | None = None) -> list[bytes]:
        await trio.testing.wait_all_tasks_blocked()
        if not self._left:
            raise trio.EndOfChannel
        count = min(2, len(self._left) if count_max is None else count_max, len(self._left))
        self.taken += count
        return [self._left.popleft() for _ in range(count)]


class Answers(Sender[pb.OrderStreamResponse]):
    """A peer that takes nothing until it is told to."""

    def __init__(self) -> None:
        self.taking = trio.Event()
        self.taken: list[pb.OrderStreamResponse] = []

    async def send(self, message: pb.OrderStreamResponse) -> None:
        await self.send_many([message])

    async def send_many(self, messages: Sequence[pb.OrderStreamResponse]) -> None:
        await self.taking.wait()
        self.taken += messages


class Stand:
    """A service on a shard, and its account."""

    def __init__(self, shard: Shard, disk: SimulatedDisk) -> None:
        self.disk = disk
        self.ids = IdFormat(IDENTITY.shard, IDENTITY.epoch)
        self.intake = Intake(shard, self.ids, fixed_clock_ns, Admission(LimitSettings()))
        self.disconnects = Disconnects(shard.sequencer)
        self.service = OrderIntakeService(shard, self.intake, self.ids, self.disconnects, NODE_KEY)
        self.exchange = shard.exchange
        self._nonces = itertools.count(1)

    def sign(self, key: SigningKey = KEY, **parts: Any) -> wire.SignedEnvelope:
        expire_time = Timestamp()
        expire_time.FromNanoseconds(START_NS + 60 * 10**9)
        parts = {"nonce": next(self._nonces), **parts}
        payload = wire.Payload(network_id=IDENTITY.network_id, expire_time=expire_time, **parts)
        data = payload.SerializeToString()
        signature = key.sign(b"triodex.payload.v1\0" + data).signature
        return wire.SignedEnvelope(
            payload=data, signature=signature, public_key=bytes(key.verify_key)
        )

    async def stream(self, requests: Requests, answers: Answers) -> None:
        ctx: Any = SimpleNamespace(peer=Peer("1.1.1.1:1", False))
        await self.service.order_stream(requests, ctx, answers)

    async def open_account(self) -> int:
        """The key of an account with money for the first market."""
        opening = self.sign(register_key=wire.KeyRegistration(public_key=bytes(KEY.verify_key)))
        account_key = (await self.intake.run(opening, "register_key")).key
        for asset_id in ASSETS:
            deposit = Deposit("op", account_key, asset_id, 10**15, f"{account_key}-{asset_id}")
            await self.intake.apply(deposit, b"")
        return account_key

    def order(self, account_key: int, **more: Any) -> bytes:
        """A request of a stream that rests an order."""
        place = wire.NewOrder(
            market_id=MARKETS[0].market_id,
            side=wire.SIDE_BUY,
            type=wire.ORDER_TYPE_LIMIT,
            time_in_force=wire.TIME_IN_FORCE_GTC,
            price_ticks=100,
            quantity_lots=10,
        )
        envelope = self.sign(account_id=self.ids.format(account_key), place=place)
        return pb.OrderStreamRequest(envelope=envelope, **more).SerializeToString()

    def open_orders(self, account_key: int) -> int:
        return len(self.exchange.accounts.by_key[account_key].open_orders)


@asynccontextmanager
async def open_stand() -> AsyncIterator[Stand]:
    disk = SimulatedDisk(random.Random(1))
    async with (
        running(disk, signed=True) as shard,
        trio.open_nursery() as nursery,
    ):
        await open_market(shard, 0)
        stand = Stand(shard, disk)
        nursery.start_soon(stand.disconnects.run)
        yield stand
        nursery.cancel_scope.cancel()


async def test_a_stream_holds_no_more_than_its_window(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_stream, "STREAM_WINDOW", 4)
    async with open_stand() as stand:
        requests, answers = Requests([MALFORMED] * 20), Answers()
        nursery.start_soon(stand.stream, requests, answers)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert requests.taken == 4, "a stream takes in what it cannot answer"
        answers.taking.set()
        with trio.fail_after(10):
            while len(answers.taken) < 20:
                await trio.sleep(0.001)
        malformed = errors_pb2.ERROR_REASON_MALFORMED_MESSAGE
        assert {answer.rejection.reason for answer in answers.taken} == {malformed}


async def test_an_envelope_waits_a_second_for_the_sequencer_and_is_refused(
    nursery: trio.Nursery, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stand() as stand:
        opening = stand.sign(register_key=wire.KeyRegistration(public_key=bytes(KEY.verify_key)))
        outcome = await stand.intake.run(opening, "register_key")
        batch = wire.Batch()
        batch.items.add(place=wire.NewOrder(market_id="none"))
        envelope = stand.sign(account_id=stand.ids.format(outcome.key), batch=batch)
        request = pb.OrderStreamRequest(envelope=envelope)
        # Half of it is nothing, so that it is always half full and never full.
        monkeypatch.setattr(sequencer, "QUEUE_COMMANDS_MAX", 1)
        answers = Answers()
        answers.taking.set()
        requests = Requests([request.SerializeToString()])
        nursery.start_soon(stand.stream, requests, answers)
        room = stand.service._shard.sequencer._room
        await until(lambda: bool(room.statistics().tasks_waiting or answers.taken))
        assert not answers.taken, "an envelope does not wait for room"
        mock_clock.jump(order_stream.STREAM_WAIT_SECONDS - 0.1)
        await trio.testing.wait_all_tasks_blocked()
        assert not answers.taken, "it is refused too early"
        mock_clock.jump(0.2)
        await until(lambda: bool(answers.taken))
        rejection = answers.taken[0].rejection
        assert rejection.reason == errors_pb2.ERROR_REASON_OVERLOADED
        assert rejection.retry_delay.ToNanoseconds() > 0


class Held(Requests):
    """The same; then nothing comes, and the stream does not end either."""

    async def receive_available(self, count_max: int | None = None) -> list[bytes]:
        if not self._left:
            await trio.sleep_forever()
        return await super().receive_available(count_max)


async def test_orders_of_a_session_end_with_it() -> None:
    """However it ends: by the client's last word, or in the middle of anything."""
    async with open_stand() as stand:
        account_key = await stand.open_account()
        answers = Answers()
        answers.taking.set()
        # Asked for once is asked for.
        asked = [stand.order(account_key, cancel_on_disconnect=True), stand.order(account_key)]
        await stand.stream(Requests(asked), answers)
        assert [answer.results[0].status for answer in answers.taken] == [pb.ORDER_STATUS_OPEN] * 2
        await stand.disconnects.finish()
        assert not stand.open_orders(account_key), "orders outlive their session"

        asked = [stand.order(account_key), stand.order(account_key, cancel_on_disconnect=True)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stand.stream, Held(asked), answers)
            await until(lambda: len(answers.taken) == 4)
            assert stand.open_orders(account_key) == 2
            nursery.cancel_scope.cancel()
        await stand.disconnects.finish()
        assert not stand.open_orders(account_key), "orders outlive their session"


async def test_orders_of_other_sessions_stay() -> None:
    async with open_stand() as stand:
        account_key = await stand.open_account()
        answers = Answers()
        answers.taking.set()
        await stand.stream(Requests([stand.order(account_key)]), answers)
        # What was not taken has not asked for anything.
        forged = pb.OrderStreamRequest.FromString(
            stand.order(account_key, cancel_on_disconnect=True)
        )
        forged.envelope.signature = bytes(64)
        await stand.stream(Requests([forged.SerializeToString()]), answers)
        await stand.disconnects.finish()
        assert answers.taken[-1].rejection.reason == errors_pb2.ERROR_REASON_SIGNATURE_INVALID
        assert stand.open_orders(account_key) == 1


async def test_a_cancel_waits_for_a_node_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_stand() as stand:
        account_key = await stand.open_account()
        answers = Answers()
        answers.taking.set()
        submit = stand.intake._shard.sequencer.submit
        refused: list[Command] = []

        def full_twice(command: Command, envelope: bytes = b"") -> Promise[Outcome]:
            if isinstance(command, MassCancel) and len(refused) < 2:
                refused.append(command)
                raise sequencer.QueueFull
            return submit(command, envelope)

        monkeypatch.setattr(disconnects, "RETRY_SECONDS", 0.001)
        monkeypatch.setattr(sequencer.Sequencer, "submit", lambda _, *given: full_twice(*given))
        await stand.stream(Requests([stand.order(account_key, cancel_on_disconnect=True)]), answers)
        await stand.disconnects.finish()
        assert not stand.open_orders(account_key), "the stop does not wait for the cancel"
        assert len(refused) == 2
