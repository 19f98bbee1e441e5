"""The options that describe an order, shared by ``dex order place`` and ``check``."""

from __future__ import annotations

import time
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import click

from dexnode.cli.common import DECIMAL, POSITIVE, Function, duration_ns
from dexsdk import (
    Market,
    NewOrder,
    OrderType,
    PegReference,
    SelfTradePrevention,
    Side,
    TimeInForce,
)

CLIENT_ORDER_ID: Final = click.IntRange(0, 2**63 - 1)
LIVES: Final = [life.name.lower().replace("_", "-") for life in TimeInForce]
STP: Final = {
    "newest": SelfTradePrevention.CANCEL_NEWEST,
    "oldest": SelfTradePrevention.CANCEL_OLDEST,
    "both": SelfTradePrevention.CANCEL_BOTH,
    "decrement": SelfTradePrevention.DECREMENT,
}


class WhenParam(click.ParamType[int]):
    """A time ahead: a date and time with a zone, or how long from now; as nanoseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """UTC nanoseconds since the epoch."""
        if isinstance(value, int):
            return value
        ahead_ns = duration_ns(value)
        if ahead_ns is not None:
            return time.time_ns() + ahead_ns
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not like 2026-12-31T23:59:59Z or 90m", param, ctx)
        if when.tzinfo is None:
            self.fail(f"{value!r} has no zone: end it with Z for UTC", param, ctx)
        return int(when.timestamp()) * 10**9


OPTIONS: Final = (
    click.argument("market_id"),
    click.argument("side", type=click.Choice(["buy", "sell"])),
    click.argument("quantity", type=DECIMAL),
    click.option(
        "--price", type=POSITIVE, help="Limit price, e.g. 61000.50; of --peg the furthest it goes."
    ),
    click.option("--market", "at_market", is_flag=True, help="At any price within the band, now."),
    click.option(
        "--stop-price",
        type=POSITIVE,
        help="Wait until the market trades at this price or beyond; then a market order within the "
        "band, or with --price a limit order.",
    ),
    click.option(
        "--trail", type=POSITIVE, help="A stop that follows the best price traded at this distance."
    ),
    click.option(
        "--peg",
        type=click.Choice([peg.name.lower() for peg in PegReference]),
        help="Follow the best price of your side, of the other, or their middle; needs --price.",
    ),
    click.option(
        "--peg-offset",
        metavar="DECIMAL",
        default="0",
        help="Added to what it follows: -0.50 to buy half a unit below, 0.50 to sell above.",
    ),
    click.option("--display", type=POSITIVE, help="Iceberg: show at most so much of it at a time."),
    click.option(
        "--min-quantity", type=POSITIVE, help="Refuse it unless so much can be taken at once."
    ),
    click.option(
        "--post-only",
        is_flag=False,
        flag_value="refuse",
        type=click.Choice(["refuse", "slide"]),
        help="Never take: refuse it instead, or with --post-only=slide price it just outside.",
    ),
    click.option(
        "--stp",
        type=click.Choice(list(STP)),
        help="Rather than trade with yourself cancel the newest (this) order, the oldest, both, or "
        "take what they share off both.  [default: trade]",
    ),
    click.option(
        "--tif",
        type=click.Choice(LIVES),
        help="How long it lives.  [default: gtc; ioc with --market; gtd with --expire-at]",
    ),
    click.option(
        "--expire-at",
        type=WhenParam(),
        help="When it ends: 2026-12-31T23:59:59Z, or from now 90s, 15m, 12h, 30d.",
    ),
    click.option(
        "--client-order-id",
        type=CLIENT_ORDER_ID,
        default=0,
        help="Your own number for the order.",
    ),
)
EXAMPLES: Final = """\b
Examples:
  dex order place BTC-USDC.eth buy 0.01 --market
  dex order place BTC-USDC.eth sell 0.5 --price 70000 --post-only=slide
  dex order place BTC-USDC.eth sell 0.5 --stop-price 55000 --tif day
  dex order place BTC-USDC.eth sell 0.5 --stop-price 55000 --price 54900
  dex order place BTC-USDC.eth sell 0.5 --trail 500
  dex order place BTC-USDC.eth buy 5 --price 60000 --display 0.5 --stp oldest
  dex order place BTC-USDC.eth buy 1 --peg primary --peg-offset -0.5 --price 60000
  dex order place BTC-USDC.eth buy 1 --price 60000 --expire-at 12h

docs/reference/order-semantics.md says what each does exactly."""


def order_options(function: Function) -> Function:
    """Add the arguments and options of an order; :func:`new_order` takes them."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def new_order(
    market: Market,
    *,
    side: str,
    quantity: Decimal,
    price: Decimal | None,
    at_market: bool,
    stop_price: Decimal | None,
    trail: Decimal | None,
    peg: str | None,
    peg_offset: str,
    display: Decimal | None,
    min_quantity: Decimal | None,
    post_only: str | None,
    stp: str | None,
    tif: str | None,
    expire_at: int | None,
    client_order_id: int,
) -> NewOrder:
    """The order in the market's units.

    Raises:
        click.UsageError: the options do not go together.
        OffGrid: a price or size is none of the market's.
    """
    kinds = [at_market, stop_price is not None, trail is not None, peg is not None]
    if sum(kinds) > 1:
        raise click.UsageError("give only one of --market, --stop-price, --trail and --peg")
    if price is None and not any(kinds[:3]):
        if peg is not None:
            raise click.UsageError("give --price too: what a pegged order never goes beyond")
        raise click.UsageError("give --price, or --market, --stop-price or --trail")
    if price is not None and (at_market or trail is not None):
        raise click.UsageError("--price goes with neither --market nor --trail")

    def ticks(value: Decimal | None) -> int:
        return 0 if value is None else market.price_ticks(value)

    def lots(value: Decimal | None) -> int:
        return 0 if value is None else market.quantity_lots(value)

    return NewOrder(
        market=market.market_id,
        side=Side[side.upper()],
        type=OrderType.MARKET if at_market else None,
        time_in_force=None if tif is None else TimeInForce[tif.upper().replace("-", "_")],
        price_ticks=ticks(price),
        quantity_lots=lots(quantity),
        post_only=post_only is not None,
        client_order_id=client_order_id,
        slide=post_only == "slide",
        trigger_price_ticks=ticks(stop_price),
        trail_ticks=ticks(trail),
        display_lots=lots(display),
        min_lots=lots(min_quantity),
        peg=None if peg is None else PegReference[peg.upper()],
        peg_offset_ticks=market.price_ticks(peg_offset),
        expire_time=expire_at,
        self_trade_prevention=None if stp is None else STP[stp],
    )
