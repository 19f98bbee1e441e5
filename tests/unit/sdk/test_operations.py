"""The pure layer, without I/O: retries, pages, catching up, the order window. The clock is ours."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from dex.accounts.v1 import accounts_pb2 as accounts
from dex.kline.v1 import kline_query_pb2 as kline
from dex.matching.v1 import matching_pb2 as matching
from dex.orders.v1 import order_intake_pb2 as orders
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import (
    Amend,
    CallerError,
    Cancel,
    CancelAll,
    DeadMansSwitch,
    DexError,
    Interval,
    Key,
    NewOrder,
    PeerError,
    Phased,
    Place,
    Session,
    Side,
    Unavailable,
    admin_operations,
    feeds,
    market_operations,
    methods,
    order_operations,
)
from dexsdk.effects import ATTEMPT_MIN_NS, Emit, Open, Read, Send, Sleep
from dexsdk.order_window import OrderWindow
from dexsdk.times import NS_PER_SECOND

START_NS = 1_700_000_000 * NS_PER_SECOND
ORDER = NewOrder("BTC-USDT", Side.BUY, quantity_lots=3, price_ticks=100)
LOST = Unavailable("UNAVAILABLE", "lost", code=grpc.StatusCode.UNAVAILABLE)
GONE = CallerError("SEQUENCE_GONE", "gone", code=grpc.StatusCode.OUT_OF_RANGE)


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now_ns = START_NS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(clock: Clock) -> Session:
    return Session(
        "triodex-test",
        Key(bytes(32)),
        "0000010000000000002001",
        now_ns=lambda: clock.now_ns,
        uniform=lambda: 1.0,
    )


def play(
    program: Generator[Any, Any, Any],
    clock: Clock,
    answer: Callable[[Send | Open | Read], Message | bytes | DexError | None],
    items: int = 1_000,
) -> tuple[Any, list[Any]]:
    """Drives a program: (result, items). Sleeping moves the clock; `items` ends an endless feed."""
    emitted: list[Any] = []
    reply: Any = None
    try:
        effect = next(program)
        while True:
            if isinstance(effect, Emit):
                emitted.append(effect.item)
                if len(emitted) == items:
                    return None, emitted
                effect = program.send(b"")
                continue
            if isinstance(effect, Sleep):
                clock.now_ns += effect.duration_ns
                effect = program.send(b"")
                continue
            reply = answer(effect)
            if isinstance(reply, DexError):
                effect = program.throw(reply)
            else:
                data = reply.SerializeToString() if isinstance(reply, Message) else reply
                effect = program.send(data)
    except StopIteration as stop:
        return stop.value, emitted


def test_a_call_gives_up_at_its_deadline(session: Session, clock: Clock) -> None:
    attempts: list[Send] = []

    def answer(effect: Send | Open | Read) -> DexError:
        assert isinstance(effect, Send)
        attempts.append(effect)
        return LOST

    with pytest.raises(Unavailable):
        play(order_operations.place_order(session, ORDER), clock, answer)
    assert START_NS < clock.now_ns <= START_NS + session.timeout_ns
    assert len({each.request for each in attempts}) == 1
    assert all(each.timeout_ns <= session.timeout_ns for each in attempts)
    assert len(attempts) > 5


def test_no_attempt_has_too_little_time_to_be_refused_in(session: Session, clock: Clock) -> None:
    """Else a deadline that it could not keep would hide why the one before it was refused."""
    attempts: list[Send] = []
    late_ns = session.timeout_ns - ATTEMPT_MIN_NS // 2
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    refused = Unavailable("OVERLOADED", "busy", code=code, retry_after_ns=late_ns)

    def answer(effect: Send | Open | Read) -> DexError:
        assert isinstance(effect, Send)
        attempts.append(effect)
        return refused

    with pytest.raises(DexError) as raised:
        play(order_operations.place_order(session, ORDER), clock, answer)
    assert raised.value is refused
    assert len(attempts) == 1


def test_a_snapshot_has_its_own_time_and_is_asked_for_once(session: Session, clock: Clock) -> None:
    attempts: list[Send] = []

    def answer(effect: Send | Open | Read) -> DexError:
        assert isinstance(effect, Send)
        attempts.append(effect)
        return LOST

    for program, seconds in (
        (admin_operations.take_snapshot(session), 600),
        (admin_operations.take_snapshot(session, timeout_seconds=1.5), 1.5),
    ):
        with pytest.raises(Unavailable):
            play(program, clock, answer)
        assert attempts.pop().timeout_ns == int(seconds * NS_PER_SECOND)
        assert not attempts
    assert clock.now_ns == START_NS


def test_a_mutation_is_not_sent_past_its_expiry(session: Session, clock: Clock) -> None:
    session.timeout_ns = 3_600 * NS_PER_SECOND
    session.payload_lifetime_ns = 2 * NS_PER_SECOND
    with pytest.raises(Unavailable):
        play(order_operations.place_order(session, ORDER), clock, lambda _: LOST)
    assert clock.now_ns <= START_NS + session.payload_lifetime_ns


def test_the_node_says_how_long_to_wait(session: Session, clock: Clock) -> None:
    wait_ns = 3 * NS_PER_SECOND
    busy = Unavailable("OVERLOADED", "busy", retry_after_ns=wait_ns)
    answers: list[Any] = [busy, orders.PlaceOrderResponse()]
    play(order_operations.place_order(session, ORDER), clock, lambda _: answers.pop(0))
    assert clock.now_ns == START_NS + wait_ns


def test_garbage_is_the_peers_fault(session: Session, clock: Clock) -> None:
    with pytest.raises(PeerError, match="MALFORMED_MESSAGE"):
        play(order_operations.place_order(session, ORDER), clock, lambda _: b"\xff\xff")


def test_pages_are_joined_and_limited(session: Session, clock: Clock) -> None:
    asked: list[matching.ListTradesRequest] = []

    def answer(effect: Send | Open | Read) -> Message:
        assert isinstance(effect, Send)
        asked.append(matching.ListTradesRequest.FromString(effect.request))
        first = 2 * len(asked) - 1
        trades = [matching.Trade(trade_sequence=first + each) for each in range(2)]
        token = str(len(asked)) if len(asked) < 3 else ""
        return matching.ListTradesResponse(trades=trades, next_page_token=token)

    trades, _ = play(market_operations.list_trades(session, "BTC-USDT"), clock, answer)
    assert [each.trade_sequence for each in trades] == [1, 2, 3, 4, 5, 6]
    assert [each.page_token for each in asked] == ["", "1", "2"]
    asked.clear()
    trades, _ = play(market_operations.list_trades(session, "BTC-USDT", limit=3), clock, answer)
    assert [each.trade_sequence for each in trades] == [1, 2, 3]
    assert [each.page_size for each in asked] == [3, 3]


def test_register_key_makes_the_account_the_clients_own(session: Session, clock: Clock) -> None:
    session.account_id = ""
    seen: list[wire.Payload] = []

    def answer(effect: Send | Open | Read) -> Message:
        assert isinstance(effect, Send)
        envelope = accounts.RegisterKeyRequest.FromString(effect.request).envelope
        seen.append(wire.Payload.FromString(envelope.payload))
        return accounts.RegisterKeyResponse(account_id="made")

    made, _ = play(order_operations.register_key(session), clock, answer)
    assert made == session.account_id == "made"
    play(order_operations.register_key(session, b"k" * 32), clock, answer)
    assert [each.account_id for each in seen] == ["", "made"]
    assert seen[0].register_key.public_key == session.require_key().public_bytes
    assert seen[1].register_key.public_key == b"k" * 32


def test_a_call_without_key_or_account_says_so() -> None:
    with pytest.raises(CallerError, match="account_id"):
        Session("n", Key(bytes(32))).sign_action(ORDER)
    with pytest.raises(CallerError, match="key"):
        Session("n", None, "a").sign_action(ORDER)


def test_every_action_is_signed_as_itself(session: Session) -> None:
    actions: dict[str, list[Any]] = {
        "place": [ORDER, Place(ORDER)],
        "cancel": [Cancel(order_id="x")],
        "amend": [Amend(client_order_id=1, quantity_lots=2)],
        "cancel_all": [CancelAll(), CancelAll("BTC-USDT"), CancelAll(side=Side.BUY)],
        "dead_mans_switch": [DeadMansSwitch(5 * NS_PER_SECOND), DeadMansSwitch(0)],
        "batch": [
            Phased([ORDER]),
            [ORDER, Cancel(order_id="x"), Amend(order_id="x", quantity_lots=2)],
        ],
    }
    for kind, examples in actions.items():
        for action in examples:
            signed = session.sign_action(action)
            payload = wire.Payload.FromString(signed.envelope.payload)
            assert payload.WhichOneof("action") == kind
            assert payload.expire_time.ToNanoseconds() == signed.expire_time_ns
            assert payload.nonce == signed.nonce > 0
    phased = session.sign_action(Phased([ORDER])).envelope
    assert wire.Payload.FromString(phased.payload).batch.phased
    assert not payload.batch.phased
    one_side = session.sign_action(CancelAll("BTC-USDT", Side.SELL)).envelope
    cancel_all = wire.Payload.FromString(one_side.payload).cancel_all
    assert (cancel_all.market_id, cancel_all.side) == ("BTC-USDT", wire.SIDE_SELL)
    switch = session.sign_action(DeadMansSwitch(1_500_000_000)).envelope
    timeout = wire.Payload.FromString(switch.payload).dead_mans_switch.timeout
    assert (timeout.seconds, timeout.nanos) == (1, 500_000_000)
    items = payload.batch.items
    assert [item.WhichOneof("action") for item in items] == ["place", "cancel", "amend"]


def test_a_token_is_kept_until_it_is_nearly_over(session: Session, clock: Clock) -> None:
    first = session.authorization()
    clock.now_ns += 500 * NS_PER_SECOND
    assert session.authorization() is first
    clock.now_ns += 50 * NS_PER_SECOND
    assert session.authorization() != first


def trades_from(first: int, count: int) -> matching.StreamTradesResponse:
    trades = [matching.Trade(trade_sequence=first + each) for each in range(count)]
    return matching.StreamTradesResponse(trades=trades)


def test_trades_come_once_each_through_every_kind_of_break(session: Session, clock: Clock) -> None:
    reads: list[Any] = [
        trades_from(5, 2),
        LOST,  # reopened at 7
        trades_from(6, 2),  # an overlap: 6 was handed out
        None,  # the node ends the stream; reopened at 8
        GONE,  # 8 is gone from the feed: listed up to 10
        trades_from(11, 1),
        trades_from(14, 1),  # 12 and 13 were left out: listed up to 15
        trades_from(15, 2),
    ]
    opened: list[int] = []
    listed: list[int] = []

    def answer(effect: Send | Open | Read) -> Any:
        if isinstance(effect, Open):
            request = matching.StreamTradesRequest.FromString(effect.requests[0])
            opened.append(request.start_sequence)
            return b""
        if isinstance(effect, Send):
            start = matching.ListTradesRequest.FromString(effect.request).start_sequence
            listed.append(start)
            return matching.ListTradesResponse(trades=trades_from(start, 3).trades)
        return reads.pop(0)

    _, items = play(feeds.stream_trades(session, "BTC-USDT"), clock, answer, items=12)
    assert [each.trade_sequence for each in items] == list(range(5, 17))
    assert opened == [0, 7, 8, 11]
    assert listed == [8, 12]


def test_trades_that_are_gone_for_good_end_the_feed(session: Session, clock: Clock) -> None:
    def answer(effect: Send | Open | Read) -> Any:
        if isinstance(effect, Open):
            return b""
        return GONE if isinstance(effect, Read) else matching.ListTradesResponse()

    with pytest.raises(CallerError, match="SEQUENCE_GONE"):
        play(feeds.stream_trades(session, "BTC-USDT", 3), clock, answer)


def test_klines_catch_up_after_the_feed_forgot(session: Session, clock: Clock) -> None:
    def line(open_s: int, version: int, sequence: int) -> kline.Kline:
        made = kline.Kline(version=version, sequence=sequence)
        made.open_time.seconds = open_s
        return made

    def message(sequence: int, *lines: kline.Kline) -> kline.StreamKlinesResponse:
        return kline.StreamKlinesResponse(sequence=sequence, klines=lines)

    reads: list[Any] = [
        message(3, line(60, 0, 10)),
        LOST,
        GONE,
        message(9, line(180, 0, 30)),
        message(10, line(180, 0, 31)),
    ]
    opened: list[int] = []

    def answer(effect: Send | Open | Read) -> Any:
        if isinstance(effect, Open):
            request = kline.StreamKlinesRequest.FromString(effect.requests[0])
            opened.append(request.after_sequence)
            return b""
        if isinstance(effect, Send):
            request_ = kline.ListKlinesRequest.FromString(effect.request)
            assert request_.start_time.seconds == 60
            past = [line(60, 1, 20), line(120, 1, 25), line(180, 0, 30)]
            return kline.ListKlinesResponse(klines=past)
        return reads.pop(0)

    program = feeds.stream_klines(session, "BTC-USDT", Interval.M1)
    _, items = play(program, clock, answer, items=5)
    shown = [(each.open_time.seconds, each.version, each.sequence) for each in items]
    assert shown == [(60, 0, 10), (60, 1, 20), (120, 1, 25), (180, 0, 30), (180, 0, 31)]
    assert opened == [0, 3, 0]


def test_a_feed_gives_up_after_a_long_outage(session: Session, clock: Clock) -> None:
    with pytest.raises(Unavailable):
        play(
            feeds.stream_book(session, "BTC-USDT"),
            clock,
            lambda effect: LOST if isinstance(effect, Read) else b"",
        )
    assert clock.now_ns <= START_NS + session.reconnect_timeout_ns


def test_a_refused_subscription_ends_the_feed(session: Session, clock: Clock) -> None:
    refusal = CallerError("UNKNOWN_MARKET", "no such market")
    with pytest.raises(CallerError, match="UNKNOWN_MARKET"):
        play(
            feeds.stream_book(session, "X-Y"),
            clock,
            lambda effect: refusal if isinstance(effect, Read) else b"",
        )


def test_the_order_window_ends_with_the_oldest_expiry(session: Session, clock: Clock) -> None:
    window = OrderWindow(session, 2, False)
    session.payload_lifetime_ns = 5 * NS_PER_SECOND
    _, requests = window.add(session.sign_action(ORDER))
    opened = next(window.start())
    assert isinstance(opened, Open)
    assert opened.requests == tuple(requests)
    with pytest.raises(Unavailable):
        play(window.receive(), clock, lambda effect: LOST if isinstance(effect, Read) else b"")
    assert clock.now_ns <= START_NS + session.payload_lifetime_ns


def test_a_session_that_ends_its_orders_says_so_with_every_envelope(
    session: Session, clock: Clock
) -> None:
    """Also with those sent again: what breaks next must not leave them."""
    window = OrderWindow(session, 2, True)
    signed = session.sign_action(ORDER)
    _, [data] = window.add(signed)
    assert orders.OrderStreamRequest.FromString(data).cancel_on_disconnect
    answers: Iterator[Message | DexError] = iter(
        [LOST, orders.OrderStreamResponse(nonce=signed.nonce)]
    )
    play(window.receive(), clock, lambda effect: next(answers) if isinstance(effect, Read) else b"")
    assert window.breaks == 1
    _, [plain] = OrderWindow(session, 2, False).add(signed)
    assert not orders.OrderStreamRequest.FromString(plain).cancel_on_disconnect


def test_an_answer_out_of_turn_is_the_peers_fault(session: Session, clock: Clock) -> None:
    window = OrderWindow(session, 2, False)
    signed = session.sign_action(ORDER)
    window.add(signed)
    wrong = orders.OrderStreamResponse(nonce=signed.nonce ^ 1)
    with pytest.raises(PeerError):
        play(window.receive(), clock, lambda _: wrong)


def test_every_method_wants_what_the_contract_says() -> None:
    assert not methods.PLACE_ORDER.authorized
    assert not methods.GET_BOOK.authorized
    assert methods.CHECK_ORDER.authorized
    assert methods.CREATE_MARKET.authorized
