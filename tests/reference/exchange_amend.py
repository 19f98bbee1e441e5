"""The naive twin changes open orders, by CME's priority rules."""

from __future__ import annotations

from tests.reference.exchange_books import Books
from tests.reference.exchange_entry import (
    NO_TERMS,
    Item,
    Terms,
    check_band,
    check_not_reached,
    check_notional,
)
from tests.reference.exchange_matching import enter
from tests.reference.exchange_orders import Order
from tests.reference.exchange_pool import best_met
from tests.reference.exchange_rules import (
    PARTS_MAX,
    PEGGED,
    STOP,
    STOP_LIMIT,
    TRAILING,
    No,
    Result,
    check_price,
    check_size,
)
from tests.reference.exchange_steps import peg_price, put_peg


def amend(books: Books, order: Order, item: Item, terms: Terms) -> Result:
    """Change an order as the item says."""
    market, price, size = order.market, item[6], item[7]
    if market.status != "OPEN" and not market.is_call:
        raise No("MARKET_NOT_OPEN", "market_id")
    if order.partner:
        raise No("OCO_BROKEN", "oco")
    trigger = _new_trigger(order, terms)
    before = order.limit if order.kind == PEGGED else order.price
    price = price or before
    if order.kind in (STOP, TRAILING):
        if price:
            raise No("FIELD_INVALID", "price_ticks")
    else:
        check_price(market.spec, price)
    check_size(market.spec, size)
    changed = _changed(order, price, size, trigger)
    if price:
        check_notional(market, changed, price)
        if price != before:
            check_band(market, price)
    _check_size(order, size)
    if trigger != order.trigger:
        check_not_reached(market, changed)
    if _keeps_its_place(order, changed):
        order.size, order.made = size, True
        return order.open_result()
    opposite = best_met(order)
    if order.post_only and opposite is not None and changed.crosses(opposite):
        raise No("POST_ONLY_WOULD_TAKE", "price_ticks")
    takes = opposite is not None and changed.crosses(opposite) and order in market.resting
    if takes and not market.is_call and not books.meetings_max() and order.kind != PEGGED:
        raise No("TOO_MANY_MEETINGS")
    if changed.worst() > books.available(order.owner, order.asset()) + order.holds():
        raise No("INSUFFICIENT_FUNDS", "quantity_lots")
    parked = order in market.parked
    order.price, order.limit, order.size = changed.price, changed.limit, size
    order.trigger = order.held_trigger = trigger
    order.made = False
    if order.kind == PEGGED:
        books.take_out(order)
        put_peg(books, order, peg_price(order))
        market.pegs_saw = None
    elif not parked:
        books.take_out(order)
        return enter(books, order)
    return order.open_result()


def _new_trigger(order: Order, terms: Terms) -> int:
    """Zero leaves it as it is; whatever else the terms say is nothing an amend can change."""
    trigger = terms[2]
    if (*terms[:2], 0, *terms[3:]) != NO_TERMS:
        raise No("FIELD_INVALID", "terms")
    if not trigger:
        return order.trigger
    # One that was triggered waits for nothing.
    if order.kind not in (STOP, STOP_LIMIT) or order not in order.market.parked:
        raise No("FIELD_INVALID", "trigger_price_ticks")
    check_price(order.market.spec, trigger, "trigger_price_ticks")
    return trigger


def _changed(order: Order, price: int, size: int, trigger: int) -> Order:
    """The order as it would be, to ask it what it needs; it is in no book."""
    changed = Order(**{**vars(order), "size": size, "trigger": trigger, "held_trigger": trigger})
    if order.kind == PEGGED:
        changed.limit = price
        changed.price = peg_price(changed) or 0
    else:
        changed.price = price
    return changed


def _check_size(order: Order, size: int) -> None:
    if size <= order.filled:
        raise No("AMEND_BELOW_FILLED", "quantity_lots")
    if order.display and size - order.filled > PARTS_MAX * order.display:
        raise No("FIELD_INVALID", "quantity_lots")


def _keeps_its_place(order: Order, changed: Order) -> bool:
    """A smaller quantity at the same price, a pegged order's limit, keeps the place."""
    pegged = order.kind == PEGGED
    same = changed.limit == order.limit if pegged else changed.price == order.price
    return same and changed.size <= order.size and order in order.market.resting
