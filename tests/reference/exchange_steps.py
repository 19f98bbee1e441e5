"""The naive twin after a step: pairs, triggers, trailing marks, pegs, and what was triggered."""

from __future__ import annotations

from tests.reference.exchange_books import Books
from tests.reference.exchange_matching import enter, tradable
from tests.reference.exchange_orders import Market, Order
from tests.reference.exchange_rules import (
    BUY,
    FOK,
    IOC,
    MIDPOINT,
    PEGGED,
    PRIMARY,
    SELL,
    STOP,
    TRAILING,
    valid_price,
)


def end_step(books: Books) -> None:
    """Run whatever the step set off, in each market as far as the command may."""
    for market in books.markets:
        while True:
            _end_broken_pairs(books, market)
            _reach(market)
            _move_marks(market)
            market.step_prices = []
            due = [order for order in by_key(market.parked) if order.is_due]
            if not due:
                market.due_prices = []
                break
            if market.status != "OPEN" or books.stops_run >= books.bounds.stops:
                break
            if books.met >= books.bounds.before_stops:
                break
            books.stops_run += 1
            _trigger(books, due[0])
            _run(books, due[0])


def begin_command(books: Books) -> None:
    """Go on with the stops that earlier commands left."""
    books.stops_run = books.met = 0
    end_step(books)


def end_command(books: Books) -> None:
    """Pegged orders look once, at what the whole command left."""
    for market in books.markets:
        _price_pegs(books, market)


def by_key(orders: list[Order]) -> list[Order]:
    return sorted(orders, key=lambda order: order.key)


def _end_broken_pairs(books: Books, market: Market) -> None:
    """The first fill or end of the limit cancels the stop; the end of the stop frees the limit."""
    for stop in by_key(market.parked):
        limit = stop.partner
        if stop.is_stop and limit and (limit.filled or limit not in market.resting):
            books.close(stop, "CANCELLED")
    for limit in market.resting:
        if limit.partner and limit.partner not in market.parked:
            limit.partner = None


def _reach(market: Market) -> None:
    """What the step traded makes stops due; a trailing one trails no more then."""
    if market.status != "OPEN" or not market.step_prices:
        return
    high, low = max(market.step_prices), min(market.step_prices)
    for order in market.parked:
        if order.kind == TRAILING:
            order.stuck |= order.trigger <= high if order.side == BUY else order.trigger >= low
    market.due_prices += market.step_prices


def _trigger(books: Books, order: Order) -> None:
    """A stop leaves the park."""
    books.deeds.triggered.append(order.key)
    order.market.parked.remove(order)
    if order.partner:
        books.close(order.partner, "CANCELLED")
        order.partner = None


def _move_marks(market: Market) -> None:
    """The trigger of a trailing stop follows what was traded."""
    for order in market.parked:
        if order.kind == TRAILING and not order.stuck and market.step_prices:
            if order.side == SELL:
                order.trigger = max(order.trigger, max(market.step_prices) - order.trail)
            else:
                order.trigger = min(order.trigger, min(market.step_prices) + order.trail)


def _run(books: Books, order: Order) -> None:
    """A triggered order enters, or expires if it cannot."""
    if order.kind in (STOP, TRAILING):
        order.price = order.market.banded(order.side, order.trigger, order.band)
        order.tif = IOC
    if order.tif == FOK:
        found = tradable(books, order)
        books.met += len(found)
        if sum(lots for lots, _ in found) < order.left:
            books.close(order, "EXPIRED")
            return
    enter(books, order)


def _price_pegs(books: Books, market: Market) -> None:
    """Put every pegged order where it belongs now, if a best unpegged price changed."""
    if market.status != "OPEN":
        # All are priced when it opens.
        market.pegs_saw = None
        return
    sees = (market.best(BUY, unpegged=True), market.best(SELL, unpegged=True))
    if sees == market.pegs_saw:
        return
    market.pegs_saw = sees
    pegs = [order for order in [*market.resting, *market.parked] if order.kind == PEGGED]
    for order in by_key(pegs):
        price = peg_price(order)
        if price != (order.price or None):
            books.take_out(order)
            put_peg(books, order, price)


def put_peg(books: Books, order: Order, price: int | None) -> None:
    """Rest a pegged order at its price, or park it when it has none."""
    order.price = price or 0
    if price:
        books.rest(order)
    else:
        order.market.parked.append(order)


def peg_price(order: Order) -> int | None:
    """Where a pegged order belongs as the book stands; None when it must wait."""
    market, step = order.market, order.market.increment
    own = market.best(order.side, unpegged=True)
    other = market.best(order.other_side, unpegged=True)
    if order.peg == MIDPOINT:
        if own is None or other is None:
            return None
        # Floor for a buy, ceiling for a sell.
        middle = (own + other) // (2 * step) * step
        if order.side == SELL and 2 * middle < own + other:
            middle += step
        reference: int | None = middle
    else:
        reference = own if order.peg == PRIMARY else other
    if reference is None:
        return None
    price = reference + order.offset
    opposite = market.best(order.other_side)
    if order.side == BUY:
        price = min(price, order.limit)
        if opposite is not None:
            price = min(price, opposite - step)
    else:
        price = max(price, order.limit)
        if opposite is not None:
            price = max(price, opposite + step)
    return price if valid_price(market.spec, price) else None
