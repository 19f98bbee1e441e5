"""What the core knows, as messages of the contract.

Where a message is made for every order or trade it is filled where it stands: making it apart and
copying it in costs three times as much.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.timestamp_pb2 import Timestamp

from dex.accounts.v1 import accounts_pb2 as accounts_pb
from dex.kline.v1 import kline_query_pb2 as kline_pb
from dex.matching.v1 import matching_pb2 as matching_pb
from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore import phases
from dexcore.book import Order
from dexcore.items import TYPE_LIMIT, TYPE_PEGGED
from dexcore.market import Market
from dexcore.parking import limit_price_ticks
from dexcore.results import Outcome, Result
from dexcore.terms import OrderTerms
from dexkline import Interval, Kline
from dexnode.errors import rejection
from dexnode.ids import IdFormat
from dexnode.times import SECOND_NS
from dexruntime.views import BookChange, PublicTrade


def timestamp(time_ns: int) -> Timestamp:
    """UTC nanoseconds since the epoch as a Timestamp."""
    return Timestamp(seconds=time_ns // SECOND_NS, nanos=time_ns % SECOND_NS)


def applied(outcome: Outcome) -> orders_pb.Applied:
    """Where and when a command was applied."""
    return orders_pb.Applied(sequence=outcome.sequence, apply_time=timestamp(outcome.time_ns))


def fill_applied(message: orders_pb.Applied, outcome: Outcome) -> None:
    """The same, into an empty message."""
    message.sequence = outcome.sequence
    time = message.apply_time
    time.seconds, time.nanos = divmod(outcome.time_ns, SECOND_NS)


def fill_result(ids: IdFormat, message: orders_pb.OrderResult, result: Result) -> None:
    """What became of one item, into an empty message."""
    order_key, client_order_id, status, filled_lots, remaining_lots, fills, reason, field = result
    message.status = status
    # Zeros are there already.
    if client_order_id:
        message.client_order_id = client_order_id
    if filled_lots:
        message.filled_lots = filled_lots
    if remaining_lots:
        message.remaining_lots = remaining_lots
    if reason:
        message.rejection.CopyFrom(rejection(reason, field))
        return
    message.order_id = ids.format(order_key)
    add_fill = message.fills.add
    for trade_sequence, price_ticks, quantity_lots, fee_atoms in fills:
        fill = add_fill()
        fill.trade_sequence = trade_sequence
        fill.price_ticks = price_ticks
        fill.quantity_lots = quantity_lots
        fill.fee_atoms = fee_atoms


def fill_outcome(
    ids: IdFormat,
    message: (
        orders_pb.OrderStreamResponse
        | orders_pb.SubmitBatchResponse
        | orders_pb.CancelAllResponse
        | accounts_pb.RevokeKeyResponse
    ),
    outcome: Outcome,
) -> None:
    """Where a command was applied, and what became of every item."""
    fill_applied(message.applied, outcome)
    add = message.results.add
    for result in outcome.results:
        fill_result(ids, add(), result)


def fill_open_order(
    ids: IdFormat, message: accounts_pb.OpenOrder, source: Market, order: Order
) -> None:
    """An order with its conditions, for its owner; into an empty message."""
    message.order_id = ids.format(order.key)
    message.client_order_id = order.client_order_id
    message.market_id = source.spec.market_id
    message.side = order.side  # type: ignore[assignment]
    message.price_ticks = order.price_ticks
    message.quantity_lots = order.quantity_lots
    message.filled_lots = order.filled_lots
    message.post_only = bool(order.post_only)
    if order.filled_lots:
        message.status = orders_pb.ORDER_STATUS_PARTIALLY_FILLED
    else:
        message.status = orders_pb.ORDER_STATUS_OPEN
    terms = order.terms
    if terms is None:
        message.type = payload_pb.ORDER_TYPE_LIMIT
        message.time_in_force = payload_pb.TIME_IN_FORCE_GTC
        return
    message.type = terms.order_type  # type: ignore[assignment]
    message.time_in_force = terms.time_in_force  # type: ignore[assignment]
    _fill_terms(message.terms, terms)
    if terms.is_parked:
        message.status = orders_pb.ORDER_STATUS_PARKED
        if terms.order_type != TYPE_LIMIT:
            # What it has reserved for is no price it has.
            message.price_ticks = 0
    if terms.is_parked and terms.is_stop and source.waiting is not None:
        # Of a trailing stop it moves; the order's own price is the worst that it may trade at.
        message.terms.trigger_price_ticks = source.waiting.triggers.trigger_price_ticks(order.key)
        message.price_ticks = limit_price_ticks(order)
    if terms.order_type == TYPE_PEGGED:
        message.limit_price_ticks = terms.limit_price_ticks
    if terms.other is not None:
        message.oco_order_id = ids.format(terms.other.key)


def _fill_terms(message: payload_pb.OrderTerms, terms: OrderTerms) -> None:
    message.SetInParent()
    message.trigger_price_ticks = terms.trigger_price_ticks
    message.trail_ticks = terms.trail_ticks
    message.display_lots = terms.display_lots
    message.peg = terms.peg  # type: ignore[assignment]
    message.peg_offset_ticks = terms.peg_offset_ticks
    message.self_trade_prevention = terms.stp  # type: ignore[assignment]
    if terms.expire_time_ns:
        message.expire_time.CopyFrom(timestamp(terms.expire_time_ns))


def market(source: Market) -> matching_pb.Market:
    """A market with the decimals people read."""
    spec = source.spec
    quote_unit = Decimal(10) ** spec.quote_scale
    lot = Decimal(spec.base_atoms_per_lot) / Decimal(10) ** spec.base_scale
    tick = Decimal(spec.quote_atoms_per_tick_lot) / quote_unit / lot
    return matching_pb.Market(
        market_id=spec.market_id,
        base_asset=matching_pb.Asset(asset_id=spec.base_asset_id, scale=spec.base_scale),
        quote_asset=matching_pb.Asset(asset_id=spec.quote_asset_id, scale=spec.quote_scale),
        quote_atoms_per_tick_lot=spec.quote_atoms_per_tick_lot,
        base_atoms_per_lot=spec.base_atoms_per_lot,
        tick_size=plain_decimal(tick),
        lot_size=plain_decimal(lot),
        price_increment_ticks=spec.price_increment_ticks,
        quantity_increment_lots=spec.quantity_increment_lots,
        price_ticks_max=spec.price_ticks_max,
        quantity_lots_max=spec.quantity_lots_max,
        maker_fee_ppm=source.maker_fee_ppm,
        taker_fee_ppm=source.taker_fee_ppm,
        kind=spec.kind,  # type: ignore[arg-type]
        status=int(source.status),  # type: ignore[arg-type]
        **source.limits._asdict(),
        last_price_ticks=source.last_price_ticks,
    )


def plain_decimal(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def book(source: Market, depth: int, sequence: int, time_ns: int) -> matching_pb.Book:
    """The best levels of a market's book."""
    message = matching_pb.Book(
        market_id=source.spec.market_id, sequence=sequence, time=timestamp(time_ns)
    )
    _add_levels(message.bids, source.book.bids.depth(depth))
    _add_levels(message.asks, source.book.asks.depth(depth))
    return message


