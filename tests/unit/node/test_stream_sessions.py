"""Sessions on an order stream, with a client that is made by the page and a real shard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from nacl.signing import SigningKey
from trio.testing import MockClock

from dex.orders.v1 import order_intake_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as wire
from dexcore.limits import SESSION_UNSIGNED_NS_MAX, SESSION_UNSIGNED_ORDERS_MAX
from dexnode import stream_session
from dexnode.errors import error_info, reason_name
from dexnode.services.order_stream import session_order_in
from dexrpc import Peer, Receiver, RpcError, Sender
from tests.unit.core.exchanges import MARKETS, START_NS
from tests.unit.node.session_client import SessionClient
from tests.unit.node.test_order_stream import KEY, NODE_KEY, Stand, open_stand
from tests.unit.runtime.shards import until

BOT = SigningKey(bytes([8]) * 32)
UNSIGNED_SECONDS = SESSION_UNSIGNED_NS_MAX / 1e9


class Inbox(Receiver[bytes]):
    """What the client has sent; it ends when the client closes it."""

    def __init__(self, channel: trio.MemoryReceiveChannel[bytes]) -> None:
        self._channel = channel

    async def receive(self) -> bytes:
        return await self._channel.receive()

    async def receive_available(self, count_max: int | None = None) -> list[bytes]:
        found = [await self._channel.receive()]
        while count_max is None or len(found) < count_max:
            try:
                found.append(self._channel.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return found


class Outbox(Sender[pb.OrderStreamResponse]):
    def __init__(self, channel: trio.MemorySendChannel[pb.OrderStreamResponse]) -> None:
        self._channel = channel

    async def send(self, message: pb.OrderStreamResponse) -> None:
        await self.send_many([message])

    async def send_many(self, messages: Sequence[pb.OrderStreamResponse]) -> None:
        for message in messages:
            await self._channel.send(message)


class Talk:
    """One stream and what a client says on it."""

    def __init__(self, stand: Stand, account_key: int) -> None:
        self.stand = stand
        self.account_key = account_key
        self.account_id = stand.ids.format(account_key)
        self.peer = Peer("1.1.1.1:1", False)
        self.ended_with = ""
        self._requests, self._inbox = trio.open_memory_channel[bytes](100)
        self._outbox, self.answers = trio.open_memory_channel[pb.OrderStreamResponse](100)

    async def serve(self) -> None:
        ctx: Any = SimpleNamespace(peer=self.peer)
        try:
            await self.stand.service.order_stream(Inbox(self._inbox), ctx, Outbox(self._outbox))
        except* RpcError as errors:
            found = error_info(errors.exceptions[0])  # type: ignore[arg-type]
            self.ended_with = found.reason if found else "?"
        self._outbox.close()

    def close(self) -> None:
        self._requests.close()

    async def ask(self, *requests: pb.OrderStreamRequest) -> list[pb.OrderStreamResponse]:
        for request in requests:
            await self._requests.send(request.SerializeToString())
        with trio.fail_after(10):
            return [await self.answers.receive() for _ in requests]

    # --- what is said

    def signed(self, key: SigningKey = KEY, **parts: Any) -> wire.SignedEnvelope:
        return self.stand.sign(key=key, account_id=self.account_id, **parts)

    def opening(self, client: SessionClient) -> wire.SignedEnvelope:
        said = wire.SessionOpening(key_share=client.share, random=bytes(32))
        return self.signed(client.key, session_opening=said)

    async def open(self, key: SigningKey = KEY, seed: int = 1) -> SessionClient:
        client = SessionClient(key, bytes([seed]) * 32)
        envelope = self.opening(client)
        [answer] = await self.ask(pb.OrderStreamRequest(envelope=envelope))
        assert reason(answer) == "", answer
        client.opened(envelope.payload, answer.session_opened)
        return client

    def payload(self, **more: Any) -> bytes:
        place = wire.NewOrder(
            market_id=MARKETS[0].market_id,
            side=wire.SIDE_BUY,
            type=wire.ORDER_TYPE_LIMIT,
            time_in_force=wire.TIME_IN_FORCE_GTC,
            price_ticks=100,
            quantity_lots=10,
        )
        parts = {"place": place} | more
        return self.signed(**parts).payload

    def order(self, client: SessionClient, **more: Any) -> pb.OrderStreamRequest:
        return pb.OrderStreamRequest(session_order=client.order(self.payload(**more)))

    def countersignature(self, client: SessionClient) -> pb.OrderStreamRequest:
        said = wire.SessionCountersignature(
            session_id=client.id, order_number=client.number, running_hash=client.running_hash
        )
        envelope = self.signed(client.key, session_countersignature=said)
        return pb.OrderStreamRequest(envelope=envelope)

    def open_orders(self) -> int:
        return self.stand.open_orders(self.account_key)


def reason(answer: pb.OrderStreamResponse) -> str:
    return reason_name(answer.rejection.reason) if answer.rejection.reason else ""


@asynccontextmanager
async def talking() -> AsyncIterator[Talk]:
    """A stream with an account that may trade."""
    async with open_stand() as stand, trio.open_nursery() as nursery:
        talk = Talk(stand, await stand.open_account())
        nursery.start_soon(talk.serve)
        yield talk
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def another(talk: Talk) -> AsyncIterator[Talk]:
    """Another stream of the same account."""
    other = Talk(talk.stand, talk.account_key)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.serve)
        yield other
        other.close()


async def test_a_session_from_its_handshake_to_its_end() -> None:
    async with talking() as talk:
        client = await talk.open()
        answers = await talk.ask(*(talk.order(client) for _ in range(3)))
        assert [answer.results[0].status for answer in answers] == [pb.ORDER_STATUS_OPEN] * 3
        [signed] = await talk.ask(talk.countersignature(client))
        assert reason(signed) == ""
        assert signed.applied.sequence == answers[-1].applied.sequence + 1
        # Signed envelopes go on as they did, and other sessions beside it.
        other = await talk.open(seed=2)
        envelope = pb.OrderStreamRequest(envelope=talk.signed(cancel_all=wire.OrderCancelAll()))
        answers = await talk.ask(talk.order(client), talk.order(other), envelope)
        assert [reason(answer) for answer in answers] == [""] * 3
        assert len(answers[2].results) == 5
        sessions = talk.stand.exchange.sessions.by_key
        assert [each.order_number for each in sessions.values()] == [4, 1]
        talk.close()
        await until(lambda: not sessions)
        assert not talk.ended_with


async def test_the_node_signs_its_half() -> None:
    async with talking() as talk:
        client = SessionClient(KEY)
        envelope = talk.opening(client)
        [answer] = await talk.ask(pb.OrderStreamRequest(envelope=envelope))
        opened = answer.session_opened
        assert opened.public_key == NODE_KEY.public_bytes
        assert opened.unsigned_orders_max == SESSION_UNSIGNED_ORDERS_MAX
        assert opened.unsigned_timeout.ToNanoseconds() == SESSION_UNSIGNED_NS_MAX
        client.opened(envelope.payload, opened)
        for part in ("key_share", "random", "signature"):
            forged = pb.SessionOpened.FromString(opened.SerializeToString())
            setattr(forged, part, bytes(len(getattr(opened, part))))
            with pytest.raises(Exception, match=r"(?i)signature"):
                client.opened(envelope.payload, forged)


@pytest.mark.parametrize("part", ["mac", "payload", "order_number", "session"])
async def test_a_wrong_mac_ends_the_session(part: str) -> None:
    async with talking() as talk:
        client, other = await talk.open(), await talk.open(seed=2)
        await talk.ask(talk.order(client))
        request = talk.order(client)
        order = request.session_order
        if part == "mac":
            order.mac = order.mac[:-1] + bytes([order.mac[-1] ^ 1])
        elif part == "payload":
            order.payload = talk.payload(nonce=999)
        elif part == "order_number":
            order.order_number += 1
        else:
            order.mac = other.order(order.payload).mac
        good = talk.order(client)
        assert [reason(each) for each in await talk.ask(request, good)] == [
            "MAC_INVALID",
            "UNKNOWN_SESSION",
        ], "an order counts that its session did not send"
        assert talk.open_orders() == 1, "what was placed does not stand"
        sessions = talk.stand.exchange.sessions.by_key
        await until(lambda: len(sessions) == 1)


async def test_wrong_macs_are_strikes() -> None:
    async with talking() as talk:
        client = await talk.open()
        forged = talk.order(client)
        forged.session_order.mac = bytes(16)
        await talk.ask(forged)
        state = talk.peer.state["admission"]
        assert state.strikes.standing().remaining == state.strikes.standing().limit - 1


@pytest.mark.parametrize("kind", ["replayed", "reordered", "dropped"])
async def test_an_order_out_of_turn_ends_the_session(kind: str) -> None:
    async with talking() as talk:
        client = await talk.open()
        first, second, third = (talk.order(client) for _ in range(3))
        said = {
            "replayed": (first, first, second),
            "reordered": (first, third, second),
            "dropped": (first, third, third),
        }[kind]
        answers = [reason(answer) for answer in await talk.ask(*said)]
        assert answers == ["", "SESSION_OUT_OF_ORDER", "UNKNOWN_SESSION"], "it is not noticed"
        assert talk.open_orders() == 1
        # The client goes on in a new session, and nothing counts twice.
        again = await talk.open(seed=3)
        payloads = [each.session_order.payload for each in (first, second, third)]
        requests = [pb.OrderStreamRequest(session_order=again.order(each)) for each in payloads]
        assert [reason(answer) for answer in await talk.ask(*requests)] == [""] * 3
        assert talk.open_orders() == 3


async def test_a_session_is_its_streams_alone() -> None:
    """Also when someone has its key: of a session that is open elsewhere, and of one that ended."""
    async with talking() as talk:
        client = await talk.open()
        async with another(talk) as thief:
            [answer] = await thief.ask(talk.order(client))
            assert reason(answer) == "UNKNOWN_SESSION"
        talk.close()
        await until(lambda: not talk.stand.exchange.sessions.by_key)
        async with another(talk) as thief:
            answers = await thief.ask(talk.order(client), talk.countersignature(client))
            assert [reason(answer) for answer in answers] == ["UNKNOWN_SESSION"] * 2
        assert talk.open_orders() == 0


async def test_a_handshake_that_is_sent_again_opens_nothing() -> None:
    async with talking() as talk:
        client = SessionClient(KEY)
        request = pb.OrderStreamRequest(envelope=talk.opening(client))
        answers = await talk.ask(request, request)
        assert [reason(answer) for answer in answers] == ["", "NONCE_REUSED"]
        async with another(talk) as thief:
            [answer] = await thief.ask(request)
            assert reason(answer) == "NONCE_REUSED", "a handshake is used twice"
            assert not answer.HasField("session_opened")
        assert len(talk.stand.exchange.sessions.by_key) == 1


async def test_a_session_ends_with_its_key() -> None:
    async with talking() as talk:
        bot = wire.KeyRegistration(public_key=bytes(BOT.verify_key))
        await talk.stand.intake.run(talk.signed(register_key=bot), "register_key")
        client = await talk.open(BOT)
        assert reason((await talk.ask(talk.order(client)))[0]) == ""
        end = wire.KeyRevocation(public_key=bytes(BOT.verify_key))
        await talk.stand.intake.run(talk.signed(revoke_key=end), "revoke_key")
        assert not talk.stand.exchange.sessions.by_key, "a session outlives its key"
        answers = await talk.ask(talk.order(client), talk.countersignature(client))
        assert [reason(answer) for answer in answers] == ["KEY_REVOKED"] * 2
        assert talk.open_orders() == 1


@pytest.mark.parametrize("said", ["signed", "unsigned", "silent"])
async def test_the_node_ends_what_nobody_signs_for(mock_clock: MockClock, said: str) -> None:
    """However idle the stream is: and everything that was sent is answered."""
    async with talking() as talk:
        client = await talk.open()
        if said != "silent":
            assert reason((await talk.ask(talk.order(client)))[0]) == ""
        if said == "signed":
            await talk.ask(talk.countersignature(client))
        mock_clock.jump(UNSIGNED_SECONDS - 0.1)
        await trio.testing.wait_all_tasks_blocked()
        assert not talk.ended_with, "it ends too early"
        mock_clock.jump(0.2)
        await trio.testing.wait_all_tasks_blocked(0.01)
        expected = "SESSION_UNSIGNED" if said == "unsigned" else ""
        assert talk.ended_with == expected, "nobody signs for it and it goes on"
        assert talk.open_orders() == (said != "silent"), "what was placed does not stand"


async def test_so_many_orders_wait_for_a_countersignature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_session, "SESSION_UNSIGNED_ORDERS_MAX", 3)
    async with talking() as talk:
        client = await talk.open()
        requests = [talk.order(client) for _ in range(3)]
        requests += [talk.countersignature(client)]
        requests += [talk.order(client) for _ in range(4)]
        answers = [reason(answer) for answer in await talk.ask(*requests)]
        assert answers == [""] * 7 + ["SESSION_UNSIGNED"]
        assert talk.open_orders() == 6


async def test_a_countersignature_over_something_else_ends_the_session() -> None:
    async with talking() as talk:
        client = await talk.open()
        await talk.ask(talk.order(client))
        client.running_hash = bytes(32)
        answers = await talk.ask(talk.countersignature(client))
        answers += await talk.ask(talk.order(client))
        assert [reason(answer) for answer in answers] == [
            "SESSION_HASH_MISMATCH",
            "UNKNOWN_SESSION",
        ]


@pytest.mark.parametrize("whose", ["old", "stranger"])
async def test_no_other_countersignature_signs_for_a_session(
    mock_clock: MockClock, whose: str
) -> None:
    """One that was answered before, and one of another account's key: time goes on."""
    async with talking() as talk:
        client = await talk.open()
        await talk.ask(talk.order(client))
        request = talk.countersignature(client)
        await talk.ask(request)
        await talk.ask(talk.order(client))
        records = talk.stand.exchange.sequence
        if whose == "stranger":
            opening = wire.KeyRegistration(public_key=bytes(BOT.verify_key))
            outcome = await talk.stand.intake.run(
                talk.stand.sign(key=BOT, register_key=opening), "register_key"
            )
            records = talk.stand.exchange.sequence
            said = wire.SessionCountersignature(
                session_id=client.id, order_number=client.number, running_hash=client.running_hash
            )
            account_id = talk.stand.ids.format(outcome.key)
            request = pb.OrderStreamRequest(
                envelope=talk.stand.sign(
                    key=BOT, account_id=account_id, session_countersignature=said
                )
            )
        mock_clock.jump(UNSIGNED_SECONDS - 0.1)
        [answer] = await talk.ask(request)
        assert reason(answer) == ("UNKNOWN_SESSION" if whose == "stranger" else "")
        if whose == "stranger":
            assert talk.stand.exchange.sequence == records, "a stranger's words are journaled"
        mock_clock.jump(0.2)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert talk.ended_with == "SESSION_UNSIGNED", "it counts as signed for"


