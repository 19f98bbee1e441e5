"""The naive twin's call auction: every price is tried."""

from __future__ import annotations

from tests.reference.exchange_books import Books
from tests.reference.exchange_matching import enter
from tests.reference.exchange_orders import Market
from tests.reference.exchange_rules import AT_CLOSE, AT_OPEN, BUY, CALLS, DAY, SELL
from tests.reference.exchange_steps import by_key, end_step


def auction_price(market: Market) -> tuple[int, int] | None:
    """The uncross price and its executable lots; None when the book is not crossed."""
    bid, ask = market.best(BUY), market.best(SELL)
    if bid is None or ask is None or bid < ask:
        return None
    tried = []
    for price in range(ask, bid + 1, market.increment):
        bids = sum(o.left for o in market.resting if o.side == BUY and o.price >= price)
        asks = sum(o.left for o in market.resting if o.side == SELL and o.price <= price)
        distance = abs(price - market.last) if market.last else 0
        tried.append((-min(bids, asks), abs(bids - asks), distance, price))
    best = min(tried)
    return best[3], -best[0]


def set_status(books: Books, market: Market, status: str) -> None:
    """Move a market to another phase, with everything that happens on the way."""
    was = market.status
    if status in ("OPEN", "CLOSED") and market.uncross_due:
        _uncross(books, market)
        market.status = status
        end_step(books)
    market.status = status
    market.uncross_due |= status in CALLS
    if status == "CLOSING_AUCTION" and was != status:
        for order in by_key([o for o in market.parked if o.tif == AT_CLOSE]):
            market.parked.remove(order)
            enter(books, order)
    if status == "CLOSED":
        _expire(books, market, DAY, AT_CLOSE)
    end_step(books)


def _uncross(books: Books, market: Market) -> None:
    """Trade the crossed part of the book at one price; what the auction leaves expires."""
    found = auction_price(market)
    if found:
        price = found[0]
        bids = [o for o in market.queue(BUY) if o.price >= price]
        asks = [o for o in market.queue(SELL) if o.price <= price]
        while bids and asks:
            taker, maker = sorted((bids[0], asks[0]), key=lambda o: -o.key)
            lots = min(taker.left, maker.left)
            books.trade(maker, taker, price, lots, taker.maker_ppm)
            for side in (bids, asks):
                order = side[0]
                if order.left:
                    order.part = min(order.display, order.left)
                else:
                    books.close(side.pop(0), "FILLED")
    market.uncross_due = False
    for order in market.resting:
        order.made = True
    _expire(books, market, AT_OPEN, AT_CLOSE, parked=False)


def _expire(books: Books, market: Market, *tifs: int, parked: bool = True) -> None:
    orders = [*market.resting, *(market.parked if parked else ())]
    for order in by_key([o for o in orders if o.tif in tifs]):
        books.close(order, "EXPIRED")
