"""The naive twin takes new orders in: every filter, in the order in which they refuse."""

from __future__ import annotations

from typing import NamedTuple

from tests.reference.exchange_books import Books
from tests.reference.exchange_matching import enter, tradable
from tests.reference.exchange_orders import Market, Order
from tests.reference.exchange_pool import best_met
from tests.reference.exchange_rules import (
    AT_CLOSE,
    AT_OPEN,
    BUY,
    DAY,
    DAY_NS,
    DECREMENT,
    FOK,
    GTC,
    GTD,
    HAS_TERMS,
    IOC,
    LASTING,
    LIMIT,
    MARKET,
    MIDPOINT,
    OCO,
    PARTS_MAX,
    PEGGED,
    POST_ONLY,
    SELL,
    SLIDE,
    STOP,
    STOP_LIMIT,
    STOPS,
    TRAILING,
    No,
    Result,
    check_price,
    check_size,
    valid_price,
)
from tests.reference.exchange_steps import peg_price, put_peg

Item = tuple[int, ...]
Terms = tuple[int, ...]
NO_TERMS: Terms = (0,) * 8
OPEN_ORDERS_MAX = 20_000


class Wish(NamedTuple):
    """What an item and its terms say, by name."""

    side: int
    kind: int
    tif: int
    flags: int
    market: int
    price: int
    size: int
    client_id: int
    display: int
    least: int
    trigger: int
    trail: int
    offset: int
    ends_ns: int
    stp: int
    peg: int

    @classmethod
    def of(cls, item: Item, terms: Terms) -> Wish:
        return cls(*item[1:9], *terms)

    @property
    def post_only(self) -> bool:
        return bool(self.flags & POST_ONLY)

    @property
    def has_price(self) -> bool:
        """Whether a limit is part of the order."""
        return self.kind in (LIMIT, STOP_LIMIT, PEGGED)


def place(
    books: Books, owner: int, key: int, wish: Wish, first: Order | None
) -> tuple[Order, Result]:
    """Take a new order in; `first` is the order that the item before it placed, if any."""
    market = books.market(wish.market)
    if market.spec["kind"] == 2:
        raise No("MARKET_IS_EXTERNAL", "market_id")
    if market.status != "OPEN" and not market.is_call:
        raise No("MARKET_NOT_OPEN", "market_id")
    check_terms(market, wish, books.time_ns)
    if wish.flags & OCO and not _makes_a_pair(owner, wish, first):
        raise No("OCO_BROKEN", "oco")
    check_size(market.spec, wish.size)
    check_prices(market, wish)
    check_old_combinations(wish)
    order = _order(books, owner, key, wish)
    if wish.has_price:
        check_notional(market, order, wish.price)
        check_band(market, wish.price)
    _check_account(books, order)
    _check_reference(market, order)
    _check_book(books, order, wish)
    if wish.flags & OCO:
        order.partner = first
    _check_funds(books, order)
    if order.partner:
        order.partner.partner = order
    return order, _bring_in(books, order)


def _bring_in(books: Books, order: Order) -> Result:
    market = order.market
    if order.kind == PEGGED:
        put_peg(books, order, peg_price(order))
        market.pegs_saw = None
        return order.open_result()
    if order.is_stop or (order.tif == AT_CLOSE and not market.is_call):
        market.parked.append(order)
        return order.open_result()
    return enter(books, order)


