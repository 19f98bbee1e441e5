"""Matching engines of others behind the face that ours has here too.

What an engine is handed, its native calls and arguments, is made before any clock starts. Each
class is made in a process of its own (tests.bench.matching.process) and imports its engine late:
none of them is there for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tests.reference.seeded_market import BUY, CANCEL, Record

Command = Any
Call = Callable[[Command], object]


class Engine(Protocol):
    """One engine."""

    def commands(self, records: Sequence[Record]) -> list[Command]:
        """The records as this engine wants them."""

    def fresh(self) -> Call:
        """A new book; what it gives carries one command out."""

    def trades(self, commands: list[Command]) -> int | None:
        """Trades of a pass; None where the engine does not say."""


def run(call: Call, commands: list[Command]) -> None:
    """All commands, one call each."""
    for command in commands:
        call(command)


class Bourse:
    """bourse: its book counts time, which has to be set before each call."""

    def commands(self, records: Sequence[Record]) -> list[Command]:
        """Numbers are given by the book: one up for each order."""
        numbers: dict[int, int] = {}
        made: list[Command] = []
        for moment, record in enumerate(records):
            if record.kind == CANCEL:
                made.append((moment, numbers[record.order]))
            else:
                numbers[record.order] = len(numbers)
                terms = (record.side == BUY, record.lots, record.account, record.price)
                made.append((moment, *terms))
        return made

    def fresh(self) -> Call:
        """See Driver."""
        from bourse.core import OrderBook

        self.book = book = OrderBook(0, 1)
        set_time, place, cancel = book.set_time, book.place_order, book.cancel_order

        def call(command: Command) -> None:
            set_time(command[0])
            if len(command) == 2:
                cancel(command[1])
            else:
                _, bid, lots, account, price = command
                place(bid, lots, account, price)

        return call

    def trades(self, commands: list[Command]) -> int | None:
        """See Driver."""
        run(self.fresh(), commands)
        return len(self.book.get_trades())


class LimitOrderBook:
    """limit-order-book: neither trades nor accounts."""

    def commands(self, records: Sequence[Record]) -> list[Command]:
        """See Driver."""
        return [
            (r.order,) if r.kind == CANCEL else (r.side == BUY, r.order, r.lots, r.price)
            for r in records
        ]

    def fresh(self) -> Call:
        """See Driver."""
        from limit_order_book import LimitOrderBook as Book

        book = Book()
        buy, sell, cancel = book.limit_buy, book.limit_sell, book.cancel

        def call(command: Command) -> None:
            if len(command) == 1:
                cancel(command[0])
            else:
                buys, order, lots, price = command
                (buy if buys else sell)(order, lots, price)

        return call

    def trades(self, commands: list[Command]) -> int | None:
        """See Driver."""
        return None


class MatchingEngine:
    """matching-engine: commands are objects, events come back as a list."""

    def commands(self, records: Sequence[Record]) -> list[Command]:
        """See Driver."""
        from matching_engine import domain

        sides = (domain.Side.BUY, domain.Side.SELL)
        none = domain.SelfTradePrevention.NONE
        owners: dict[int, int] = {}
        made: list[Command] = []
        for number, r in enumerate(records, 1):
            inner: Any
            if r.kind == CANCEL:
                inner = domain.CancelOrder(r.order, owners[r.order])
            else:
                owners[r.order] = r.account
                side = sides[r.side]
                inner = domain.NewOrder(r.order, r.account, side, r.price, r.lots, stp=none)
            made.append(domain.SequencedCommand(number, number, inner))
        return made

    def fresh(self) -> Call:
        """See Driver."""
        from matching_engine.engine import MatchingEngine as Engine

        process: Call = Engine().process
        return process

    def trades(self, commands: list[Command]) -> int | None:
        """See Driver."""
        from matching_engine.events import Trade

        process: Any = self.fresh()
        events: list[Any] = []
        for command in commands:
            events.extend(process(command))
        return sum(type(event) is Trade for event in events)


class Liquibook:
    """liquibook: its orders are objects that a book changes, so a call makes its order too."""

    def commands(self, records: Sequence[Record]) -> list[Command]:
        """See Driver."""
        return [(r.kind, r.order, r.side == BUY, r.price, r.lots) for r in records]

    def fresh(self) -> Call:
        """See Driver."""
        import liquibook

        self.book = book = liquibook.DepthOrderBook()
        make, add, remove = liquibook.SimpleOrder, book.add, book.cancel
        orders: dict[int, Any] = {}

        def call(command: Command) -> None:
            kind, number, buys, price, lots = command
            if kind == CANCEL:
                remove(orders[number])
            else:
                order = orders[number] = make(buys, price, lots)
                add(order)

        return call

    def trades(self, commands: list[Command]) -> int | None:
        """See Driver."""
        import liquibook

        class Counter(liquibook.OrderListener):  # type: ignore[misc]
            count = 0

            def on_fill(self, *_: object) -> None:
                self.count += 1

            def ignore(self, *_: object) -> None:
                """What is no trade; the library calls all of them."""

            on_accept = on_reject = on_cancel = on_cancel_reject = ignore
            on_replace = on_replace_reject = on_trigger_stop = ignore

        counter = Counter()
        call = self.fresh()
        self.book.set_order_listener(counter)
        run(call, commands)
        return counter.count