def indicative(source: Market) -> matching_pb.IndicativeUncross:
    """What the uncross of a market in an auction would give now; zeros when nothing would trade."""
    found = phases.indicative(source)
    if found is None:
        return matching_pb.IndicativeUncross()
    return matching_pb.IndicativeUncross(**found._asdict())


def book_delta(change: BookChange) -> matching_pb.BookDelta:
    """What one moment changed in a book."""
    message = matching_pb.BookDelta(sequence=change.sequence, time=timestamp(change.time_ns))
    _add_levels(message.bids, change.bids.items())
    _add_levels(message.asks, change.asks.items())
    return message


def _add_levels(levels: object, rows: Iterable[tuple[int, int]]) -> None:
    add = levels.add  # type: ignore[attr-defined]
    for price_ticks, quantity_lots in rows:
        add(price_ticks=price_ticks, quantity_lots=quantity_lots)


def add_trades(
    ids: IdFormat,
    trades: RepeatedCompositeFieldContainer[matching_pb.Trade],
    market_id: str,
    rows: Iterable[PublicTrade],
) -> None:
    """Trades, at the end of a message's."""
    add = trades.add
    for time_ns, trade_sequence, price_ticks, quantity_lots, taker_side, maker, taker in rows:
        message = add()
        message.market_id = market_id
        message.trade_sequence = trade_sequence
        time = message.time
        time.seconds, time.nanos = divmod(time_ns, SECOND_NS)
        message.price_ticks = price_ticks
        message.quantity_lots = quantity_lots
        message.taker_side = taker_side  # type: ignore[assignment]
        if maker:
            message.maker_order_id = ids.format(maker)
            message.taker_order_id = ids.format(taker)


def kline(market_id: str, interval: Interval, row: Kline) -> kline_pb.Kline:
    """One K-line."""
    return kline_pb.Kline(
        market_id=market_id,
        interval=int(interval),  # type: ignore[arg-type]
        open_time=timestamp(row.open_time_ns),
        open_ticks=row.open_ticks,
        high_ticks=row.high_ticks,
        low_ticks=row.low_ticks,
        close_ticks=row.close_ticks,
        volume_lots=row.volume_lots,
        turnover_atoms=str(row.turnover_atoms),
        trade_count=row.trade_count,
        first_trade_sequence=row.first_trade_sequence,
        last_trade_sequence=row.last_trade_sequence,
        closed=row.closed,
        version=row.version,
        sequence=row.sequence,
    )
