"""A price-time order book.

Theory of operation: a side has its levels sorted by a key so that the best
price comes first (bids by minus the price); the best level is cached because
every order asks for it. A level is an intrusive FIFO list: orders carry their
neighbours, so removing one from the middle costs no search. What the orders of a
level show, and what they hide, are kept as sums, which must be zero when the
level empties.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Final, final

from sortedcontainers import SortedList

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
        key: int,
        account: Account,
        market_index: int,
        side: int,
        price_ticks: int,
        quantity_lots: int,
        client_order_id: int,
        post_only: bool,
        maker_fee_ppm: int,
        taker_fee_ppm: int,
        base_cell: Cell,
        quote_cell: Cell,
    ) -> None:
        self.key = key
        self.account = account
        self.market_index = market_index
        self.side = side
        self.price_ticks = price_ticks
        self.open_lots = quantity_lots
        self.filled_lots = 0
        self.client_order_id = client_order_id
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
    """All orders at one price, first come first; ``quantity_lots`` is what they show."""

    __slots__ = ("head", "hidden_lots", "price_ticks", "quantity_lots", "tail")

    def __init__(self, price_ticks: int) -> None:
        self.price_ticks = price_ticks
        self.quantity_lots = 0
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
    """The levels of one side by key, which is the price or minus the price: the best comes first.

    A dict finds a level and a SortedList keeps the keys, which a SortedDict would do in more steps.
    """

    __slots__ = ("_by_key", "_keys")

    def __init__(self) -> None:
        self._by_key: dict[int, Level] = {}
        self._keys: SortedList[int] = SortedList()

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: int) -> Level | None:
        """The level of a key."""
        return self._by_key.get(key)

    def add(self, key: int, level: Level) -> None:
        """A level at a price that has none."""
        self._by_key[key] = level
        self._keys.add(key)

    def drop(self, key: int) -> None:
        """Forget a level."""
        del self._by_key[key]
        self._keys.remove(key)

    def first(self) -> Level | None:
        """The best level."""
        return self._by_key[self._keys[0]] if self._by_key else None

    def values(self) -> Iterator[Level]:
        """All levels, best first."""
        by_key = self._by_key
        for key in self._keys:
            yield by_key[key]


@final
class BookSide:
    """The levels of one side, best first."""

    __slots__ = ("best", "levels", "sign")

    def __init__(self, side: Side) -> None:
        self.sign = -1 if side == BUY else 1
        self.levels = Levels()
        self.best: Level | None = None

    def add(self, order: Order) -> None:
        """Append the order's remainder to the queue of its price."""
        price_ticks = order.price_ticks
        key = self.sign * price_ticks
        level = self.levels.get(key)
        if level is None:
            level = Level(price_ticks)
            self.levels.add(key, level)
            best = self.best
            if best is None or key < self.sign * best.price_ticks:
                self.best = level
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

    def show_next(self, order: Order, terms: OrderTerms) -> None:
        """Show the next part of an iceberg; it goes to the tail of its level (FIX tag 1138)."""
        self.remove(order)
        terms.hide(order.open_lots)
        self.add(order)

    def _drop(self, level: Level) -> None:
        if level.quantity_lots or level.hidden_lots:
            raise InvariantError("an empty level still counts lots")
        self.levels.drop(self.sign * level.price_ticks)
        if level is self.best:
            self.best = self.levels.first()

    def quantity_at(self, price_ticks: int) -> int:
        """Lots shown at a price; zero when there is no such level."""
        level = self.levels.get(self.sign * price_ticks)
        return 0 if level is None else level.quantity_lots

    def depth(self, count: int) -> list[tuple[int, int]]:
        """The best ``count`` levels as (price_ticks, quantity_lots)."""
        best = islice(self.levels.values(), count)
        return [(level.price_ticks, level.quantity_lots) for level in best]


@final
class Book:
    """Both sides of a market."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = BookSide(Side.BUY)
        self.asks = BookSide(Side.SELL)

    def side(self, side: int) -> BookSide:
        """The side an order of ``side`` rests on."""
        return self.bids if side == BUY else self.asks

    def opposite(self, side: int) -> BookSide:
        """The side an order of ``side`` takes from."""
        return self.asks if side == BUY else self.bids

    def check_not_crossed(self) -> None:
        """Check that no bid reaches an ask after a command."""
        bid, ask = self.bids.best, self.asks.best
        if bid is not None and ask is not None and bid.price_ticks >= ask.price_ticks:
            raise InvariantError("the book is crossed")
