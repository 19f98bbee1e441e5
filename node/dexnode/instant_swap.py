"""What a whole size would cost or bring now: by an order on book and pool, and by a firm quote.

Both are looked at in one state, and nothing changes it.
"""

from __future__ import annotations

from itertools import islice

from dex.errors.v1 import errors_pb2
from dex.matching.v1 import swap_pb2 as pb
from dexcore.accounts import Account
from dexcore.amm.router import Routed, route
from dexcore.book import BUY
from dexcore.exchange import Exchange
from dexcore.items import ACTION_PLACE, FOK, TYPE_LIMIT, TYPE_MARKET, Item
from dexcore.limits import INT64_MAX, MEETINGS_PER_ENTRY_MAX, PPM
from dexcore.market import Market, MarketStatus
from dexcore.quotes import Quote
from dexcore.reasons import Reason, Refused
from dexnode import quote_render
from dexnode.errors import rejection
from dexnode.ids import IdFormat


def quote_swap(
    exchange: Exchange,
    ids: IdFormat,
    market: Market,
    account: Account,
    side: int,
    quantity_lots: int,
) -> pb.QuoteSwapResponse:
    """Both, and which is better, in the state as it is."""
    response = pb.QuoteSwapResponse(
        market_id=market.spec.market_id,
        side=side,  # type: ignore[arg-type]
        quantity_lots=quantity_lots,
        order=_order(exchange, market, account, side, quantity_lots),
        sequence=exchange.sequence,
    )
    best = _best_quote(exchange, market, account, side, quantity_lots)
    if best is not None:
        found = response.quote
        _fill_quote(found, exchange, account, best, side)
        found.quote.CopyFrom(quote_render.open_quote(ids, best))
    response.better = _better(response)
    return response


def _better(response: pb.QuoteSwapResponse) -> pb.SwapSource.ValueType:
    order, quote = response.order, response.quote
    has_quote = response.HasField("quote") and not quote.HasField("rejection")
    if order.HasField("rejection"):
        return pb.SWAP_SOURCE_QUOTE if has_quote else pb.SWAP_SOURCE_UNSPECIFIED
    sign = 1 if response.side == BUY else -1
    # The quote at the same price: it cannot move.
    if has_quote and sign * quote.quote_atoms <= sign * order.quote_atoms:
        return pb.SWAP_SOURCE_QUOTE
    return pb.SWAP_SOURCE_ORDER


# --- by an order


def _order(
    exchange: Exchange, market: Market, account: Account, side: int, quantity_lots: int
) -> pb.SwapByOrder:
    parts = _route(market, side, quantity_lots) if market.status is MarketStatus.OPEN else []
    found = pb.SwapByOrder(
        book_lots=sum(part.quantity_lots for part in parts if not part.from_pool),
        pool_lots=sum(part.quantity_lots for part in parts if part.from_pool),
    )
    limit_ticks = _limit_ticks(market, side, parts, found.pool_lots)
    refused = _refusal(exchange, market, account, side, limit_ticks, quantity_lots)
    if (
        refused is not None
        and refused.reason is Reason.FILL_OR_KILL_UNFILLABLE
        and found.book_lots + found.pool_lots == quantity_lots
    ):
        # What the end of a range is rounded to may make a lot before the last the dearest.
        increment = market.price_increment_ticks
        limit_ticks = max(limit_ticks + (increment if side == BUY else -increment), increment)
        refused = _refusal(exchange, market, account, side, limit_ticks, quantity_lots)
    if parts:
        value = sum(part.price_ticks * part.quantity_lots for part in parts)
        found.limit_price_ticks = limit_ticks
        found.quote_atoms, found.fee_atoms = _in_all(market, side, value)
        found.limit_quote_atoms, _ = _in_all(market, side, quantity_lots * limit_ticks)
    if refused is not None:
        found.rejection.CopyFrom(rejection(refused.reason, refused.field))
    return found


