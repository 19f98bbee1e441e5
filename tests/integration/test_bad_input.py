"""Bad orders and bad envelopes: each gets a typed answer that names the field, and harms nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as wire
from tests.support.wire import (
    CALL_SECONDS,
    NS,
    OperatorWire,
    Signer,
    Wire,
    answer,
    batch_of,
    buy,
    sell,
)

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
MARKET = "BAD-USDT"
INCREMENTS = "BADINC-USDT"
NO_ID = "0" * 22

INVALID = StatusCode.INVALID_ARGUMENT
STATE = StatusCode.FAILED_PRECONDITION
MISSING = StatusCode.NOT_FOUND
EXISTS = StatusCode.ALREADY_EXISTS
WHO = StatusCode.UNAUTHENTICATED
DENIED = StatusCode.PERMISSION_DENIED


class Desk(NamedTuple):
    """A funded account on two markets that have a seller at 100."""

    api: Wire
    trader: Signer
    taker: Signer


@pytest.fixture
def desk(api: Wire, operator: OperatorWire) -> Desk:
    operator.open_market("BAD")
    operator.open_market("BADINC", price_increment_ticks=5, quantity_increment_lots=10)
    operator.open_market("BADSMALL", price_ticks_max=1_000, quantity_lots_max=1_000)
    operator.open_market("BADAMEND")
    trader, taker = operator.trader("BAD", "USDT"), operator.trader("BAD", "BADAMEND", "USDT")
    return Desk(api, trader, taker)


def place(desk: Desk, envelope: wire.SignedEnvelope) -> object:
    return desk.api.orders.PlaceOrder(pb.PlaceOrderRequest(envelope=envelope), timeout=CALL_SECONDS)


def stream_rejection(desk: Desk, envelope: wire.SignedEnvelope) -> tuple[str, str]:
    """Reason and field of the answer a stream gives."""
    requests = iter([pb.OrderStreamRequest(envelope=envelope)])
    (answer,) = desk.api.orders.OrderStream(requests, timeout=CALL_SECONDS)
    rejection = answer.rejection if answer.HasField("rejection") else answer.results[0].rejection
    return errors_pb2.ErrorReason.Name(rejection.reason).removeprefix("ERROR_REASON_"), (
        rejection.field
    )


def assert_alive(desk: Desk) -> None:
    """An honest order still works."""
    result = desk.api.place(desk.trader, buy(MARKET, 1, 1))
    assert result.status == pb.ORDER_STATUS_OPEN


# --- orders: the same answer for a call, a batch's item, a stream and a dry run

BAD_ORDERS: dict[str, tuple[Callable[[], wire.NewOrder], StatusCode, str, str]] = {
    "unknown market": (
        lambda: buy("NO-SUCH", 1, 1),
        *(MISSING, "UNKNOWN_MARKET", "market_id"),
    ),
    "empty market": (lambda: buy("", 1, 1), MISSING, "UNKNOWN_MARKET", "market_id"),
    "long market": (lambda: buy("X" * 5_000, 1, 1), MISSING, "UNKNOWN_MARKET", "market_id"),
    "off tick": (lambda: buy(INCREMENTS, 101, 10), INVALID, "PRICE_OFF_TICK", "price_ticks"),
    "off lot": (lambda: buy(INCREMENTS, 100, 11), INVALID, "QUANTITY_OFF_LOT", "quantity_lots"),
    "no price": (lambda: buy(MARKET, 0, 1), INVALID, "PRICE_OUT_OF_RANGE", "price_ticks"),
    "negative price": (lambda: buy(MARKET, -1, 1), INVALID, "PRICE_OUT_OF_RANGE", "price_ticks"),
    "least price": (
        lambda: buy(MARKET, INT64_MIN, 1),
        *(INVALID, "PRICE_OUT_OF_RANGE", "price_ticks"),
    ),
    "greatest price": (
        lambda: buy(MARKET, INT64_MAX, 1),
        *(INVALID, "PRICE_OUT_OF_RANGE", "price_ticks"),
    ),
    "price over the market's": (
        lambda: buy("BADSMALL-USDT", 1_001, 1),
        *(INVALID, "PRICE_OUT_OF_RANGE", "price_ticks"),
    ),
    "no quantity": (
        lambda: buy(MARKET, 1, 0),
        *(INVALID, "QUANTITY_OUT_OF_RANGE", "quantity_lots"),
    ),
    "negative quantity": (
        lambda: buy(MARKET, 1, -1),
        *(INVALID, "QUANTITY_OUT_OF_RANGE", "quantity_lots"),
    ),
    "least quantity": (
        lambda: buy(MARKET, 1, INT64_MIN),
        *(INVALID, "QUANTITY_OUT_OF_RANGE", "quantity_lots"),
    ),
    "greatest quantity": (
        lambda: buy(MARKET, 1, INT64_MAX),
        *(INVALID, "QUANTITY_OUT_OF_RANGE", "quantity_lots"),
    ),
    "quantity over the market's": (
        lambda: buy("BADSMALL-USDT", 1, 1_001),
        *(INVALID, "QUANTITY_OUT_OF_RANGE", "quantity_lots"),
    ),
    "both at the market's limit": (
        lambda: buy(MARKET, 10**12, 10**12),
        *(STATE, "INSUFFICIENT_FUNDS", "quantity_lots"),
    ),
    "funds": (lambda: buy(MARKET, 10**6, 10**7), STATE, "INSUFFICIENT_FUNDS", "quantity_lots"),
    "base funds": (
        lambda: sell("BADINC-USDT", 100, 10),
        *(STATE, "INSUFFICIENT_FUNDS", "quantity_lots"),
    ),
    "market buy beyond the funds": (
        lambda: buy(INCREMENTS, 0, 10, type=wire.ORDER_TYPE_MARKET),
        *(STATE, "NO_LIQUIDITY", ""),
    ),
    "post-only that crosses": (
        lambda: buy(MARKET, 100, 1, post_only=True),
        *(STATE, "POST_ONLY_WOULD_TAKE", "post_only"),
    ),
    "FOK that cannot fill": (
        lambda: buy(MARKET, 100, 11, time_in_force=wire.TIME_IN_FORCE_FOK),
        *(STATE, "FILL_OR_KILL_UNFILLABLE", "quantity_lots"),
    ),
    "market GTC": (
        lambda: buy(
            MARKET, 0, 1, type=wire.ORDER_TYPE_MARKET, time_in_force=wire.TIME_IN_FORCE_GTC
        ),
        *(INVALID, "TIME_IN_FORCE_INVALID", "time_in_force"),
    ),
    "market with a price": (
        lambda: buy(MARKET, 5, 1, type=wire.ORDER_TYPE_MARKET),
        *(INVALID, "FIELD_INVALID", "price_ticks"),
    ),
    "post-only IOC": (
        lambda: buy(MARKET, 5, 1, post_only=True, time_in_force=wire.TIME_IN_FORCE_IOC),
        *(INVALID, "TIME_IN_FORCE_INVALID", "post_only"),
    ),
    "no side": (lambda: buy(MARKET, 1, 1, side=0), INVALID, "FIELD_INVALID", "side"),
    "unknown side": (lambda: buy(MARKET, 1, 1, side=3), INVALID, "FIELD_INVALID", "side"),
    "no type": (lambda: buy(MARKET, 1, 1, type=0), INVALID, "FIELD_INVALID", "type"),
    "unknown type": (lambda: buy(MARKET, 1, 1, type=9), INVALID, "FIELD_INVALID", "type"),
    "no time in force": (
        lambda: buy(MARKET, 1, 1, time_in_force=0),
        *(INVALID, "FIELD_INVALID", "time_in_force"),
    ),
    "unknown time in force": (
        lambda: buy(MARKET, 1, 1, time_in_force=200),
        *(INVALID, "FIELD_INVALID", "time_in_force"),
    ),
    "side of no byte": (
        lambda: buy(MARKET, 1, 1, side=-1),
        *(INVALID, "FIELD_INVALID", "side"),
    ),
    "type of no byte": (
        lambda: buy(MARKET, 1, 1, type=2**31 - 1),
        *(INVALID, "FIELD_INVALID", "type"),
    ),
    "time in force of no byte": (
        lambda: buy(MARKET, 1, 1, time_in_force=-(2**31)),
        *(INVALID, "FIELD_INVALID", "time_in_force"),
    ),
    "negative client order id": (
        lambda: buy(MARKET, 1, 1, client_order_id=-1),
        *(INVALID, "FIELD_INVALID", "client_order_id"),
    ),
    "least client order id": (
        lambda: buy(MARKET, 1, 1, client_order_id=INT64_MIN),
        *(INVALID, "FIELD_INVALID", "client_order_id"),
    ),
    "client order id in use": (
        lambda: buy(MARKET, 1, 1, client_order_id=77),
        *(EXISTS, "CLIENT_ORDER_ID_IN_USE", "client_order_id"),
    ),
}


def test_bad_orders(desk: Desk) -> None:
    api, trader = desk.api, desk.trader
    api.place(desk.taker, sell(MARKET, 100, 10))
    api.place(trader, buy(MARKET, 1, 1, client_order_id=77))
    wrong: list[str] = []
    for name, (make, code, reason, field) in BAD_ORDERS.items():
        envelope = trader.envelope(place=make())
        said = answer(place, desk, envelope)
        if (said.code, said.reason, said.field) != (code, reason, field):
            wrong.append(f"{name}: call {said[:3]}")
        (item,) = api.batch(trader, make())
        batched = errors_pb2.ErrorReason.Name(item.rejection.reason), item.rejection.field
        if batched != (f"ERROR_REASON_{reason}", field):
            wrong.append(f"{name}: batch {batched}")
        streamed = stream_rejection(desk, trader.envelope(place=make()))
        if streamed != (reason, field):
            wrong.append(f"{name}: stream {streamed}")
    assert not wrong, "\n".join(wrong)
    assert api.account(trader).open_order_count == 1
    assert_alive(desk)


# --- cancels and amends


ItemCases = dict[str, tuple[wire.OrderCancel | wire.OrderAmend, StatusCode, str, str]]


def item_cases(mine: str, foreign: str) -> ItemCases:
    """`mine` has client order id 1, ten lots at 200 to buy and four filled."""
    amend, cancel = wire.OrderAmend, wire.OrderCancel
    return {
        "unknown order": (cancel(order_id=NO_ID), MISSING, "UNKNOWN_ORDER", "order_id"),
        "no id at all": (cancel(order_id="x" * 22), MISSING, "UNKNOWN_ORDER", "order_id"),
        "another's order": (cancel(order_id=foreign), MISSING, "UNKNOWN_ORDER", "order_id"),
        "unknown client id": (
            cancel(client_order_id=99),
            *(MISSING, "UNKNOWN_ORDER", "client_order_id"),
        ),
        "negative client id": (
            cancel(client_order_id=-1),
            *(MISSING, "UNKNOWN_ORDER", "client_order_id"),
        ),
        "neither id": (cancel(), INVALID, "FIELD_INVALID", "order_id"),
        "both ids": (
            cancel(order_id=mine, client_order_id=1),
            *(INVALID, "FIELD_INVALID", "order_id"),
        ),
        "amend below filled": (
            amend(client_order_id=1, quantity_lots=3),
            *(STATE, "AMEND_BELOW_FILLED", "quantity_lots"),
        ),
        "amend to filled": (
            amend(client_order_id=1, quantity_lots=4),
            *(STATE, "AMEND_BELOW_FILLED", "quantity_lots"),
        ),
        "amend to nothing": (
            amend(client_order_id=1),
            *(INVALID, "QUANTITY_OUT_OF_RANGE", "quantity_lots"),
        ),
        "amend to the least": (
            amend(client_order_id=1, quantity_lots=INT64_MIN),
            *(INVALID, "QUANTITY_OUT_OF_RANGE", "quantity_lots"),
        ),
        "amend to the greatest": (
            amend(client_order_id=1, quantity_lots=INT64_MAX),
            *(INVALID, "QUANTITY_OUT_OF_RANGE", "quantity_lots"),
        ),
        "amend to a negative price": (
            amend(client_order_id=1, quantity_lots=10, price_ticks=-1),
            *(INVALID, "PRICE_OUT_OF_RANGE", "price_ticks"),
        ),
        "amend to the greatest price": (
            amend(client_order_id=1, quantity_lots=10, price_ticks=INT64_MAX),
            *(INVALID, "PRICE_OUT_OF_RANGE", "price_ticks"),
        ),
        "amend beyond the funds": (
            amend(client_order_id=1, quantity_lots=10**12),
            *(STATE, "INSUFFICIENT_FUNDS", "quantity_lots"),
        ),
        "amend nothing known": (
            amend(client_order_id=98, quantity_lots=5),
            *(MISSING, "UNKNOWN_ORDER", "client_order_id"),
        ),
    }


def test_bad_cancels_and_amends(desk: Desk) -> None:
    api, trader = desk.api, desk.trader
    market = "BADAMEND-USDT"
    mine = api.place(trader, buy(market, 200, 10, client_order_id=1))
    api.place(desk.taker, sell(market, 200, 4))
    foreign = api.place(desk.taker, buy(market, 2, 1)).order_id
    wrong: list[str] = []
    for name, (item, code, reason, field) in item_cases(mine.order_id, foreign).items():
        if isinstance(item, wire.OrderAmend):
            request = pb.AmendOrderRequest(envelope=trader.envelope(amend=item))
            said = answer(api.orders.AmendOrder, request)
            streamed = stream_rejection(desk, trader.envelope(amend=item))
        else:
            said = answer(
                api.orders.CancelOrder,
                pb.CancelOrderRequest(envelope=trader.envelope(cancel=item)),
            )
            streamed = stream_rejection(desk, trader.envelope(cancel=item))
        if (said.code, said.reason, said.field) != (code, reason, field):
            wrong.append(f"{name}: call {said[:3]}")
        if streamed != (reason, field):
            wrong.append(f"{name}: stream {streamed}")
    assert not wrong, "\n".join(wrong)
    (left,) = api.account(trader).open_orders
    assert (left.order_id, left.quantity_lots, left.filled_lots) == (mine.order_id, 10, 4)


# --- envelopes


def ahead(seconds: float) -> Timestamp:
    time_ns = time.time_ns() + int(seconds * NS)
    return Timestamp(seconds=time_ns // NS, nanos=time_ns % NS)


EnvelopeCases = dict[str, tuple[wire.SignedEnvelope, StatusCode, str, str]]


def forged_envelopes(desk: Desk) -> EnvelopeCases:
    """What was not signed as it is."""
    trader = desk.trader
    order = buy(MARKET, 1, 1)
    forged = trader.envelope(place=order)
    forged.signature = forged.signature[:-1] + bytes([forged.signature[-1] ^ 1])
    moved = trader.envelope(place=order)
    moved.payload += b"\x18\x07"
    foreign_key = trader.envelope(place=order)
    foreign_key.public_key = Signer(trader.network_id).key.public_bytes
    signed = "envelope.signature"
    return {
        "flipped bit": (forged, WHO, "SIGNATURE_INVALID", signed),
        "changed payload": (moved, WHO, "SIGNATURE_INVALID", signed),
        "another's public key": (foreign_key, WHO, "SIGNATURE_INVALID", signed),
        "malformed": (
            trader.sign(b"\xff\xff\xff"),
            *(INVALID, "MALFORMED_MESSAGE", "envelope.payload"),
        ),
    }


def changed(trader: Signer, **changes: object) -> wire.SignedEnvelope:
    """A good payload with fields changed before it is signed."""
    made = trader.payload(place=buy(MARKET, 1, 1))
    for name, value in changes.items():
        if isinstance(value, Timestamp):
            getattr(made, name).CopyFrom(value)
        else:
            setattr(made, name, value)
    return trader.sign(made.SerializeToString())


def signed_nonsense(desk: Desk) -> EnvelopeCases:
    """What was signed and should not have been."""
    trader = desk.trader
    order = buy(MARKET, 1, 1)
    stranger = Signer(trader.network_id, account_id=trader.account_id)

    no_expiry = trader.payload(place=order)
    no_expiry.ClearField("expire_time")
    no_action = trader.payload()
    payload = partial(changed, trader)
    expiry = "expire_time"
    return {
        "network": (payload(network_id="other"), INVALID, "NETWORK_MISMATCH", "network_id"),
        "no network": (payload(network_id=""), INVALID, "NETWORK_MISMATCH", "network_id"),
        "expired": (payload(expire_time=ahead(-1)), STATE, "PAYLOAD_EXPIRED", expiry),
        "too far": (payload(expire_time=ahead(310)), INVALID, "EXPIRY_TOO_FAR", expiry),
        "no expiry": (
            trader.sign(no_expiry.SerializeToString()),
            *(INVALID, "FIELD_INVALID", expiry),
        ),
        "expiry of all time": (
            payload(expire_time=Timestamp(seconds=INT64_MAX)),
            *(INVALID, "FIELD_INVALID", expiry),
        ),
        "expiry before all time": (
            payload(expire_time=Timestamp(seconds=INT64_MIN)),
            *(INVALID, "FIELD_INVALID", expiry),
        ),
        "negative nanos": (
            payload(expire_time=Timestamp(seconds=time.time_ns() // NS + 60, nanos=-1)),
            *(INVALID, "FIELD_INVALID", expiry),
        ),
        "two seconds of nanos": (
            payload(expire_time=Timestamp(seconds=time.time_ns() // NS + 60, nanos=2 * NS)),
            *(INVALID, "FIELD_INVALID", expiry),
        ),
        "no nonce": (payload(nonce=0), INVALID, "FIELD_INVALID", "nonce"),
        "negative nonce": (payload(nonce=-5), INVALID, "FIELD_INVALID", "nonce"),
        "no account": (payload(account_id=""), INVALID, "FIELD_INVALID", "account_id"),
        "unknown account": (
            payload(account_id=NO_ID),
            *(MISSING, "UNKNOWN_ACCOUNT", "account_id"),
        ),
        "account that is no id": (
            payload(account_id="me" * 4_000),
            *(MISSING, "UNKNOWN_ACCOUNT", "account_id"),
        ),
        "unknown key": (stranger.envelope(place=order), DENIED, "UNKNOWN_KEY", "public_key"),
        "another's account": (
            payload(account_id=desk.taker.account_id),
            *(DENIED, "UNKNOWN_KEY", "public_key"),
        ),
        "no action": (
            trader.sign(no_action.SerializeToString()),
            *(INVALID, "FIELD_INVALID", "action"),
        ),
        "action of another service": (
            trader.envelope(transfer=wire.FundsTransfer(to_account_id="x", asset_id="USDT")),
            *(INVALID, "ACTION_MISMATCH", "envelope.payload.transfer"),
        ),
    }


@pytest.mark.parametrize("make", [forged_envelopes, signed_nonsense])
def test_bad_envelopes(desk: Desk, make: Callable[[Desk], EnvelopeCases]) -> None:
    wrong: list[str] = []
    cases = make(desk)
    for name, (envelope, code, reason, field) in cases.items():
        said = answer(place, desk, envelope)
        if (said.code, said.reason, said.field) != (code, reason, field):
            wrong.append(f"{name}: call {said}")
        streamed = stream_rejection(desk, envelope)
        if streamed != (reason, field):
            wrong.append(f"{name}: stream {streamed}")
    assert not wrong, "\n".join(wrong)
    assert desk.api.account(desk.trader).open_order_count == 0
    assert_alive(desk)


def test_the_envelope_itself(desk: Desk) -> None:
    """What the contract's rules catch on a call; a stream has no rules in front, but answers."""
    good = desk.trader.envelope(place=buy(MARKET, 1, 1))
    short, long_key, empty = (wire.SignedEnvelope() for _ in range(3))
    short.CopyFrom(good)
    short.signature = good.signature[:63]
    long_key.CopyFrom(good)
    long_key.public_key = good.public_key + b"\0"
    big = desk.trader.sign(
        desk.trader.payload(place=buy(MARKET, 1, 1), network_id="n" * 66_000).SerializeToString()
    )
    cases = {
        "short signature": (short, "envelope.signature", "SIGNATURE_INVALID"),
        "long key": (long_key, "envelope.public_key", "SIGNATURE_INVALID"),
        "empty": (empty, "envelope.payload", "SIGNATURE_INVALID"),
        "over 64 KiB": (big, "envelope.payload", "MESSAGE_TOO_LARGE"),
    }
    for name, (envelope, field, streamed) in cases.items():
        said = answer(place, desk, envelope)
        assert (said.code, said.reason, said.field) == (INVALID, "FIELD_INVALID", field), name
        assert stream_rejection(desk, envelope)[0] == streamed, name
    said = answer(desk.api.orders.PlaceOrder, pb.PlaceOrderRequest())
    assert (said.code, said.reason, said.field) == (INVALID, "FIELD_INVALID", "envelope")
    assert_alive(desk)