def _order(books: Books, owner: int, key: int, wish: Wish) -> Order:
    market = books.markets[wish.market]
    order = Order(
        key,
        owner,
        market,
        wish.side,
        wish.kind,
        wish.tif,
        wish.price,
        wish.size,
        wish.client_id,
        wish.post_only,
        market.maker_ppm,
        market.taker_ppm,
        stp=wish.stp,
        display=wish.display,
        trigger=wish.trigger,
        trail=wish.trail,
        band=market.protection,
        peg=wish.peg,
        offset=wish.offset,
        limit=wish.price,
    )
    if wish.tif == GTD:
        order.ends_ns = wish.ends_ns
    elif wish.tif == DAY:
        order.ends_ns = (books.time_ns // DAY_NS + 1) * DAY_NS
    if order.kind == TRAILING and market.last:
        sign = 1 if order.side == BUY else -1
        order.trigger = market.last + sign * order.trail
    order.held_trigger = order.trigger
    if order.kind == PEGGED:
        order.price = 0
    return order


# --- terms


def check_terms(market: Market, wish: Wish, time_ns: int) -> None:
    """What an order says must make sense, alone and in this phase."""
    for value, known, where in (
        (wish.side, (BUY, SELL), "side"),
        (wish.kind, (LIMIT, MARKET, *STOPS, PEGGED), "type"),
        (wish.tif, (GTC, IOC, FOK, DAY, GTD, AT_OPEN, AT_CLOSE), "time_in_force"),
    ):
        if value not in known:
            raise No("FIELD_INVALID", where)
    _check_flags(wish)
    _check_fields(market, wish, time_ns)
    _check_times(market, wish)


def _check_flags(wish: Wish) -> None:
    if wish.flags > POST_ONLY + SLIDE + HAS_TERMS + OCO:
        raise No("FIELD_INVALID", "terms")
    if wish.flags & SLIDE and not wish.post_only:
        raise No("FIELD_INVALID", "slide")
    if wish.post_only and wish.kind not in (LIMIT, MARKET):
        raise No("FIELD_INVALID", "post_only")


def _check_fields(market: Market, wish: Wish, time_ns: int) -> None:
    """A field that the order has no use for must be zero, then the others must make sense."""
    lot = market.spec["quantity_increment_lots"]
    for said, is_wrong, where in (
        (wish.display, wish.kind != LIMIT, "display_lots"),
        (wish.least, wish.kind not in (LIMIT, MARKET), "min_lots"),
        (wish.trigger, wish.kind not in (STOP, STOP_LIMIT), "trigger_price_ticks"),
        (wish.trail, wish.kind != TRAILING, "trail_ticks"),
        (wish.offset, wish.kind != PEGGED, "peg_offset_ticks"),
        (wish.ends_ns, wish.tif != GTD, "expire_time"),
        (wish.peg, wish.kind != PEGGED, "peg"),
        (wish.display, not 0 < wish.display <= wish.size or wish.display % lot, "display_lots"),
        (wish.display, wish.size > PARTS_MAX * wish.display, "display_lots"),
        (wish.least, not 0 < wish.least <= wish.size, "min_lots"),
        (wish.least, wish.tif == FOK or wish.post_only, "min_lots"),
        (wish.stp, wish.stp > DECREMENT, "self_trade_prevention"),
        (wish.kind == PEGGED, not 1 <= wish.peg <= MIDPOINT, "peg"),
        (wish.tif == GTD, wish.ends_ns <= time_ns, "expire_time"),
    ):
        if said and is_wrong:
            raise No("FIELD_INVALID", where)


def _check_times(market: Market, wish: Wish) -> None:
    """Which time in force goes with which kind, in which phase."""
    no = No("TIME_IN_FORCE_INVALID", "time_in_force")
    tif = wish.tif
    at_auction = tif in (AT_OPEN, AT_CLOSE)
    if at_auction and wish.kind not in (LIMIT, MARKET):
        raise no
    if tif in (IOC, FOK) and wish.kind in (STOP, TRAILING, PEGGED):
        raise no
    if wish.display and tif not in LASTING:
        raise no
    if tif == AT_OPEN and market.status != "OPENING_AUCTION":
        raise no
    if tif == AT_CLOSE and market.status not in ("OPEN", "CLOSING_AUCTION"):
        raise no
    if market.is_call:
        if tif in (IOC, FOK) and wish.kind in (LIMIT, MARKET):
            raise no
        if wish.post_only or wish.kind == PEGGED:
            raise No("TIME_IN_FORCE_INVALID", "post_only" if wish.post_only else "type")


def check_old_combinations(wish: Wish) -> None:
    """What the first release refused behind quantity and price."""
    if wish.kind == MARKET:
        if wish.price:
            raise No("FIELD_INVALID", "price_ticks")
        if wish.tif in LASTING:
            raise No("TIME_IN_FORCE_INVALID", "time_in_force")
        if wish.post_only:
            raise No("TIME_IN_FORCE_INVALID", "post_only")
    elif wish.post_only and wish.tif not in LASTING:
        raise No("TIME_IN_FORCE_INVALID", "post_only")


def _makes_a_pair(owner: int, wish: Wish, first: Order | None) -> bool:
    """Whether the order before is a limit that rests whole, and this is the stop for it."""
    return (
        first is not None
        and wish.kind in STOPS
        and first.kind == LIMIT
        and first in first.market.resting
        and (first.filled, first.partner) == (0, None)
        and (first.owner, first.market.index, first.side, first.left)
        == (owner, wish.market, wish.side, wish.size)
    )


# --- prices and sizes


def check_prices(market: Market, wish: Wish) -> None:
    """Range and increment of the limit, the trigger, the trail and the peg's offset."""
    if wish.has_price:
        check_price(market.spec, wish.price)
    elif wish.price and wish.kind != MARKET:
        raise No("FIELD_INVALID", "price_ticks")
    if wish.kind in (STOP, STOP_LIMIT):
        check_price(market.spec, wish.trigger, "trigger_price_ticks")
    if wish.kind == TRAILING:
        check_price(market.spec, wish.trail, "trail_ticks")
    if wish.kind == PEGGED:
        away = wish.offset if wish.side == SELL else -wish.offset
        if away < 0:
            raise No("FIELD_INVALID", "peg_offset_ticks")
        if away > market.spec["price_ticks_max"]:
            raise No("PRICE_OUT_OF_RANGE", "peg_offset_ticks")
        if away % market.increment:
            raise No("PRICE_OFF_TICK", "peg_offset_ticks")


def check_notional(market: Market, order: Order, price: int) -> None:
    notional = order.cost(order.size, price)
    if notional < market.notional_min or 0 < market.notional_max < notional:
        raise No("NOTIONAL_OUT_OF_RANGE", "quantity_lots")


def check_band(market: Market, price: int) -> None:
    far = abs(price - market.last) * 1_000_000 > market.last * market.band_ppm
    if market.band_ppm and market.last and far:
        raise No("PRICE_OUT_OF_BAND", "price_ticks")


# --- the account, the reference, the book


def _check_account(books: Books, order: Order) -> None:
    own = books.open_orders(order.owner)
    if order.client_id < 0:
        raise No("FIELD_INVALID", "client_order_id")
    if order.client_id and order.client_id in [o.client_id for o in own]:
        raise No("CLIENT_ORDER_ID_IN_USE", "client_order_id")
    if len(own) >= OPEN_ORDERS_MAX:
        raise No("TOO_MANY_OPEN_ORDERS")
    if order.kind in (TRAILING, PEGGED):
        market = order.market
        alike = [o for o in [*market.resting, *market.parked] if o.kind == order.kind]
        own_alike = [o for o in alike if o.owner == order.owner]
        bounds = books.bounds
        if len(alike) >= bounds.of_market or len(own_alike) >= bounds.of_account:
            raise No("TOO_MANY_PARKED")


def _check_reference(market: Market, order: Order) -> None:
    """What needs a band or a last price; and a stop that would be triggered at once."""
    if order.kind in (STOP, TRAILING) and not market.protection:
        raise No("PROTECTION_REQUIRED", "type")
    if order.kind == TRAILING and not market.last:
        raise No("NO_REFERENCE_PRICE", "type")
    if order.is_stop:
        check_not_reached(market, order)


def check_not_reached(market: Market, order: Order) -> None:
    if not market.last:
        return
    reached = order.trigger <= market.last if order.side == BUY else order.trigger >= market.last
    if reached or market.is_due(order.side, order.trigger):
        raise No("STOP_WOULD_TRIGGER", "trigger_price_ticks")


def _check_book(books: Books, order: Order, wish: Wish) -> None:
    """Post-only, liquidity, fill or kill, minimum quantity."""
    market = order.market
    opposite = best_met(order)
    if order.post_only and opposite is not None and order.crosses(opposite):
        step = market.increment
        order.price = opposite - step if order.side == BUY else opposite + step
        if not wish.flags & SLIDE or not valid_price(market.spec, order.price):
            raise No("POST_ONLY_WOULD_TAKE", "post_only")
    if order.kind == MARKET:
        if order.tif in (AT_OPEN, AT_CLOSE):
            if not (market.last and market.protection):
                raise No("NO_REFERENCE_PRICE", "type")
            order.price = market.banded(order.side, market.last, market.protection)
        elif opposite is None:
            raise No("NO_LIQUIDITY")
        elif market.protection:
            order.price = market.banded(order.side, opposite, market.protection)
    if order.is_stop:
        return
    enters = not market.is_call and order.tif != AT_CLOSE and order.kind != PEGGED
    found: list[tuple[int, int]] = []
    is_counted = order.tif == FOK or wish.least or (order.kind == MARKET and order.side == BUY)
    if enters and not books.meetings_max():
        takes = opposite is not None and order.crosses(opposite)
        if is_counted or takes or order.kind == MARKET:
            raise No("TOO_MANY_MEETINGS")
    if enters and is_counted:
        found = tradable(books, order)
        books.spend(market, len(found))
    lots = sum(lots for lots, _ in found)
    if order.tif == FOK and lots < order.size:
        raise No("FILL_OR_KILL_UNFILLABLE", "quantity_lots")
    if lots < wish.least:
        raise No("MIN_QUANTITY_UNFILLABLE", "min_lots")


def _check_funds(books: Books, order: Order) -> None:
    needed = order.holds()
    if order.kind == MARKET and order.tif in (IOC, FOK):
        needed = order.worst(sum(cost for _, cost in tradable(books, order)))
    if needed > books.available(order.owner, order.asset()):
        raise No("INSUFFICIENT_FUNDS", "quantity_lots")
