"""Market by order as commands: what rests, leaves and changes, and who takes.

Theory of operation. An event ends with the record that has F_LAST. While it tells of no trade, its
records are commands as they stand. From its first trade or fill on they are kept until it is over,
for only then is known what each means: a cancel or a modify may be the order's own, or only say
what a fill left of it; the first is a command, the second is what the matcher will have done by
itself. What left without a fill, as orders do that self-match prevention cancels, left before the
aggressor came to it, so it goes first; then each trade is an aggressor, for as many lots as resting
orders were filled at its price; then follows what else the event says, in its order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, final

from dexcore.items import (
    ACTION_AMEND,
    ACTION_CANCEL,
    ACTION_CANCEL_ALL,
    ACTION_PLACE,
    GTC,
    IOC,
    TYPE_LIMIT,
    Item,
)
from dexnode.backtest import mbo
from dexnode.backtest.files import DATABENTO, Inputs
from dexnode.backtest.mbo import MboFile, MboRecord
from dexnode.backtest.model import (
    CHUNK_STEPS,
    EVERY_ACCOUNT,
    UNIT,
    OpenMarket,
    Step,
    resting_account,
    taking_account,
)

_SIDES: Final = {mbo.BID: 1, mbo.ASK: 2}
_OTHER: Final = {mbo.BID: mbo.ASK, mbo.ASK: mbo.BID}


@final
class _Resting:
    """An order as the file has it."""

    __slots__ = ("filled", "open", "price", "side")

    def __init__(self, side: int, price: int, size: int) -> None:
        self.side = side
        self.price = price
        self.open = size
        self.filled = 0


@final
class _Book:
    """What rests in one instrument of one publisher, and the records of an event with a trade."""

    __slots__ = ("event", "index", "resting")

    def __init__(self, index: int) -> None:
        self.index = index
        self.resting: dict[int, _Resting] = {}
        self.event: list[MboRecord] | None = None


class DatabentoSource:
    """Files of market by order; a next file continues the books of the one before."""

    format_name: Final = DATABENTO

    def __init__(
        self, inputs: Inputs, open_market: OpenMarket, owed: Counter[tuple[int, int]]
    ) -> None:
        """Names the files; nothing is read yet.

        ``owed`` gets the lots that each resting order, (market index, order id), was filled; the
        recorder takes from it what the engine fills.
        """
        self._inputs = inputs
        self._open_market = open_market
        self._owed = owed
        self._books: dict[tuple[int, int], _Book] = {}
        self._out: list[Step] = []
        self._fill_count = self._unknown_count = self._hidden_lots = self._uncrossed_lots = 0

    def chunks(self) -> Iterator[list[Step]]:
        """See Source."""
        for path in self._inputs.paths:
            file = MboFile(path, self._inputs)
            for record in file:
                self._take(file, record)
                if len(self._out) >= CHUNK_STEPS:
                    out, self._out = self._out, []
                    yield out
        for book in self._books.values():
            self._finish(book)
        yield self._out

    def notes(self) -> dict[str, int | str]:
        """What the file says that orders of its own cannot have done."""
        return {
            "recorded_fill_count": self._fill_count,
            "differently_filled_count": sum(1 for lots in self._owed.values() if lots),
            "unknown_order_count": self._unknown_count,
            "hidden_quantity": str(self._hidden_lots),
            "auction_quantity": str(self._uncrossed_lots),
        }

    def _take(self, file: MboFile, record: MboRecord) -> None:
        if record.flags & mbo.F_TOB:
            raise file.error("flags", f"{record.flags}: a top of book, not market by order")
        action = record.action
        if action in (mbo.ADD, mbo.MODIFY):
            if record.side == mbo.NO_SIDE:
                raise file.error("side", "'N': an order that rests has a side")
            if record.price == mbo.UNDEFINED_PRICE:
                raise file.error("price", "undefined: an order that rests has a price")
        place = record.publisher_id, record.instrument_id
        book = self._books.get(place)
        if book is None:
            name = record.symbol or f"{record.publisher_id}.{record.instrument_id}"
            book = self._books[place] = _Book(self._open_market(name))
        if book.event is None and action in (mbo.TRADE, mbo.FILL):
            book.event = []
        if book.event is None:
            self._carry_out(book, record)
        else:
            book.event.append(record)
            if record.flags & mbo.F_LAST:
                self._finish(book)

    # --- records that are commands

    def _carry_out(self, book: _Book, record: MboRecord) -> None:
        action, order_id = record.action, record.order_id
        known = book.resting.get(order_id)
        if action in (mbo.ADD, mbo.MODIFY):
            if known is not None and record.size and known.side == record.side:
                known.price, known.open = record.price, record.size
                self._amend(book, record, known)
                return
            if known is not None:
                self._cancel(book, record)
            if record.size:
                book.resting[order_id] = _Resting(record.side, record.price, record.size)
                terms = record.side, GTC, record.price, record.size
                self._place(book, record, resting_account(book.index, order_id), *terms)
        elif action == mbo.CANCEL:
            if known is None:
                self._unknown_count += 1
            else:
                self._reduce(book, record, known, record.size)
        elif action == mbo.CLEAR:
            book.resting.clear()
            item = ACTION_CANCEL_ALL, 0, 0, 0, 0, book.index, 0, 0, 0, 0
            self._out.append((record.time_ns, EVERY_ACCOUNT, item, None))

    def _reduce(self, book: _Book, record: MboRecord, known: _Resting, lots: int) -> None:
        """Take lots off a resting order, all of them if it has no more."""
        known.open -= lots
        if known.open > 0:
            self._amend(book, record, known)
        else:
            self._cancel(book, record)

    def _place(
        self, book: _Book, record: MboRecord, account: int, side: int, tif: int, *terms: int
    ) -> None:
        price, size = terms
        item: Item = (
            *(ACTION_PLACE, _SIDES[side], TYPE_LIMIT, tif, 0, book.index),
            *(price, size * UNIT, record.order_id, 0),
        )
        self._out.append((record.time_ns, account, item, None))

    def _amend(self, book: _Book, record: MboRecord, known: _Resting) -> None:
        lots = (known.filled + known.open) * UNIT
        item = ACTION_AMEND, 0, 0, 0, 0, book.index, known.price, lots, record.order_id, 0
        account = resting_account(book.index, record.order_id)
        self._out.append((record.time_ns, account, item, None))

    def _cancel(self, book: _Book, record: MboRecord) -> None:
        del book.resting[record.order_id]
        item = ACTION_CANCEL, 0, 0, 0, 0, book.index, 0, 0, record.order_id, 0
        account = resting_account(book.index, record.order_id)
        self._out.append((record.time_ns, account, item, None))

    # --- an event with a trade

    def _finish(self, book: _Book) -> None:
        event, book.event = book.event, None
        if event is None:
            return
        filled, aggressors = self._fills_of(book, event)
        later = self._leave(book, event, filled)
        for record, lots in aggressors:
            terms = record.side, IOC, record.price, lots
            self._place(book, record, taking_account(book.index), *terms)
        for order_id, lots in filled.items():
            known = book.resting.get(order_id)
            if known is None:
                # The file took it out as well: what it says of it cannot all be true.
                self._unknown_count += 1
                continue
            known.filled += lots
            known.open -= lots
            if known.open <= 0:
                del book.resting[order_id]
            self._owed[(book.index, order_id)] += lots * UNIT
        for record in later:
            self._carry_out(book, record)

    def _fills_of(
        self, book: _Book, event: list[MboRecord]
    ) -> tuple[dict[int, int], list[tuple[MboRecord, int]]]:
        """Lots that each resting order was filled by aggressors, and these with what they took."""
        offered: Counter[tuple[int, int]] = Counter()
        shown: Counter[int] = Counter()
        fills: list[tuple[MboRecord, int]] = []
        for record in event:
            if record.action == mbo.FILL:
                self._fill_count += 1
                order_id = record.order_id
                known = book.resting.get(order_id)
                if known is None:
                    self._unknown_count += 1
                    continue
                # What an iceberg shows later in the event was hidden when it began.
                lots = min(record.size, known.open - shown[order_id])
                shown[order_id] += lots
                offered[(record.price, record.side)] += lots
                fills.append((record, lots))
        aggressors: list[tuple[MboRecord, int]] = []
        for record in event:
            if record.action == mbo.TRADE:
                place = record.price, _OTHER.get(record.side, 0)
                lots = min(record.size, offered[place])
                offered[place] -= lots
                self._hidden_lots += record.size - lots
                if lots:
                    aggressors.append((record, lots))
        filled: Counter[int] = Counter()
        for record, lots in reversed(fills):
            # Nobody took these lots: a cross of the venue did, and the last came last.
            place = record.price, record.side
            uncrossed = min(lots, offered[place])
            offered[place] -= uncrossed
            self._uncrossed_lots += uncrossed
            filled[record.order_id] += lots - uncrossed
        return {order_id: lots for order_id, lots in filled.items() if lots}, aggressors

    def _leave(
        self, book: _Book, event: list[MboRecord], filled: dict[int, int]
    ) -> list[MboRecord]:
        """Take out what left without a fill; what else is to be done when the aggressors are."""
        unsaid = dict(filled)
        later: list[MboRecord] = []
        put_off: set[int] = set()
        for record in event:
            order_id = record.order_id
            known = book.resting.get(order_id)
            if record.action in (mbo.TRADE, mbo.FILL, mbo.NONE):
                continue
            if known is None or order_id in put_off:
                later.append(record)
            elif record.action == mbo.CANCEL:
                said = min(unsaid.get(order_id, 0), record.size)
                if said:
                    unsaid[order_id] -= said
                if record.size > said:
                    self._reduce(book, record, known, record.size - said)
            elif (
                record.action == mbo.MODIFY
                and record.price == known.price
                and record.size <= known.open - unsaid.get(order_id, 0)
            ):
                left = known.open - unsaid.pop(order_id, 0)
                if record.size < left:
                    self._reduce(book, record, known, left - record.size)
            else:
                put_off.add(order_id)
                later.append(record)
        return later