async def test_so_many_orders_are_refused_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their hashes go into one record."""
    monkeypatch.setattr(stream_session, "SKIPPED_ORDERS_MAX", 3)
    async with talking() as talk:
        client = await talk.open()

        def dead(count: int) -> list[pb.OrderStreamRequest]:
            orders = [client.order(b"\xff") for _ in range(count)]
            return [pb.OrderStreamRequest(session_order=order) for order in orders]

        answers = await talk.ask(*dead(3), talk.countersignature(client), *dead(4))
        assert [reason(answer) for answer in answers] == [
            *["MALFORMED_MESSAGE"] * 3,
            "",
            *["MALFORMED_MESSAGE"] * 3,
            "SESSION_UNSIGNED",
        ], "refused orders pile up"


async def test_what_the_node_refuses_by_itself_is_signed_for_too() -> None:
    """The running hash is over what was sent, and the journal holds what makes it again."""
    async with talking() as talk:
        client = await talk.open()
        payload = wire.Payload.FromString(talk.payload())
        payload.expire_time.seconds = START_NS // 10**9 - 1
        dead = pb.OrderStreamRequest(session_order=client.order(payload.SerializeToString()))
        garbage = pb.OrderStreamRequest(session_order=client.order(b"\xff"))
        requests = [dead, garbage, talk.order(client), talk.countersignature(client)]
        answers = [reason(answer) for answer in await talk.ask(*requests)]
        assert answers == ["PAYLOAD_EXPIRED", "MALFORMED_MESSAGE", "", ""], "the hash differs"


async def test_a_session_holds_orders_alone() -> None:
    async with talking() as talk:
        client = await talk.open()
        transfer = wire.FundsTransfer(to_account_id=talk.account_id, asset_id="AAA", amount_atoms=1)
        payload = talk.signed(transfer=transfer).payload
        request = pb.OrderStreamRequest(session_order=client.order(payload))
        assert reason((await talk.ask(request))[0]) == "ACTION_MISMATCH"


@pytest.mark.parametrize("share", [bytes(32), b"\x01" + bytes(31), b"short"])
async def test_a_share_that_hides_nothing_opens_no_session(share: bytes) -> None:
    """RFC 7748, section 6.1: the shared secret would be zero, whatever the node's."""
    async with talking() as talk:
        client = SessionClient(KEY)
        client.share = share
        [answer] = await talk.ask(pb.OrderStreamRequest(envelope=talk.opening(client)))
        assert reason(answer) == "FIELD_INVALID"
        assert not talk.stand.exchange.sessions.by_key


