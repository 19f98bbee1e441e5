"""Random items of orders of every kind, valid and not, that meet each other often.

Prices are a few increments around one price, and sizes a few lots, so that orders trade, rest in
each other's way, are triggered and come too late.
"""

from __future__ import annotations

import random
from typing import Any

from dexcore.exchange import Exchange
from dexcore.items import (
    ACTION_PLACE,
    AT_CLOSE,
    AT_OPEN,
    DAY,
    FOK,
    GTC,
    GTD,
    HAS_TERMS,
    IOC,
    NO_MARKET,
    NO_TERMS,
    OCO,
    PEG_MIDPOINT,
    PEG_PRIMARY,
    POST_ONLY,
    SLIDE,
    STP_DECREMENT,
    STP_NONE,
    TYPE_LIMIT,
    TYPE_MARKET,
    TYPE_PEGGED,
    TYPE_STOP,
    TYPE_STOP_LIMIT,
    TYPE_TRAILING_STOP,
    Item,
    Terms,
)
from dexcore.market import Market, MarketStatus
from tests.unit.core.exchanges import BUY, SECOND_NS, SELL

Said = tuple[Item, Terms]
MIDDLE_TICKS = 100
CALLS = (MarketStatus.OPENING_AUCTION, MarketStatus.CLOSING_AUCTION)
STOPS = (TYPE_STOP, TYPE_STOP_LIMIT, TYPE_TRAILING_STOP)
LASTING: tuple[int, ...] = (GTC, DAY, GTD)


def packed(said: Said) -> tuple[Item, Terms | None]:
    """The item with the flag that says whether it has terms, and these."""
    item, terms = said
    if terms == NO_TERMS:
        return item, None
    return (*item[:4], item[4] | HAS_TERMS, *item[5:]), terms