def test_a_nonce_carries_one_payload(desk: Desk) -> None:
    first = desk.trader.payload(place=buy(MARKET, 1, 1))
    second = desk.trader.payload(place=buy(MARKET, 2, 1))
    second.nonce = first.nonce
    place(desk, desk.trader.sign(first.SerializeToString()))
    envelope = desk.trader.sign(second.SerializeToString())
    said = answer(place, desk, envelope)
    assert (said.code, said.reason, said.field) == (EXISTS, "NONCE_REUSED", "nonce")
    assert stream_rejection(desk, envelope) == ("NONCE_REUSED", "nonce")
    assert desk.api.account(desk.trader).open_order_count == 1


def test_batches_of_the_wrong_size(desk: Desk) -> None:
    order = buy(MARKET, 1, 1)
    for batch in (wire.Batch(), batch_of(*[order] * 1_001)):
        envelope = desk.trader.envelope(batch=batch)
        request = pb.SubmitBatchRequest(envelope=envelope)
        said = answer(desk.api.orders.SubmitBatch, request)
        assert (said.code, said.reason, said.field) == (INVALID, "BATCH_SIZE", "batch.items")
        assert stream_rejection(desk, envelope) == ("BATCH_SIZE", "batch.items")
    hollow = desk.trader.envelope(batch=wire.Batch(items=[wire.BatchItem()]))
    said = answer(desk.api.orders.SubmitBatch, pb.SubmitBatchRequest(envelope=hollow))
    assert (said.reason, said.field) == ("FIELD_INVALID", "batch.items[0].action")


def test_every_method_wants_its_own_action(desk: Desk) -> None:
    api, envelope = desk.api, desk.trader.envelope(cancel_all=wire.OrderCancelAll())
    methods: list[tuple[Callable[..., object], Callable[..., Message]]] = [
        (api.orders.PlaceOrder, pb.PlaceOrderRequest),
        (api.orders.CancelOrder, pb.CancelOrderRequest),
        (api.orders.AmendOrder, pb.AmendOrderRequest),
        (api.orders.SubmitBatch, pb.SubmitBatchRequest),
    ]
    for method, request in methods:
        said = answer(method, request(envelope=envelope))
        assert (said.code, said.reason) == (INVALID, "ACTION_MISMATCH")
        assert said.field == "envelope.payload.cancel_all"
    unknown = desk.trader.envelope(cancel_all=wire.OrderCancelAll(market_id="NO-SUCH"))
    said = answer(api.orders.CancelAll, pb.CancelAllRequest(envelope=unknown))
    assert (said.code, said.reason) == (MISSING, "UNKNOWN_MARKET")
