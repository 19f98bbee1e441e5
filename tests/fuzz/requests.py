"""Requests: what clients ask, once their bytes are a message of the contract or not.

Garbage is refused with a typed refusal that says why; what is taken becomes a command that the
journal reads back as the same command, and whatever a signer asks for, the books hold.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from pyarrow import flight

from dex.flight.v1 import flight_pb2
from dex.kline.v1.kline_query_pb2 import INTERVAL_1S
from dex.orders.v1 import signed_payload_pb2 as wire
from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import Command, decode_command, encode_command
from dexflight import query
from dexnode.ids import IdFormat
from dexnode.intake import Intake
from dexnode.services.binding import SERVED
from dexnode.validation import Validator
from dexrpc import RpcError
from tests.fuzz.family import Family, Target
from tests.unit.core.exchanges import BUY, SECOND_NS, SELL, START_NS, place, small_world
from tests.unit.runtime.shards import IDENTITY, fixed_clock_ns

SLOTS = ("payload", "message", "flight", "batch", "payload", "message", "applied", "envelope")
# Field 9 of a payload, with a length in front.
BATCH_TAG = b"\x4a"
EXPIRY_S = START_NS // SECOND_NS + 60


class Desk:
    """An intake over an exchange at rest: what a shard would queue is kept."""

    def __init__(self) -> None:
        world = small_world(2)
        for side, price in ((BUY, 99), (SELL, 101)):
            world.order(world.traders[0], place(side, price, 10, client_id=price))
        self.state = encode_state(world.exchange)
        self.exchange = world.exchange
        self.identity = IDENTITY
        self.sequencer = self
        self.trader = world.traders[1]
        self.ids = IdFormat(IDENTITY.shard, IDENTITY.epoch)
        self.intake = Intake(self, self.ids, fixed_clock_ns)  # type: ignore[arg-type]
        self.queued: list[Command] = []

    def submit(self, command: Command, envelope: bytes) -> Any:
        """In the place of the sequencer, which encodes here too."""
        assert decode_command(encode_command(command)) == command, "the journal changes a command"
        wire.SignedEnvelope.FromString(envelope)
        self.queued.append(command)

    def command_of(self, payload: bytes) -> Command | None:
        """What a signer's payload becomes; None if it is refused."""
        envelope = wire.SignedEnvelope(payload=payload, public_key=self.trader.public_key)
        self.queued.clear()
        try:
            self.intake.submit(self.intake.check(envelope, True))
        except RpcError as refusal:
            _check(refusal)
            return None
        return self.queued.pop()


def _check(refusal: RpcError) -> None:
    assert refusal.message, "a refusal without a word"
    assert len(refusal.message) < 2_000, "a refusal that repeats its input"


class Requests:
    """What each handler needs, and the handlers."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.validator = Validator([service.file for service in SERVED])
        inputs = sorted(
            {
                method.input_type.full_name: method.input_type
                for s in SERVED
                for method in s.methods
            }.items()
        )
        self.kinds: list[type[Message]] = [GetMessageClass(descriptor) for _, descriptor in inputs]

    def payload(self, data: bytes) -> bool:
        """A signer's payload, any action."""
        return self.desk.command_of(data) is not None

    def batch(self, data: bytes) -> bool:
        """Its batch alone, under a head that is always good."""
        whole = _head(self.desk, 5) + BATCH_TAG + _varint(len(data)) + data
        return self.desk.command_of(whole) is not None

    def applied(self, data: bytes) -> bool:
        """What is taken is applied to the books, which hold."""
        command = self.desk.command_of(data)
        if command is None:
            return False
        exchange = decode_state(self.desk.state)
        outcome = exchange.apply(exchange.sequence + 1, exchange.time_ns, command)
        exchange.ledger.audit()
        return not outcome.reason

    def message(self, data: bytes) -> bool:
        """Any request of a served method: parsed and held to the rules of the contract."""
        kind = self.kinds[data[0] % len(self.kinds)] if data else self.kinds[0]
        try:
            parsed = kind.FromString(data[1:])
        except DecodeError:
            return False
        try:
            self.validator.check(parsed)
        except RpcError as refusal:
            _check(refusal)
            return False
        return True

    def envelope(self, data: bytes) -> bool:
        """An envelope as it comes, without a signature that anybody made."""
        try:
            parsed = wire.SignedEnvelope.FromString(data)
        except DecodeError:
            return False
        try:
            self.desk.intake.check(parsed, False)
        except RpcError as refusal:
            _check(refusal)
            return False
        raise AssertionError("an envelope without a signature was taken")

    def pull(self, data: bytes) -> bool:
        """A query of Arrow Flight."""
        try:
            asked = query.check(query.parse(data))
        except flight.FlightError:
            return False
        assert isinstance(asked, query.KlineRange | query.TradeRange)
        return True


