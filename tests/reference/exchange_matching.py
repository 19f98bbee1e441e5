"""The naive twin takes: the front of the best level, one order after the other."""

from __future__ import annotations

from tests.reference.exchange_books import Books
from tests.reference.exchange_orders import Fill, Order
from tests.reference.exchange_pool import Swap
from tests.reference.exchange_rules import (
    BOTH,
    DECREMENT,
    FOK,
    IOC,
    MARKET,
    NEWEST,
    OLDEST,
    Result,
)


def enter(books: Books, order: Order) -> Result:
    """Take what the other side offers, then rest, end or expire; in a call phase only rest."""
    if order.market.is_call:
        books.rest(order)
        return order.open_result()
    fills, met_all = _take(books, order)
    if order.prevented:
        return _with(fills, books.close(order, "CANCELLED"))
    if not order.left:
        return _with(fills, books.close(order, "FILLED"))
    if order.tif in (IOC, FOK) or order.kind == MARKET or met_all:
        return _with(fills, books.close(order, "EXPIRED"))
    books.rest(order)
    return order.open_result(fills)


def _with(fills: tuple[Fill, ...], result: Result) -> Result:
    return result._replace(fills=fills)


def _take(books: Books, taker: Order) -> tuple[tuple[Fill, ...], bool]:
    """The fills, and whether it has met as many as one may and would meet more."""
    fills: list[Fill] = []
    market = taker.market
    swap = Swap(market, taker.side)
    met = 0
    while taker.left and not taker.prevented:
        queue = [o for o in market.queue(taker.other_side) if taker.crosses(o.price)]
        # Of pool and book what is better; at the same price the book is first.
        run = swap.lots_before(queue[0].price if queue else None, taker.price, taker.left)
        if not run and not queue:
            break
        if met == books.meetings_max():
            swap.settle()
            books.spend(market, met)
            return tuple(fills), True
        met += 1
        books.met += 1
        if run and market.pool:
            for price, lots in swap.take(run):
                fills.append(books.trade_with_pool(market.pool, taker, price, lots))
            continue
        maker = queue[0]
        if taker.stp and books.same_owner(taker.owner, maker.owner):
            _prevent(books, taker, maker)
            continue
        lots = min(taker.left, maker.shown)
        fills.append(books.trade(maker, taker, maker.price, lots, taker.taker_ppm))
        if not maker.left:
            books.close(maker, "FILLED")
        elif not maker.shown:
            # The next part is shown, at the tail of the level.
            books.take_out(maker)
            books.rest(maker)
    swap.settle()
    books.spend(market, met)
    return tuple(fills), False


def _prevent(books: Books, taker: Order, maker: Order) -> None:
    """Self-trade prevention, by the aggressor's mode."""
    ended = {
        NEWEST: (taker.left, 0),
        OLDEST: (0, maker.left),
        BOTH: (taker.left, maker.left),
        DECREMENT: (min(taker.left, maker.left),) * 2,
    }[taker.stp]
    who = (taker.market.index, taker.key, maker.key, taker.owner, maker.owner, taker.stp)
    books.deeds.prevented.append((*who, *ended))
    if taker.stp == DECREMENT:
        taker.size -= ended[0]
        maker.size -= ended[1]
    # An order ends when none of its lots go on.
    if taker.stp in (OLDEST, BOTH) or not maker.left:
        books.close(maker, "CANCELLED")
    taker.prevented = taker.stp in (NEWEST, BOTH) or not taker.left


def tradable(books: Books, taker: Order) -> list[tuple[int, int]]:
    """Lots and cost of each meeting that the taker would have as book and pool stand."""
    found: list[tuple[int, int]] = []
    left = taker.left
    swap = Swap(taker.market, taker.side)
    queue = [o for o in taker.market.queue(taker.other_side) if taker.crosses(o.price)]
    line = [(o, o.shown, o.left - o.shown) for o in queue]
    while left and len(found) < books.meetings_max():
        run = swap.lots_before(line[0][0].price if line else None, taker.price, left)
        if run:
            cost = sum(taker.cost(lots, price) for price, lots in swap.take(run))
            found.append((run, cost))
            left -= run
            continue
        if not line:
            break
        maker, shown, hidden = line.pop(0)
        if taker.stp and books.same_owner(taker.owner, maker.owner):
            found.append((0, 0))
            if taker.stp in (NEWEST, BOTH):
                break
            if taker.stp == DECREMENT:
                left -= min(left, maker.left)
            continue
        lots = min(left, shown)
        found.append((lots, taker.cost(lots, maker.price)))
        left -= lots
        if hidden:
            # The next part is shown behind all that stands at this price.
            part = min(maker.display, hidden)
            tail = sum(each[0].price == maker.price for each in line)
            line.insert(tail, (maker, part, hidden - part))
    return found
