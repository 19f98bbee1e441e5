"""Databento's market by order as files: DBN, and the CSV of the same fields.

DBN begins with metadata (magic, version, length, then what was asked for); records follow, each
with a header of 16 bytes that says its length and type. Only the type MBO is read, which is the
same in versions 1 to 3; the others are passed over.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import IO, Final, NamedTuple, cast

from dexnode.backtest.files import DBN_MAGIC, Inputs
from dexnode.backtest.model import INT64_MAX, UINT64_MAX, BacktestError, units_of

ADD, CANCEL, MODIFY, CLEAR, TRADE, FILL, NONE = b"ACMRTFN"
ACTIONS: Final = frozenset(b"ACMRTFN")
BID, ASK, NO_SIDE = b"BAN"
SIDES: Final = frozenset(b"BAN")
F_LAST: Final = 0x80
F_TOB: Final = 0x40
UNDEFINED_PRICE: Final = INT64_MAX
UNDEFINED_TIME: Final = UINT64_MAX
UINT32_MAX: Final = 2**32 - 1
# What a number of 64 bits needs; Python itself refuses to read numbers of thousands.
DIGITS_MAX: Final = 20
COLUMNS: Final = (
    *("ts_recv", "ts_event", "rtype", "publisher_id", "instrument_id", "action", "side"),
    *("price", "size", "order_id", "flags"),
)
DBN_VERSIONS: Final = range(1, 4)
_RTYPE_MBO: Final = 160
# length in words of 4 bytes, rtype, publisher, instrument, ts_event; order id, price, size, flags,
# channel, action, side, ts_recv, ts_in_delta, sequence.
_MBO: Final = Struct("<BBHIQQqIBBBBQiI")
_PRELUDE: Final = Struct("<3sBI")
_METADATA_BYTES_MAX: Final = 1 << 26
_SCHEMA_AT: Final = 16
_SCHEMA_MBO: Final = 0
_SCHEMA_MIXED: Final = 0xFFFF
# Half the price of MboRecord(...), which a file of millions pays for each.
_new: Final = tuple.__new__
_READ_BYTES: Final = 1 << 18


class MboRecord(NamedTuple):
    """One record; price in units of 10^-9, size in whole contracts or shares."""

    time_ns: int
    publisher_id: int
    instrument_id: int
    action: int
    side: int
    price: int
    size: int
    order_id: int
    flags: int
    symbol: str


class MboFile:
    """One file of either kind; iterate it once."""

    def __init__(self, path: Path, inputs: Inputs) -> None:
        """Names the file; nothing is read yet."""
        self.path: Final = path
        self._inputs = inputs
        # Where reading is: a line, or a record of DBN, whose metadata is number zero.
        self._unit = "record"
        self._number = 0
        self._symbols: dict[int, str] = {}

    @property
    def place(self) -> str:
        """Where reading is, for whoever finds a record wrong."""
        return f"{self._unit} {self._number}" if self._number else "metadata"

    def error(self, field: str, problem: str) -> BacktestError:
        """What is wrong with the record that was read last."""
        return BacktestError(self.path, self.place, field, problem)

    def __iter__(self) -> Iterator[MboRecord]:
        """The records in the order of the file; raises BacktestError."""
        try:
            with self._inputs.open(self.path) as file:
                head: bytes = cast("io.BufferedReader", file).peek(len(DBN_MAGIC))
                yield from self._dbn(file) if head.startswith(DBN_MAGIC) else self._csv(file)
        except (EOFError, OSError, zlib.error) as error:
            raise BacktestError(self.path, f"after {self.place}", "", str(error)) from error

    # --- DBN

    def _dbn(self, file: IO[bytes]) -> Iterator[MboRecord]:
        self._metadata(file)
        data = b""
        at = 0
        while True:
            more = file.read(_READ_BYTES)
            if not more:
                break
            data, at = data[at:] + more, 0
            end = len(data)
            while at < end:
                size = data[at] * 4
                if at + size > end and size:
                    break
                self._number += 1
                if size < 16:
                    raise self.error("length", f"{size} bytes, less than a record's header")
                if data[at + 1] == _RTYPE_MBO:
                    yield self._record(data, at, size)
                at += size
        if at < len(data):
            self._number += 1
            raise self.error("", "the file ends within it")

    def _metadata(self, file: IO[bytes]) -> None:
        magic, version, length = _PRELUDE.unpack(self._exactly(file, _PRELUDE.size))
        if magic != DBN_MAGIC or version not in DBN_VERSIONS:
            raise self.error("version", f"DBN {version}; known are 1 to {DBN_VERSIONS[-1]}")
        if length > _METADATA_BYTES_MAX:
            raise self.error("length", f"{length} bytes")
        body = self._exactly(file, length)
        try:
            (schema,) = Struct("<H").unpack_from(body, _SCHEMA_AT)
            self._symbols = _symbols_of(body, version)
        except (StructError, UnicodeDecodeError, ValueError) as error:
            raise self.error("mappings", f"{error}") from error
        if schema not in (_SCHEMA_MBO, _SCHEMA_MIXED):
            raise self.error("schema", f"number {schema}: not market by order (mbo)")

    def _exactly(self, file: IO[bytes], count: int) -> bytes:
        data = file.read(count)
        if len(data) < count:
            raise self.error("", "the file ends within it")
        return data

    def _record(self, data: bytes, at: int, size: int) -> MboRecord:
        if size < _MBO.size:
            raise self.error("length", f"{size} bytes; a record of MBO has {_MBO.size}")
        _, _, publisher, instrument, ts_event, *said, ts_recv, _, _ = _MBO.unpack_from(data, at)
        order_id, price, lots, flags, _, action, side = said
        if action not in ACTIONS:
            raise self.error("action", f"{chr(action)!r} is none of A C M R T F N")
        if side not in SIDES:
            raise self.error("side", f"{chr(side)!r} is none of B A N")
        field, time_ns = (
            ("ts_recv", ts_recv) if ts_recv != UNDEFINED_TIME else ("ts_event", ts_event)
        )
        if time_ns > INT64_MAX:
            raise self.error(field, f"{time_ns} ns is after the year 2262")
        symbol = self._symbols.get(instrument, "")
        what = time_ns, publisher, instrument, action, side, price, lots, order_id, flags, symbol
        return _new(MboRecord, what)

    # --- CSV

    def _csv(self, file: IO[bytes]) -> Iterator[MboRecord]:
        self._unit, self._number = "line", 1
        try:
            with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
                rows = csv.reader(text, strict=True)
                header = [name.strip() for name in next(rows, [])]
                for name in COLUMNS:
                    if name not in header:
                        raise self.error(name, "no such column; Databento's CSV of MBO has it")
                order = [header.index(name) for name in COLUMNS]
                symbol_at = header.index("symbol") if "symbol" in header else -1
                for values in rows:
                    self._number = rows.line_num
                    if len(values) != len(header):
                        problem = f"{len(values)} values, the header has {len(header)}"
                        raise self.error("", problem)
                    symbol = values[symbol_at] if symbol_at >= 0 else ""
                    record = self._row([values[index] for index in order], symbol)
                    if record is not None:
                        yield record
        except UnicodeDecodeError as error:
            raise self.error("", "not UTF-8") from error
        except csv.Error as error:
            raise self.error("", str(error)) from error

    def _row(self, values: Sequence[str], symbol: str) -> MboRecord | None:
        ts_recv, ts_event, rtype, publisher, instrument, action, side, price, *rest = values
        if self._integer("rtype", rtype) != _RTYPE_MBO:
            return None
        if len(action) != 1 or ord(action) not in ACTIONS:
            raise self.error("action", f"{action!r} is none of A C M R T F N")
        if len(side) != 1 or ord(side) not in SIDES:
            raise self.error("side", f"{side!r} is none of B A N")
        field, text = ("ts_recv", ts_recv) if ts_recv else ("ts_event", ts_event)
        try:
            time_ns = _time_ns(text)
            if time_ns > INT64_MAX:
                raise ValueError(f"{text} is after the year 2262")
        except ValueError as error:
            raise self.error(field, str(error)) from error
        try:
            price_units = _price_units(price)
        except ValueError as error:
            raise self.error("price", str(error)) from error
        size, order_id, flags = rest
        return MboRecord(
            time_ns,
            self._integer("publisher_id", publisher),
            self._integer("instrument_id", instrument),
            ord(action),
            ord(side),
            price_units,
            self._integer("size", size, UINT32_MAX),
            self._integer("order_id", order_id, UINT64_MAX),
            self._integer("flags", flags),
            symbol,
        )

    def _integer(self, field: str, text: str, most: int = UINT32_MAX) -> int:
        if not (text.isascii() and text.isdigit()):
            raise self.error(field, f"{text!r} is no whole number")
        if len(text) > DIGITS_MAX or int(text) > most:
            raise self.error(field, f"{text[:DIGITS_MAX]} is more than {most}")
        return int(text)


def _price_units(text: str) -> int:
    """A price with a point is decimal (pretty_px); one without counts units; none is undefined."""
    if not text:
        return UNDEFINED_PRICE
    if "." in text:
        return units_of(text)
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > DIGITS_MAX:
        raise ValueError(f"{text!r} is no price")
    if abs(int(text)) > INT64_MAX:
        raise ValueError(f"{text} is more than {INT64_MAX}")
    return int(text)


def _time_ns(text: str) -> int:
    """Nanoseconds since the epoch, or a time as RFC 3339 in UTC (pretty_ts)."""
    if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX:
        return int(text)
    whole, _, part = text.removesuffix("Z").partition(".")
    if len(part) > 9 or not (part or "0").isdigit() or not text.endswith("Z"):
        raise ValueError(f"{text!r} is no time")
    return _second_ns(whole) + int(part.ljust(9, "0") or "0")


@lru_cache(1_024)
def _second_ns(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp()) * 10**9


def _symbols_of(body: bytes, version: int) -> dict[int, str]:
    """Names by instrument, from the symbol mappings of the metadata.

    Only where symbols map to instrument ids; with several intervals the last name stands.
    """
    fixed = 100
    width = 22 if version == 1 else Struct("<H").unpack_from(body, 45)[0]
    at = fixed

    def count() -> int:
        nonlocal at
        (number,) = Struct("<I").unpack_from(body, at)
        at += 4
        return int(number)

    def text() -> str:
        nonlocal at
        at += width
        if at > len(body):
            raise ValueError("they end within one")
        return body[at - width : at].split(b"\0")[0].decode()

    skipped = count()
    at += skipped
    for _ in range(3):
        skipped = count()
        at += width * skipped
    names: dict[int, str] = {}
    for _ in range(count()):
        raw = text()
        for _ in range(count()):
            at += 8
            mapped = text()
            if mapped.isdigit():
                names[int(mapped)] = raw
    return names
