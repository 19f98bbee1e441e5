"""Open orders as a table: what ``dex order list`` and ``dex account show`` print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dex.accounts.v1.accounts_pb2 import OpenOrder
from dexnode.cli.common import print_table
from dexsdk import Market, OrderStatus, OrderType, PegReference, TimeInForce


def print_orders(markets: Mapping[str, Market], orders: Iterable[OpenOrder]) -> None:
    """A row for each order; prices and sizes are decimals of its market."""
    print_table(
        ("order", "market", "side", "price", "quantity", "filled", "conditions"),
        [_row(markets[order.market_id], order) for order in orders],
    )


def _row(market: Market, order: OpenOrder) -> tuple[str, ...]:
    return (
        order.order_id,
        order.market_id,
        "buy" if order.side == 1 else "sell",
        market.format_price(order.price_ticks) if order.price_ticks else "-",
        market.format_quantity(order.quantity_lots),
        market.format_quantity(order.filled_lots),
        conditions(market, order),
    )


def conditions(market: Market, order: OpenOrder) -> str:
    """What an open order says beyond price and size, in few words; empty for a plain order."""
    said: list[str] = []
    if order.status == OrderStatus.PARKED:
        said.append("waits")
    if order.type > OrderType.MARKET:
        said.append(OrderType(order.type).name.lower().replace("_", " "))
    terms = order.terms
    if terms.trigger_price_ticks > 0:
        said.append(f"at {market.format_price(terms.trigger_price_ticks)}")
    if terms.trail_ticks:
        said.append(f"trail {market.format_price(terms.trail_ticks)}")
    if terms.peg:
        said.append(f"to {PegReference(terms.peg).name.lower()}")
    if terms.peg_offset_ticks:
        said.append(f"offset {market.format_price(terms.peg_offset_ticks)}")
    if order.limit_price_ticks:
        said.append(f"limit {market.format_price(order.limit_price_ticks)}")
    if terms.display_lots:
        said.append(f"shows {market.format_quantity(terms.display_lots)}")
    if order.post_only:
        said.append("post only")
    if order.time_in_force != TimeInForce.GTC:
        said.append(TimeInForce(order.time_in_force).name.lower().replace("_", " "))
    if terms.HasField("expire_time"):
        said.append(f"until {terms.expire_time.ToJsonString()}")
    if order.oco_order_id:
        said.append(f"or {order.oco_order_id}")
    return ", ".join(said)