async def test_a_stream_that_ends_while_a_session_opens_leaves_none() -> None:
    async with open_stand() as stand:
        account_key = await stand.open_account()
        talk = Talk(stand, account_key)
        client = SessionClient(KEY)
        request = pb.OrderStreamRequest(envelope=talk.opening(client)).SerializeToString()
        await talk._requests.send(request)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.serve)
            with trio.fail_after(10):
                while not stand.exchange.sessions.by_key:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await stand.disconnects.finish()
        assert not stand.exchange.sessions.by_key, "a session outlives its stream"


async def test_a_request_is_read_the_same_whatever_stands_beside_its_order() -> None:
    """An order alone is read by itself, as it came; with anything else, as part of its request."""
    async with talking() as talk:
        client = await talk.open()
        for is_alone in (True, False):
            request = talk.order(client)
            request.cancel_on_disconnect = not is_alone
            data = request.SerializeToString()
            alone = request.session_order.SerializeToString() if is_alone else b""
            assert session_order_in(data) == alone
            assert session_order_in(data[:-1]) == b""
            assert session_order_in(data + b"\0") == b""
        envelope = pb.OrderStreamRequest(envelope=talk.signed(cancel_all={}))
        assert session_order_in(envelope.SerializeToString()) == b""
        # Where the length takes one byte more; one that takes three is read with its request.
        for size, payload_bytes in ((127, 125), (128, 126), (16_383, 16_380), (16_384, 16_381)):
            order = pb.SessionOrder(payload=bytes(payload_bytes))
            assert order.ByteSize() == size
            data = pb.OrderStreamRequest(session_order=order).SerializeToString()
            assert session_order_in(data) == (order.SerializeToString() if size < 16_384 else b"")
        assert session_order_in(b"") == session_order_in(b"\x1a") == b""


async def test_orders_of_a_session_may_end_with_the_stream() -> None:
    async with talking() as talk:
        client = await talk.open()
        request = talk.order(client)
        request.cancel_on_disconnect = True
        await talk.ask(request)
        assert talk.open_orders() == 1
        talk.close()
        await until(lambda: not talk.open_orders())
