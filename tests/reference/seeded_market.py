"""One seeded day of a market with plain limit orders: commands, and the events they must give.

Independent of the product: the commands come from a :class:`random.Random`, and cancels and takers
look at the plain book of this file, whose events are the expectation. Equal seeds give equal
records in every version of Python, since only `random`, `randrange` are asked, in this order.

An event is five integers: (RESTS, order, 0, price, lots left), (TRADES, maker, taker, price, lots),
(CANCELLED, order, 0, price, lots left), (REFUSED, order, one of the REASONS, 0, 0) and
(EXPIRES, order, 0, 0, lots left).
"""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, NamedTuple

RECORD: Final = struct.Struct("<BBBxIqqq")
EVENT: Final = struct.Struct("<5q")
NEW, CANCEL = 0, 1
BUY, SELL = 0, 1
GTC, IOC, FOK, POST_ONLY = 0, 1, 2, 3
RESTS, TRADES, CANCELLED, REFUSED, EXPIRES = 1, 2, 3, 4, 5
UNKNOWN_ORDER, UNFILLABLE, WOULD_TAKE = 1, 2, 3

PRICE_MIN, PRICE_MAX = 9_500, 10_499
ACCOUNTS: Final = 1_000
SEED: Final = 42

Event = tuple[int, int, int, int, int]


class Record(NamedTuple):
    """One command; a cancel has no more than the order's number."""

    kind: int
    side: int
    tif: int
    account: int
    order: int
    price: int
    lots: int


class PlainBook:
    """A book as one would write it down: a queue for each price, the best found by walking."""

    def __init__(self) -> None:
        # order -> [side, price, lots left]; queues are dicts, which keep their order.
        self.orders: dict[int, list[int]] = {}
        self.queues: tuple[dict[int, dict[int, None]], ...] = tuple(
            {price: {} for price in range(PRICE_MIN, PRICE_MAX + 1)} for _ in (BUY, SELL)
        )
        # No price of the side is better than this.
        self._bound = [PRICE_MIN, PRICE_MAX]
        self.events: list[Event] = []

    def best(self, side: int) -> int | None:
        """Best price of the side."""
        step, last = (-1, PRICE_MIN) if side == BUY else (1, PRICE_MAX)
        queues = self.queues[side]
        for price in range(self._bound[side], last + step, step):
            if queues[price]:
                self._bound[side] = price
                return price
        self._bound[side] = last
        return None

    def place(self, order: int, side: int, price: int, lots: int, tif: int) -> None:
        """A new order."""
        other = 1 - side
        if tif == POST_ONLY and self._takes(side, price):
            self.events.append((REFUSED, order, WOULD_TAKE, 0, 0))
            return
        if tif == FOK and self._offered(other, price, lots) < lots:
            self.events.append((REFUSED, order, UNFILLABLE, 0, 0))
            return
        while lots and self._takes(side, price):
            level = self.best(other)
            assert level is not None
            maker = next(iter(self.queues[other][level]))
            terms = self.orders[maker]
            traded = min(terms[2], lots)
            terms[2] -= traded
            lots -= traded
            self.events.append((TRADES, maker, order, level, traded))
            if not terms[2]:
                self._drop(maker)
        if lots and tif in (GTC, POST_ONLY):
            self.orders[order] = [side, price, lots]
            self.queues[side][price][order] = None
            better = max if side == BUY else min
            self._bound[side] = better(self._bound[side], price)
            self.events.append((RESTS, order, 0, price, lots))
        elif lots:
            self.events.append((EXPIRES, order, 0, 0, lots))

    def cancel(self, order: int) -> None:
        """End an order that rests."""
        if order not in self.orders:
            self.events.append((REFUSED, order, UNKNOWN_ORDER, 0, 0))
            return
        _, price, lots = self.orders[order]
        self._drop(order)
        self.events.append((CANCELLED, order, 0, price, lots))

    def _takes(self, side: int, price: int) -> bool:
        best = self.best(1 - side)
        return best is not None and (best <= price if side == BUY else best >= price)

    def _offered(self, side: int, price: int, enough: int) -> int:
        """Lots the side offers at the price or better, or some number no less than enough."""
        step, best = (1 if side == SELL else -1), self.best(side)
        lots = 0
        if best is None:
            return 0
        for level in range(best, price + step, step):
            lots += sum(self.orders[order][2] for order in self.queues[side][level])
            if lots >= enough:
                break
        return lots

    def _drop(self, order: int) -> None:
        side, price, _ = self.orders.pop(order)
        del self.queues[side][price][order]


