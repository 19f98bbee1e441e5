"""Orders as CSV: a row per command, in the words of docs/reference/order-semantics.md."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from dexcore.items import (
    ACTION_AMEND,
    ACTION_CANCEL,
    ACTION_CANCEL_ALL,
    ACTION_PLACE,
    HAS_TERMS,
    NO_MARKET,
    POST_ONLY,
    SLIDE,
    Terms,
)
from dexnode.backtest.files import ORDERS, Inputs
from dexnode.backtest.model import CHUNK_STEPS, INT64_MAX, BacktestError, OpenMarket, Step, units_of

ACTIONS: Final = {
    "place": ACTION_PLACE,
    "cancel": ACTION_CANCEL,
    "amend": ACTION_AMEND,
    "cancel_all": ACTION_CANCEL_ALL,
}
SIDES: Final = {"": 0, "buy": 1, "sell": 2}
TYPES: Final = {
    "": 1,
    "limit": 1,
    "market": 2,
    "stop": 3,
    "stop_limit": 4,
    "trailing_stop": 5,
    "pegged": 6,
}
TIMES_IN_FORCE: Final = {"": 1, "gtc": 1, "ioc": 2, "fok": 3, "day": 4, "gtd": 5}
POST_ONLY_WORDS: Final = {"": 0, "no": 0, "yes": POST_ONLY, "slide": POST_ONLY | SLIDE}
SELF_TRADE_PREVENTIONS: Final = {
    "": 0,
    "none": 0,
    "cancel_newest": 1,
    "cancel_oldest": 2,
    "cancel_both": 3,
    "decrement": 4,
}
PEGS: Final = {"": 0, "primary": 1, "market": 2, "midpoint": 3}
REQUIRED: Final = ("time_ns", "account", "action", "order_id", "side", "price", "quantity")
TERMS_COLUMNS: Final = (
    *("display_quantity", "min_quantity", "trigger_price", "trail", "peg_offset"),
    *("expire_time_ns", "self_trade_prevention", "peg"),
)
OPTIONAL: Final = ("market", "type", "time_in_force", "post_only", *TERMS_COLUMNS)
DEFAULT_MARKET: Final = "orders"
_DIGITS_MAX: Final = 30


class OrdersSource:
    """CSV files; a next file continues the books of the one before."""

    format_name: Final = ORDERS

    def __init__(self, inputs: Inputs, open_market: OpenMarket) -> None:
        """Names the files; nothing is read yet."""
        self._inputs = inputs
        self._open_market = open_market
        self._markets: dict[str, int] = {}
        self._last_time_ns = 0

    def chunks(self) -> Iterator[list[Step]]:
        """See Source."""
        out: list[Step] = []
        for path in self._inputs.paths:
            number = 1
            try:
                with io.TextIOWrapper(self._inputs.open(path), "utf-8-sig", newline="") as text:
                    rows = csv.reader(text, strict=True)
                    header = next(rows, [])
                    row = _Row(path, header)
                    for values in rows:
                        number = rows.line_num
                        if values:
                            out.append(self._step(row.at(number, values)))
                        if len(out) >= CHUNK_STEPS:
                            yield out
                            out = []
            except (EOFError, OSError, zlib.error) as error:
                raise BacktestError(path, f"after line {number}", "", str(error)) from error
            except UnicodeDecodeError as error:
                raise BacktestError(path, f"after line {number}", "", "not UTF-8") from error
            except csv.Error as error:
                raise BacktestError(path, f"line {rows.line_num}", "", str(error)) from error
        yield out

    def notes(self) -> dict[str, int | str]:
        """See Source."""
        return {}

    def _step(self, row: _Row) -> Step:
        time_ns = row.integer("time_ns")
        if time_ns < self._last_time_ns:
            raise row.error(
                "time_ns", f"{time_ns} is before {self._last_time_ns}: time may not fall"
            )
        self._last_time_ns = time_ns
        account = row.integer("account", least=1)
        action = row.word("action", ACTIONS)
        name = row.text("market")
        if action == ACTION_CANCEL_ALL:
            market_index = self._market(name) if name else NO_MARKET
            side = row.word("side", SIDES)
            return time_ns, account, (action, side, 0, 0, 0, market_index, 0, 0, 0, 0), None
        market_index = self._market(name or DEFAULT_MARKET)
        order_id = row.integer("order_id", least=1)
        if action == ACTION_CANCEL:
            return time_ns, account, (action, 0, 0, 0, 0, market_index, 0, 0, order_id, 0), None
        price_ticks, quantity_lots, said = row.units("price"), row.units("quantity"), row.terms()
        flags = HAS_TERMS if said else 0
        if action == ACTION_AMEND:
            item = (action, 0, 0, 0, flags, market_index, price_ticks, quantity_lots, order_id, 0)
            return time_ns, account, item, said
        flags |= row.word("post_only", POST_ONLY_WORDS)
        kinds = row.word("type", TYPES), row.word("time_in_force", TIMES_IN_FORCE)
        if not row.text("side"):
            raise row.error("side", "missing: buy or sell")
        side = row.word("side", SIDES)
        tail = flags, market_index, price_ticks, quantity_lots, order_id, 0
        return time_ns, account, (action, side, *kinds, *tail), said

    def _market(self, name: str) -> int:
        index = self._markets.get(name)
        if index is None:
            index = self._markets[name] = self._open_market(name)
        return index


class _Row:
    """The row that is read just now, by the names of its columns."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        self._path = path
        self._number = 1
        self._values: Sequence[str] = ()
        self._columns = {name.strip(): index for index, name in enumerate(header)}
        for name in REQUIRED:
            if name not in self._columns:
                raise self.error(name, f"no such column; needed are {', '.join(REQUIRED)}")
        for name in self._columns:
            if name not in REQUIRED and name not in OPTIONAL:
                known = ", ".join((*REQUIRED, *OPTIONAL))
                raise self.error(name, f"unknown column; known are {known}")
        self._says_terms = any(name in self._columns for name in TERMS_COLUMNS)

    def at(self, number: int, values: Sequence[str]) -> _Row:
        """Go to a row."""
        self._number, self._values = number, values
        if len(values) != len(self._columns):
            raise self.error("", f"{len(values)} values, the header has {len(self._columns)}")
        return self

    def error(self, field: str, problem: str) -> BacktestError:
        """What is wrong with a value of this row."""
        return BacktestError(self._path, f"line {self._number}", field, problem)

    def text(self, field: str) -> str:
        """A value without blanks around it; empty where there is no such column."""
        index = self._columns.get(field)
        return "" if index is None else self._values[index].strip()

    def word(self, field: str, known: Mapping[str, int]) -> int:
        """The number of a word."""
        text = self.text(field).lower()
        number = known.get(text)
        if number is None:
            words = ", ".join(filter(None, known))
            raise self.error(field, f"{text!r} is none of {words}" if text else f"missing: {words}")
        return number

    def integer(self, field: str, least: int = 0) -> int:
        """A whole number that 63 bits hold."""
        text = self.text(field)
        if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS_MAX:
            raise self.error(field, f"{text[:_DIGITS_MAX]!r} is no whole number")
        number = int(text)
        if not least <= number <= INT64_MAX:
            raise self.error(field, f"{text} is not between {least} and {INT64_MAX}")
        return number

    def units(self, field: str) -> int:
        """A decimal number in units; zero where nothing is said."""
        text = self.text(field)
        try:
            return units_of(text) if text else 0
        except ValueError as error:
            raise self.error(field, str(error)) from error

    def terms(self) -> Terms | None:
        """What only some orders say; None for an order that says none of it."""
        if not self._says_terms:
            return None
        said = (
            self.units("display_quantity"),
            self.units("min_quantity"),
            self.units("trigger_price"),
            self.units("trail"),
            self.units("peg_offset"),
            self.integer("expire_time_ns") if self.text("expire_time_ns") else 0,
            self.word("self_trade_prevention", SELF_TRADE_PREVENTIONS),
            self.word("peg", PEGS),
        )
        return said if any(said) else None
