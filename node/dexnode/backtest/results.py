"""Results as Parquet: fills, closes and the top of the book, as they happen.

Prices and sizes are exact decimals. A file has its name only when it is whole: until then it is
called .partial, and is removed when the run fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import click
import pyarrow as pa
import pyarrow.parquet as pq

from dexcore.results import OrderStatus

FILLS: Final = "fills.parquet"
CLOSES: Final = "closes.parquet"
TOPS: Final = "top_of_book.parquet"
ROWS_PER_GROUP: Final = 1 << 16
_SCALE: Final = 18
_DECIMAL: Final = pa.decimal128(38, _SCALE)
_TIME: Final = pa.timestamp("ns", "UTC")
_SIDES: Final = pa.array([None, "buy", "sell"], pa.string())
_STATUSES: Final = pa.array([status.name.lower() for status in OrderStatus], pa.string())
# How a column is made of the numbers that were added.
_TIMES, _MARKETS, _COUNTS, _PRICES, _SIZES, _SIDE, _IDS, _ACCOUNTS, _STATUS = range(9)

_FILLS: Final = (
    ("time", _TIMES),
    ("market", _MARKETS),
    ("trade_sequence", _COUNTS),
    ("price", _PRICES),
    ("quantity", _SIZES),
    ("taker_side", _SIDE),
    ("maker_order_id", _IDS),
    ("taker_order_id", _IDS),
    ("maker_account", _ACCOUNTS),
    ("taker_account", _ACCOUNTS),
)
_CLOSES: Final = (
    ("time", _TIMES),
    ("market", _MARKETS),
    ("order_id", _IDS),
    ("account", _ACCOUNTS),
    ("status", _STATUS),
    ("filled", _SIZES),
    ("remaining", _SIZES),
)
_TOPS: Final = (
    ("time", _TIMES),
    ("market", _MARKETS),
    ("bid_price", _PRICES),
    ("bid_quantity", _SIZES),
    ("ask_price", _PRICES),
    ("ask_quantity", _SIZES),
)
_TYPES: Final = {
    _TIMES: _TIME,
    _MARKETS: pa.string(),
    _COUNTS: pa.int64(),
    _PRICES: _DECIMAL,
    _SIZES: _DECIMAL,
    _SIDE: pa.string(),
    _IDS: pa.uint64(),
    _ACCOUNTS: pa.uint64(),
    _STATUS: pa.string(),
}


class _Grid(NamedTuple):
    """A market's name, and its tick and lot in units of 10^-18."""

    name: str
    price_unit: int
    quantity_unit: int


_Markets = list[_Grid]


class Table:
    """Rows of one file; the second value of each is its market's index."""

    def __init__(
        self, path: Path, columns: Sequence[tuple[str, int]], markets: _Markets, accounts: bool
    ) -> None:
        """Opens the file as .partial."""
        self.path: Final = path
        self.partial: Final = path.with_name(f"{path.name}.partial")
        self.row_count = 0
        self._columns = columns
        self._markets = markets
        self._accounts = accounts
        self._rows: list[tuple[int | None, ...]] = []
        self._schema = pa.schema([(name, _TYPES[kind]) for name, kind in columns])
        self._writer = pq.ParquetWriter(self.partial, self._schema, compression="zstd")

    def add(self, row: tuple[int | None, ...]) -> None:
        """Add a row; full groups are written."""
        self._rows.append(row)
        if len(self._rows) == ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self.row_count += len(self._rows)
        by_column = list(zip(*self._rows, strict=True))
        self._rows.clear()
        indexes = by_column[1]
        arrays = [
            self._array(kind, values, indexes)
            for (_, kind), values in zip(self._columns, by_column, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def _array(
        self, kind: int, values: Sequence[int | None], indexes: Sequence[int | None]
    ) -> pa.Array:
        if kind == _MARKETS:
            return pa.array([market.name for market in self._markets], pa.string()).take(
                pa.array(values)
            )
        if kind in (_PRICES, _SIZES):
            units = [
                market.price_unit if kind == _PRICES else market.quantity_unit
                for market in self._markets
            ]
            return _decimals(values, [units[index or 0] for index in indexes])
        if kind == _SIDE:
            return _SIDES.take(pa.array(values))
        if kind == _STATUS:
            return _STATUSES.take(pa.array(values))
        if kind == _ACCOUNTS and not self._accounts:
            return pa.nulls(len(values), pa.uint64())
        return pa.array(values, _TYPES[kind])


def _decimals(values: Sequence[int | None], units: Sequence[int]) -> pa.Array:
    """Values times their unit, both whole numbers, as decimals: 16 bytes each, little endian."""
    data = b"".join(
        ((value or 0) * unit).to_bytes(16, "little", signed=True)
        for value, unit in zip(values, units, strict=True)
    )
    valid = pa.array([value is not None for value in values]).buffers()[1]
    return pa.Array.from_buffers(_DECIMAL, len(values), [valid, pa.py_buffer(data)])


class Results:
    """The three files of a run in a folder; a context that keeps them only when the run is done."""

    def __init__(self, folder: Path, *, accounts: bool) -> None:
        """Makes the folder. Raises ClickException when it holds results already."""
        folder.mkdir(parents=True, exist_ok=True)
        markets: _Markets = []
        paths = [folder / name for name in (FILLS, CLOSES, TOPS)]
        for path in paths:
            if path.exists():
                raise click.ClickException(f"{path} exists: give --output another folder")
        self._markets = markets
        self.fills: Final = Table(paths[0], _FILLS, markets, accounts)
        self.closes: Final = Table(paths[1], _CLOSES, markets, accounts)
        self.tops: Final = Table(paths[2], _TOPS, markets, accounts)

    @property
    def tables(self) -> tuple[Table, Table, Table]:
        """All three."""
        return self.fills, self.closes, self.tops

    def open_market(self, name: str, price_unit: Decimal, lot_unit: Decimal) -> None:
        """Know a market: the next index. Raises ClickException for a grid decimals cannot say."""
        units = []
        for unit in (price_unit, lot_unit):
            scaled = unit.scaleb(_SCALE)
            if scaled != int(scaled):
                raise click.ClickException(
                    f"{name}: a tick or lot of {unit:f} has more than {_SCALE} decimals: "
                    "no exact results can be written, leave --output out"
                )
            units.append(int(scaled))
        self._markets.append(_Grid(name, *units))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for table in self.tables:
            table.close()
            if kind is None:
                table.partial.rename(table.path)
            else:
                table.partial.unlink(missing_ok=True)


def written(results: Results | None) -> dict[str, Any] | None:
    """The files and their rows, for the summary."""
    if results is None:
        return None
    return {str(table.path): table.row_count for table in results.tables}