def make() -> Target:
    """All handlers."""
    on = Requests()
    return Target(
        SLOTS,
        {
            "payload": on.payload,
            "batch": on.batch,
            "applied": on.applied,
            "message": on.message,
            "envelope": on.envelope,
            "flight": on.pull,
        },
    )


def _varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _head(desk: Desk, nonce: int) -> bytes:
    """The fields of a good payload beside its action."""
    head = wire.Payload(
        network_id=IDENTITY.network_id,
        account_id=desk.ids.format(desk.trader.account_key),
        nonce=nonce,
    )
    head.expire_time.seconds = EXPIRY_S
    return head.SerializeToString()


def _with_terms(order: wire.NewOrder) -> list[wire.NewOrder]:
    """The order as each kind that says more."""
    kinds: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"display_lots": 2, "self_trade_prevention": wire.SELF_TRADE_PREVENTION_DECREMENT}),
        ({"post_only": True}, {"slide": True}),
        ({"time_in_force": wire.TIME_IN_FORCE_IOC}, {"min_lots": 3}),
        ({"type": wire.ORDER_TYPE_STOP_LIMIT}, {"trigger_price_ticks": 103}),
        ({"type": wire.ORDER_TYPE_TRAILING_STOP, "price_ticks": 0}, {"trail_ticks": 4}),
        (
            {"type": wire.ORDER_TYPE_PEGGED},
            {"peg": wire.PEG_REFERENCE_MIDPOINT, "peg_offset_ticks": -1},
        ),
        (
            {"time_in_force": wire.TIME_IN_FORCE_GTD},
            {"expire_time": Timestamp(seconds=EXPIRY_S)},
        ),
        ({"time_in_force": wire.TIME_IN_FORCE_AT_CLOSE}, {}),
    ]
    made = []
    for more, said in kinds:
        each = wire.NewOrder(**more, terms=wire.OrderTerms(**said))
        made.append(wire.NewOrder.FromString(order.SerializeToString() + each.SerializeToString()))
    return made


def _pair(order: wire.NewOrder) -> list[wire.BatchItem]:
    stop = _with_terms(order)[3]
    stop.terms.oco = True
    limit = wire.NewOrder.FromString(order.SerializeToString())
    limit.price_ticks = 50
    return [wire.BatchItem(place=limit), wire.BatchItem(place=stop)]


def payloads(desk: Desk) -> list[bytes]:
    """Valid payloads of every action."""
    order = wire.NewOrder(
        market_id="AAA-QQQ",
        side=wire.SIDE_BUY,
        type=wire.ORDER_TYPE_LIMIT,
        time_in_force=wire.TIME_IN_FORCE_GTC,
        price_ticks=101,
        quantity_lots=5,
    )
    to = desk.ids.format(desk.trader.account_key)
    actions: list[dict[str, Any]] = [
        {"place": order},
        {"cancel": wire.OrderCancel(client_order_id=3)},
        {"amend": wire.OrderAmend(client_order_id=3, quantity_lots=4)},
        {"cancel_all": wire.OrderCancelAll(market_id="AAA-QQQ")},
        {"cancel_all": wire.OrderCancelAll(side=wire.SIDE_SELL)},
        {"batch": wire.Batch(items=[wire.BatchItem(place=order)] * 2)},
        *({"place": each} for each in _with_terms(order)),
        {"batch": wire.Batch(items=_pair(order), phased=True)},
        {"dead_mans_switch": wire.DeadMansSwitch(timeout=Duration(seconds=30))},
        {"register_key": wire.KeyRegistration(public_key=bytes(32))},
        {"transfer": wire.FundsTransfer(to_account_id=to, asset_id="AAA", amount_atoms=1)},
    ]
    return [_head(desk, 7) + wire.Payload(**action).SerializeToString() for action in actions]


def seeds(target: Target) -> list[bytes]:
    """Good requests."""
    desk = Desk()
    good = payloads(desk)
    inputs = [target.input_for(name, data) for data in good for name in ("payload", "applied")]
    inputs.append(
        target.input_for("batch", wire.Payload.FromString(good[4]).batch.SerializeToString())
    )
    whole = wire.SignedEnvelope(payload=good[0], signature=bytes(64), public_key=bytes(32))
    inputs.append(target.input_for("envelope", whole.SerializeToString()))
    asked = [
        flight_pb2.Query(klines=flight_pb2.KlineRows(market_id="AAA-QQQ", interval=INTERVAL_1S)),
        flight_pb2.Query(trades=flight_pb2.TradeRows(market_id="AAA-QQQ", start_sequence=5)),
    ]
    inputs += [target.input_for("flight", each.SerializeToString()) for each in asked]
    # One of each request; an empty one says what is required of it.
    inputs += [target.input_for("message", bytes([n])) for n in range(30)]
    return inputs + [target.input_for("message", bytes([n]) + good[0]) for n in range(30)]


FAMILY = Family(
    "Requests of clients: refused with a typed reason, or a command that the journal reads back as "
    "it was and that leaves the books whole.",
    make,
    seeds,
    bytes_max=1024,
)
