"""Matching engines of others behind the face that ours has here too.

What an engine is handed, its native calls and arguments, is made before any clock starts. What it
needs to give the trades that all must give, and to hand them back, is within the clock: an engine
that keeps its trades to itself has done less. Each class is made in a process of its own
(tests.bench.matching.process) and imports its engine late: none of them is there for anything else.
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

    def hand_over(self) -> object:
        """Ask for what is to be had behind the last command alone: within the clock."""

    def trades(self, commands: list[Command]) -> int | None:
        """Trades of a pass; None where the engine does not say."""


def run(engine: Engine, commands: list[Command]) -> object:
    """All commands in a new book, one call each; what the engine hands over at the end."""
    call = engine.fresh()
    for command in commands:
        call(command)
    return engine.hand_over()


class Bourse:
    """bourse: its book counts time, which has to be set before each call: trades differ without.

    It gives its trades as one list when asked. What became of an order is not asked for, though
    ours says it for each.
    """

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
        """See Engine."""
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

    def hand_over(self) -> object:
        """See Engine."""
        return self.book.get_trades()

    def trades(self, commands: list[Command]) -> int | None:
        """See Engine."""
        trades: Any = run(self, commands)
        return len(trades)


class LimitOrderBook:
    """limit-order-book: neither trades nor accounts, and no call answers anything."""

    def commands(self, records: Sequence[Record]) -> list[Command]:
        """See Engine."""
        return [
            (r.order,) if r.kind == CANCEL else (r.side == BUY, r.order, r.lots, r.price)
            for r in records
        ]

    def fresh(self) -> Call:
        """See Engine."""
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

    def hand_over(self) -> object:
        """Nothing: it has nothing to tell."""

    def trades(self, commands: list[Command]) -> int | None:
        """See Engine."""
        return None


class MatchingEngine:
    """matching-engine: commands are objects, events come back as a list."""

    def commands(self, records: Sequence[Record]) -> list[Command]:
        """See Engine."""
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
        """See Engine."""
        from matching_engine.engine import MatchingEngine as Engine

        process: Call = Engine().process
        return process

    def hand_over(self) -> object:
        """Nothing: each call gave its events."""

    def trades(self, commands: list[Command]) -> int | None:
        """See Engine."""
        from matching_engine.events import Trade

        process: Any = self.fresh()
        events: list[Any] = []
        for command in commands:
            events.extend(process(command))
        return sum(type(event) is Trade for event in events)


class Liquibook:
    """liquibook: its orders are objects that a book changes, so a call makes its order too.

    It tells trades to a listener, which it calls for everything else as well.
    """

    def commands(self, records: Sequence[Record]) -> list[Command]:
        """See Engine."""
        return [(r.kind, r.order, r.side == BUY, r.price, r.lots) for r in records]

    def fresh(self) -> Call:
        """See Engine."""
        import liquibook

        class Listener(liquibook.OrderListener):  # type: ignore[misc]
            fills = 0

            def on_fill(self, *_: object) -> None:
                self.fills += 1

            def ignore(self, *_: object) -> None:
                """What is no trade; the library calls all of them."""

            on_accept = on_reject = on_cancel = on_cancel_reject = ignore
            on_replace = on_replace_reject = on_trigger_stop = ignore

        book = liquibook.DepthOrderBook()
        self.listener = Listener()
        book.set_order_listener(self.listener)
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

    def hand_over(self) -> object:
        """What the listener was told."""
        return self.listener.fills

    def trades(self, commands: list[Command]) -> int | None:
        """See Engine."""
        trades: Any = run(self, commands)
        return int(trades)