def _route(market: Market, side: int, quantity_lots: int) -> list[Routed]:
    """What an order at any price would get, hidden lots included, as the matcher routes it."""
    levels = (
        (level.price_ticks, level.quantity_lots + level.hidden_lots)
        for level in market.book.opposite(side).levels.values()
    )
    swap = None if market.pool is None else market.pool.swap(side)
    worst_ticks = market.price_ticks_max if side == BUY else 1
    parts = route(swap, levels, side, worst_ticks, quantity_lots)
    # An order meets no more, and a run of the pool's lots is two of them at most.
    return list(islice(parts, 2 * MEETINGS_PER_ENTRY_MAX))


def _limit_ticks(market: Market, side: int, parts: list[Routed], pool_lots: int) -> int:
    """The limit at which an order gets all parts; zero without any.

    A run of the pool's lots trades at its mean price, and the last of them has a worse one.
    """
    prices = [part.price_ticks for part in parts if not part.from_pool][-1:]
    if market.pool is not None and pool_lots:
        swap = market.pool.swap(side)
        before_lots = pool_lots - market.quantity_increment_lots
        if before_lots:
            swap.take(before_lots)
        last_ticks = swap.next_price_ticks()
        if last_ticks is not None:
            prices.append(last_ticks)
    return (max if side == BUY else min)(prices, default=0)


def _refusal(
    exchange: Exchange,
    market: Market,
    account: Account,
    side: int,
    limit_ticks: int,
    quantity_lots: int,
) -> Refused | None:
    """Why the order would be refused now; None if it would not."""
    kind = TYPE_LIMIT if limit_ticks else TYPE_MARKET
    terms = (FOK, 0, market.index, limit_ticks, quantity_lots, 0, 0)
    item: Item = (ACTION_PLACE, side, kind, *terms)
    try:
        exchange.preview(account.key, item)
    except Refused as refused:
        return refused
    return None


# --- by a quote


def _best_quote(
    exchange: Exchange, market: Market, account: Account, side: int, quantity_lots: int
) -> Quote | None:
    """The best of the open quotes that the account may accept, the oldest of those."""
    found = [
        quote
        for request in exchange.quotes.requests_of(account.key)
        if request.market is market and request.quantity_lots == quantity_lots
        for quote in request.quotes.values()
        if _price_ticks(quote, side) and quote.account.owner != account.owner
    ]
    sign = 1 if side == BUY else -1
    return min(found, key=lambda each: (sign * _price_ticks(each, side), each.key), default=None)


def _price_ticks(quote: Quote, side: int) -> int:
    return quote.ask_price_ticks if side == BUY else quote.bid_price_ticks


def _fill_quote(
    found: pb.SwapByQuote, exchange: Exchange, account: Account, quote: Quote, side: int
) -> None:
    market, lots = quote.request.market, quote.request.quantity_lots
    found.price_ticks = _price_ticks(quote, side)
    found.quote_atoms, found.fee_atoms = _in_all(market, side, lots * found.price_ticks)
    asset = market.quote if side == BUY else market.base
    needed_atoms = found.quote_atoms if side == BUY else lots * market.base_atoms_per_lot
    cell = exchange.ledger.cells[account.key].get(asset.index)
    if market.status is not MarketStatus.OPEN:
        reason, field = errors_pb2.ERROR_REASON_MARKET_NOT_OPEN, "quote_acceptance.quote_id"
        found.rejection.CopyFrom(rejection(reason, field))
    elif cell is None or needed_atoms > cell.available:
        reason, field = errors_pb2.ERROR_REASON_INSUFFICIENT_FUNDS, "quote_acceptance.side"
        found.rejection.CopyFrom(rejection(reason, field))


def _in_all(market: Market, side: int, value_tick_lots: int) -> tuple[int, int]:
    """What a buyer pays or a seller gets for a value, and the taker fee in it, in quote atoms.

    A buy that is dearer than there is money is refused anyway: its figures end where messages do.
    """
    notional_atoms = value_tick_lots * market.quote_atoms_per_tick_lot
    fee_atoms = -(-notional_atoms * market.taker_fee_ppm // PPM)
    total_atoms = notional_atoms + fee_atoms if side == BUY else notional_atoms - fee_atoms
    return min(total_atoms, INT64_MAX), min(fee_atoms, INT64_MAX)
