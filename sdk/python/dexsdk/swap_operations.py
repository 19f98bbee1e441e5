"""Swaps at once: see what a whole size costs or brings, then take it with one signed message.

An order on book and pool, or the acceptance of a quote that the account has got: whichever is
better. Nobody is asked for quotes here, since asking signs a message too and takes time: who wants
makers to compete asks first (`request_quote`) and swaps while the quotes are open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from dex.matching.v1 import swap_pb2 as swaps
from dex.orders.v1 import order_intake_pb2 as orders
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import methods
from dexsdk.effects import Operation, ask
from dexsdk.errors import CallerError, from_rejection
from dexsdk.order_operations import place_order
from dexsdk.quote_operations import accept_quote
from dexsdk.session import Session
from dexsdk.types import NewOrder, Side, SwapSource, TimeInForce


@dataclass(frozen=True, slots=True)
class SwapTaken:
    """A swap that was made: by whom, on which quote or order, and its fills."""

    source: SwapSource
    id: str
    fills: list[orders.Fill]


def quote_swap(
    session: Session,
    market: str,
    side: Side,
    quantity_lots: int,
    *,
    account_id: str | None = None,
) -> Operation[swaps.QuoteSwapResponse]:
    """What a whole size would cost or bring now, by an order and by the best quote that the account
    has got, and which is `better`; changes nothing."""
    request = swaps.QuoteSwapRequest(
        account_id=session.require_account(account_id),
        market_id=market,
        side=cast("wire.Side.ValueType", side),
        quantity_lots=quantity_lots,
    )
    return (yield from ask(session, methods.QUOTE_SWAP, request))


def take_swap(session: Session, quoted: swaps.QuoteSwapResponse) -> Operation[SwapTaken]:
    """Takes the better way of a `quote_swap`: one signed message, the whole size or nothing.

    A quote trades at its price. An order trades no lot beyond the limit it was quoted with: when
    prices have moved further it is refused (FILL_OR_KILL_UNFILLABLE).
    """
    side = Side(quoted.side)
    if quoted.better == SwapSource.QUOTE:
        by_quote = quoted.quote
        done = yield from accept_quote(session, by_quote.quote.quote_id, side, by_quote.price_ticks)
        return SwapTaken(SwapSource.QUOTE, by_quote.quote.quote_id, [done.fill])
    refused = from_rejection(quoted.order.rejection)
    if refused is not None:
        raise refused
    order = NewOrder(
        quoted.market_id,
        side,
        quoted.quantity_lots,
        price_ticks=quoted.order.limit_price_ticks,
        time_in_force=TimeInForce.FOK,
    )
    result = yield from place_order(session, order)
    return SwapTaken(SwapSource.ORDER, result.order_id, list(result.fills))


def swap(
    session: Session,
    market: str,
    side: Side,
    quantity_lots: int,
    *,
    limit_price_ticks: int = 0,
) -> Operation[SwapTaken]:
    """Quotes a swap and takes it. With `limit_price_ticks` nothing is sent when a lot could trade
    at a worse price (CallerError, SLIPPAGE)."""
    quoted = yield from quote_swap(session, market, side, quantity_lots)
    from_quote = quoted.better == SwapSource.QUOTE
    worst_ticks = quoted.quote.price_ticks if from_quote else quoted.order.limit_price_ticks
    sign = 1 if side == Side.BUY else -1
    if limit_price_ticks and worst_ticks and sign * worst_ticks > sign * limit_price_ticks:
        message = f"the better way goes to {worst_ticks}"
        raise CallerError("SLIPPAGE", message, field="limit_price_ticks")
    return (yield from take_swap(session, quoted))