class OrderMaker:
    """Random orders, and changes of stops, about the markets of an exchange."""

    def __init__(self, chance: random.Random, exchange: Exchange) -> None:
        self.chance = chance
        self.exchange = exchange
        self.time_ns = 0

    def often(self, good: Any, *odd: Any) -> Any:
        """The good value nearly always, now and then an odd one."""
        return good if self.chance.random() < 0.995 else self.chance.choice(odd)

    def orders(self, time_ns: int) -> list[Said]:
        """An order, or a pair of which one cancels the other."""
        self.time_ns = time_ns
        chance = self.chance
        index = chance.choices((0, 1, 2), (6, 3, 2))[0]
        if chance.random() < 0.05:
            return self._pair(index)
        kind = chance.choices(
            (
                TYPE_LIMIT,
                TYPE_MARKET,
                TYPE_STOP,
                TYPE_STOP_LIMIT,
                TYPE_TRAILING_STOP,
                TYPE_PEGGED,
            ),
            (30, 4, 3, 3, 2, 3),
        )[0]
        return [self._order(index, kind)]

    def _pair(self, index: int) -> list[Said]:
        """A limit away from the market and a stop on the other side of it."""
        chance = self.chance
        step = 5 if index == 1 else 1
        side = chance.choice((BUY, SELL))
        lots = self._lots(index)
        away = (-1 if side == BUY else 1) * step * chance.randint(3, 12)
        limit, limit_terms = self._order(index, TYPE_LIMIT)
        tif = self.often(chance.choice(LASTING), IOC, AT_CLOSE)
        limit = (
            ACTION_PLACE,
            side,
            TYPE_LIMIT,
            tif,
            0,
            index,
            self._last(index) + away,
            *limit[7:],
        )
        limit = (*limit[:7], lots, *limit[8:])
        limit_terms = (0, 0, 0, 0, 0, self._ends(tif), limit_terms[6], 0)
        stop, stop_terms = self._order(index, chance.choice(STOPS), side)
        stop = (*stop[:4], stop[4] | OCO, *stop[5:7], self.often(lots, lots + 10), *stop[8:])
        return [(limit, limit_terms), (stop, stop_terms)]

    def _order(self, index: int, kind: int, side: int = 0) -> Said:
        chance = self.chance
        market = self.exchange.markets[index]
        side = side or chance.choice((BUY, SELL))
        lots = self._lots(index)
        tif = self._tif(market, kind)
        flags = 0
        if kind == TYPE_LIMIT and tif in LASTING and market.status not in CALLS:
            flags = chance.choices((0, POST_ONLY, POST_ONLY | SLIDE), (8, 1, 1))[0]
        flags = self.often(flags, POST_ONLY, SLIDE, OCO, 16)
        price = self._price(index) if kind in (TYPE_LIMIT, TYPE_STOP_LIMIT, TYPE_PEGGED) else 0
        item = (
            self.often(ACTION_PLACE, 0, 5, 255),
            self.often(side, 0, 3),
            self.often(kind, 0, 7, 200),
            self.often(tif, 0, 8, IOC, FOK, AT_OPEN, AT_CLOSE),
            flags,
            self.often(index, 3, 4, NO_MARKET),
            self.often(price, 0, -1, 3, 1_000, 1_001, 2**63 - 1),
            self.often(lots, 0, -1, 7, 500, 501, 2**63 - 1),
            self.often(chance.choice((0, chance.randint(1, 30))), -1),
            0,
        )
        return item, self._terms(index, kind, side, lots, tif)

    def _terms(self, index: int, kind: int, side: int, lots: int, tif: int) -> Terms:
        chance = self.chance
        step, lot = (5, 10) if index == 1 else (1, 1)
        display = least = trigger = trail = offset = peg = 0
        if kind == TYPE_LIMIT and tif in LASTING and chance.random() < 0.2:
            display = lot * chance.randint(1, max(1, lots // lot // 2))
        if (tif == IOC and kind in (TYPE_LIMIT, TYPE_MARKET)) or chance.random() < 0.02:
            least = chance.choice((0, lots // lot // 2 * lot, lots))
        if kind in (TYPE_STOP, TYPE_STOP_LIMIT):
            trigger = self._trigger(index, side)
        if kind == TYPE_TRAILING_STOP:
            trail = step * chance.randint(1, 6)
        if kind == TYPE_PEGGED:
            peg = chance.randint(PEG_PRIMARY, PEG_MIDPOINT)
            offset = (-1 if side == BUY else 1) * step * chance.choice((0, 0, 1, 3))
        return (
            self.often(display, lots, lots + 1, -1, 7),
            self.often(least, lots, lots + 1, -1),
            self.often(trigger, 0, -1, 3, 1_001, MIDDLE_TICKS),
            self.often(trail, 0, -1, 3, 2_000),
            self.often(offset, -5, 5, 3, 2_000),
            self.often(self._ends(tif), 1, self.time_ns),
            self.often(chance.choice((STP_NONE, chance.randint(STP_NONE, STP_DECREMENT))), 5, 255),
            self.often(peg, 0, 1, 4),
        )

    def amended(self, terms_of: Any) -> Terms:
        """Terms of an amend: nearly always none, or another trigger of a stop."""
        trigger = terms_of.trigger_price_ticks if terms_of is not None else 0
        if not trigger or self.chance.random() < 0.5:
            odd = ((0, 0, MIDDLE_TICKS, 0, 0, 0, 0, 0), (1, 0, 0, 0, 0, 0, 0, 0))
            return NO_TERMS if self.chance.random() < 0.98 else self.chance.choice(odd)
        trigger += self.chance.randint(-2, 2) * self.often(5, 1)
        return (0, 0, trigger, *NO_TERMS[3:])

    def _tif(self, market: Market, kind: int) -> int:
        chance = self.chance
        call = market.status in CALLS
        at_auction: int = AT_CLOSE
        if market.status is MarketStatus.OPENING_AUCTION:
            at_auction = AT_OPEN
        if kind == TYPE_LIMIT:
            now: tuple[int, ...] = (at_auction,) if call else (IOC, FOK, AT_CLOSE)
            return chance.choice((*LASTING, *LASTING, *now))
        if kind == TYPE_MARKET:
            return at_auction if call else chance.choice((IOC, FOK, IOC, FOK, AT_CLOSE))
        if kind == TYPE_STOP_LIMIT:
            return chance.choice((*LASTING, *LASTING, IOC, FOK))
        return chance.choice(LASTING)

    def _ends(self, tif: int) -> int:
        return self.time_ns + self.chance.choice((1, 60, 900)) * SECOND_NS if tif == GTD else 0

    def _last(self, index: int) -> int:
        return self.exchange.markets[index].last_price_ticks or MIDDLE_TICKS

    def _lots(self, index: int) -> int:
        """Of the lot increment, nearly always."""
        return self.chance.randint(1, 20) * (self.often(10, 7) if index == 1 else 1)

    def _price(self, index: int) -> int:
        return MIDDLE_TICKS + (5 if index == 1 else 1) * self.chance.randint(-5, 5)

    def _trigger(self, index: int, side: int) -> int:
        """Nearly always where the last price has not been yet."""
        away = (5 if index == 1 else 1) * self.chance.randint(1, 5)
        return self._last(index) + (away if (side == BUY) == bool(self.often(1, 0)) else -away)