class SeededMarket:
    """The commands of the day, one after the other; `book` is as it is behind the last."""

    def __init__(self, seed: int = SEED) -> None:
        self._chance = random.Random(seed)
        self.book = PlainBook()
        self._middle = 10_000
        self._number = 0
        # Orders that rested once, some of them ended since.
        self._rested: list[int] = []
        self._recent: deque[int] = deque(maxlen=500)

    def records(self, count: int) -> Iterator[Record]:
        """The first so many commands; each is applied to `book` before it is given."""
        for index in range(count):
            if index % 500 == 0:
                moved = self._middle + self._chance.randrange(-2, 3)
                self._middle = min(10_300, max(9_700, moved))
            roll = self._chance.random()
            if roll < 0.35 and self._number > 200:
                yield self._cancel()
            else:
                yield self._place(roll)

    def _cancel(self) -> Record:
        order = self._to_cancel()
        self.book.cancel(order)
        return Record(CANCEL, 0, 0, 0, order, 0, 0)

    def _to_cancel(self) -> int:
        """One in twenty is any order there ever was; most others rested not long ago."""
        chance, live = self._chance, self.book.orders
        roll = chance.random()
        if roll < 0.05:
            return 1 + chance.randrange(self._number)
        if roll < 0.70:
            for _ in range(8):
                order = self._recent[chance.randrange(len(self._recent))]
                if order in live:
                    return order
        while True:
            index = chance.randrange(len(self._rested))
            order = self._rested[index]
            if order in live:
                return order
            self._rested[index] = self._rested[-1]
            self._rested.pop()

    def _place(self, roll: float) -> Record:
        chance = self._chance
        self._number += 1
        side = chance.randrange(2)
        account = 1 + chance.randrange(ACCOUNTS)
        price, lots, tif = self._maker(side) if roll < 0.90 else self._taker(side)
        price = min(PRICE_MAX, max(PRICE_MIN, price))
        self.book.place(self._number, side, price, lots, tif)
        if self._number in self.book.orders:
            self._rested.append(self._number)
            self._recent.append(self._number)
        return Record(NEW, side, tif, account, self._number, price, lots)

    def _maker(self, side: int) -> tuple[int, int, int]:
        """Most near the middle, some anywhere; one in ten post-only."""
        chance = self._chance
        away = 1
        if chance.random() < 0.85:
            while chance.random() > 0.08 and away < 400:
                away += 1
        else:
            away = 1 + chance.randrange(450)
        price = self._middle - away if side == BUY else self._middle + away
        lots = 1 + chance.randrange(100)
        return price, lots, POST_ONLY if chance.random() < 0.10 else GTC

    def _taker(self, side: int) -> tuple[int, int, int]:
        """Through the best price of the other side by up to three ticks."""
        chance = self._chance
        best = self.book.best(1 - side)
        start = self._middle if best is None else best
        through = chance.randrange(4)
        price = start + through if side == BUY else start - through
        lots = 1 + chance.randrange(300)
        roll = chance.random()
        return price, lots, GTC if roll < 0.6 else IOC if roll < 0.9 else FOK


class EventDigest:
    """BLAKE2b-128 over events as five 64-bit integers each, little endian."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=16)
        self.count = 0

    def take(self, events: list[Event]) -> None:
        """Take in these events and empty the list."""
        self._digest.update(b"".join([EVENT.pack(*event) for event in events]))
        self.count += len(events)
        events.clear()

    def hexdigest(self) -> str:
        """The digest so far."""
        return self._digest.hexdigest()
