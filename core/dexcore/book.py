"""A price-time order book.

Theory of operation: a side finds a level by its price and knows its prices in
order; the best level is cached because every order asks for it. A level is an
intrusive FIFO list: orders carry their neighbours, so removing one from the
middle costs no search. What the orders of a level show, and what they hide, are
kept as sums, which must be zero when the level empties.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, final

from dexcore.invariant import InvariantError, check

if TYPE_CHECKING:
    from dexcore.accounts import Account
    from dexcore.ledger import Cell
    from dexcore.terms import OrderTerms


class Side(IntEnum):
    """Side of an order; FIX tag 54, numbers of ``dex.orders.v1.Side``."""

    BUY = 1
    SELL = 2


# Plain numbers for the hot path: reading an enumeration's member costs more than comparing it.
BUY: Final = 1
SELL: Final = 2

Boxed = Any
"""A whole number that is handed on more often than it is counted with: keys and prices.

Compiled, an attribute that is an int has no object, and one is made whenever the number enters a
tuple or a dict. This one stays the object that came in.
"""

# Prices of a side in one list; a new one moves at most so many others.
_CHUNK_MAX: Final = 512


@final
class Order:
    """An order with what it reserved and what it was charged so far.

    ``terms`` is None for a plain order, that is nearly always: what only some orders
    need must cost the others nothing.
    """

    __slots__ = (
        "account",
        "base_cell",
        "client_order_id",
        "fee_accrued_ppm_atoms",
        "fee_charged_atoms",
        "filled_lots",
        "key",
        "level",
        "maker_fee_ppm",
        "market_index",
        "next",
        "open_lots",
        "post_only",
        "previous",
        "price_ticks",
        "quote_cell",
        "reserved_atoms",
        "side",
        "taker_fee_ppm",
        "terms",
    )

    def __init__(
        self,
        key: Boxed,
        account: Account,
        market_index: int,
        side: int,
        price_ticks: Boxed,
        quantity_lots: int,
        client_order_id: Boxed,
        post_only: bool,
        maker_fee_ppm: int,
        taker_fee_ppm: int,
        base_cell: Cell,
        quote_cell: Cell,
    ) -> None:
        self.key: Boxed = key
        self.account = account
        self.market_index = market_index
        self.side = side
        self.price_ticks: Boxed = price_ticks
        self.open_lots = quantity_lots
        self.filled_lots = 0
        self.client_order_id: Boxed = client_order_id
        self.post_only = post_only
        self.maker_fee_ppm = maker_fee_ppm
        self.taker_fee_ppm = taker_fee_ppm
        self.fee_accrued_ppm_atoms = 0
        self.fee_charged_atoms = 0
        self.reserved_atoms = 0
        self.base_cell = base_cell
        self.quote_cell = quote_cell
        self.level: Level | None = None
        self.previous: Order | None = None
        self.next: Order | None = None
        self.terms: OrderTerms | None = None

    @property
    def quantity_lots(self) -> int:
        """Size of the order, what is filled included (FIX tag 38)."""
        return self.filled_lots + self.open_lots


@final
class Level:
    """All orders at one price, first come first; ``quantity_lots`` is what they show.

    ``next_touched`` chains the levels that the running command changed: the last one's is itself,
    and None says that it did not change this one.
    """

    __slots__ = (
        "head",
        "hidden_lots",
        "key",
        "market_index",
        "next_touched",
        "price_ticks",
        "quantity_lots",
        "side",
        "tail",
    )

    def __init__(self, market_index: Boxed, side: Boxed, price_ticks: Boxed) -> None:
        self.market_index: Boxed = market_index
        self.side: Boxed = side
        self.price_ticks: Boxed = price_ticks
        # Ascends toward the best of its side.
        self.key: Boxed = price_ticks if side == BUY else -price_ticks
        self.quantity_lots = 0
        self.next_touched: Level | None = None
        self.hidden_lots = 0
        self.head: Order | None = None
        self.tail: Order | None = None

    def shrink(self, order: Order, open_lots: int) -> None:
        """Make an order of this level smaller in its place; what it hides goes first."""
        terms = order.terms
        if terms is None:
            self.quantity_lots -= order.open_lots - open_lots
        else:
            shown_lots = order.open_lots - terms.hidden_lots
            hidden_lots = max(0, open_lots - shown_lots)
            self.quantity_lots -= shown_lots - (open_lots - hidden_lots)
            self.hidden_lots -= terms.hidden_lots - hidden_lots
            terms.hidden_lots = hidden_lots
        order.open_lots = open_lots

    def __iter__(self) -> Iterator[Order]:
        order = self.head
        while order is not None:
            yield order
            order = order.next


@final
class Levels:
    """The levels of one side.

    A dict finds the level of a price. Keys, which are prices of bids and minus those of asks,
    ascend in chunks, so that the best is the last of all: most levels come and go there, and cost a
    step. Of ``_bounds`` each is no less than the keys of its chunk and less than those of the next.
    One list would move half a million numbers for a level among a million, and a SortedList does
    the same as this in more steps.
    """

    __slots__ = ("_bounds", "_chunks", "by_price")

    def __init__(self) -> None:
        self.by_price: dict[Boxed, Level] = {}
        self._chunks: list[list[Boxed]] = [[]]
        self._bounds: list[Boxed] = []

    def __len__(self) -> int:
        return len(self.by_price)

    def add(self, level: Level) -> None:
        """A level at a price that has none."""
        self.by_price[level.price_ticks] = level
        key = level.key
        chunk = self._chunks[-1]
        if not chunk or key > chunk[-1]:
            chunk.append(key)
        else:
            chunk = self._chunks[bisect_left(self._bounds, key)]
            insort(chunk, key)
        if len(chunk) > _CHUNK_MAX:
            at = bisect_left(self._bounds, chunk[0])
            half = len(chunk) // 2
            self._chunks.insert(at, chunk[:half])
            self._bounds.insert(at, chunk[half - 1])
            del chunk[:half]

    def drop(self, level: Level) -> None:
        """Forget a level."""
        del self.by_price[level.price_ticks]
        key = level.key
        chunks, bounds = self._chunks, self._bounds
        chunk = chunks[-1]
        if chunk[-1] is key:
            chunk.pop()
            if not chunk and bounds:
                chunks.pop()
                bounds.pop()
            return
        at = bisect_left(bounds, key)
        chunk = chunks[at]
        del chunk[bisect_left(chunk, key)]
        if not chunk:
            del chunks[at], bounds[at]

    def first(self) -> Level | None:
        """The best level."""
        chunk = self._chunks[-1]
        return self.by_price[abs(chunk[-1])] if chunk else None

    def values(self) -> Iterator[Level]:
        """All levels, best first."""
        by_price = self.by_price
        for chunk in reversed(self._chunks):
            for key in reversed(chunk):
                yield by_price[abs(key)]


@final
class BookSide:
    """The levels of one side, best first."""

    __slots__ = ("best", "levels", "market_index", "side")

    def __init__(self, market_index: Boxed, side: Boxed) -> None:
        self.market_index: Boxed = market_index
        self.side: Boxed = side
        self.levels = Levels()
        self.best: Level | None = None

    def add(self, order: Order) -> Level:
        """Append the order's remainder to the queue of its price; its level."""
        price_ticks = order.price_ticks
        level = self.levels.by_price.get(price_ticks)
        if level is None:
            level = self._open(price_ticks)
        else:
            # The same number, but one object for all orders of the level.
            order.price_ticks = level.price_ticks
        tail = level.tail
        order.previous = tail
        order.next = None
        if tail is None:
            level.head = order
        else:
            tail.next = order
        level.tail = order
        order.level = level
        level.quantity_lots += order.open_lots
        if order.terms is not None:
            hidden_lots = order.terms.hidden_lots
            if not 0 <= hidden_lots < order.open_lots:
                raise InvariantError("an order shows nothing, or more than it has")
            level.quantity_lots -= hidden_lots
            level.hidden_lots += hidden_lots
        return level

    def remove(self, order: Order) -> None:
        """Take the order out; its remainder leaves the level's sum."""
        level = order.level
        if level is None:
            check(False, "removed an order that does not rest")
            return
        before, after = order.previous, order.next
        if before is None:
            level.head = after
        else:
            before.next = after
        if after is None:
            level.tail = before
        else:
            after.previous = before
        order.level = order.previous = order.next = None
        level.quantity_lots -= order.open_lots
        if order.terms is not None:
            hidden_lots = order.terms.hidden_lots
            level.quantity_lots += hidden_lots
            level.hidden_lots -= hidden_lots
        if level.head is None:
            self._drop(level)

    def show_next(self, order: Order, terms: OrderTerms) -> Level:
        """Show the next part of an iceberg; it goes to the tail of its level (FIX tag 1138).

        An order that was alone there comes to a new level.
        """
        self.remove(order)
        terms.hide(order.open_lots)
        return self.add(order)

    def _open(self, price: Boxed) -> Level:
        level = Level(self.market_index, self.side, price)
        self.levels.add(level)
        best = self.best
        if best is None or level.key > best.key:
            self.best = level
        return level

    def _drop(self, level: Level) -> None:
        if level.quantity_lots or level.hidden_lots:
            raise InvariantError("an empty level still counts lots")
        self.levels.drop(level)
        if level is self.best:
            self.best = self.levels.first()

    def depth(self, count: int) -> list[tuple[int, int]]:
        """The best ``count`` levels as (price_ticks, quantity_lots)."""
        best = islice(self.levels.values(), count)
        return [(level.price_ticks, level.quantity_lots) for level in best]


@final
class Book:
    """Both sides of a market."""

    __slots__ = ("asks", "bids")

    def __init__(self, market_index: int) -> None:
        self.bids = BookSide(market_index, BUY)
        self.asks = BookSide(market_index, SELL)

    def side(self, side: int) -> BookSide:
        """The side an order of ``side`` rests on."""
        return self.bids if side == BUY else self.asks

    def opposite(self, side: int) -> BookSide:
        """The side an order of ``side`` takes from."""
        return self.asks if side == BUY else self.bids

    def check_not_crossed(self) -> None:
        """Check that no bid reaches an ask after a command."""
        bid, ask = self.bids.best, self.asks.best
        if bid is None or ask is None:
            return
        bid_ticks: int = bid.price_ticks
        ask_ticks: int = ask.price_ticks
        if bid_ticks >= ask_ticks:
            raise InvariantError("the book is crossed")
