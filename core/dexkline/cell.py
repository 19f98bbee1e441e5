"""One window's aggregate as a Python object: the scalar path.

A cell is a commutative monoid: merging cells gives the same cell in any order, because the open
and the close are chosen by the key (time_ns, trade_sequence), which is unique per trade, and
everything else is a sum, a minimum or a maximum. `version` and `sequence` are not part of that:
they belong to the stored K-line and follow the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dexkline.interval import NS_PER_SECOND, TIME_NS_MAX

INT64_MAX: Final = 2**63 - 1
# Greatest number of an Arrow decimal128(38, 0).
TURNOVER_ATOMS_MAX: Final = 10**38 - 1

Trade = tuple[int, int, int, int]


class Cell:
    """Aggregate of the trades of one window; `open_time_ns` is the start of the window."""

    __slots__ = (
        "close_ticks",
        "first_sequence",
        "first_time_ns",
        "high_ticks",
        "last_sequence",
        "last_time_ns",
        "low_ticks",
        "open_ticks",
        "open_time_ns",
        "sequence",
        "trade_count",
        "turnover_atoms",
        "version",
        "volume_lots",
    )

    open_time_ns: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int
    turnover_atoms: int
    trade_count: int
    first_time_ns: int
    first_sequence: int
    last_time_ns: int
    last_sequence: int
    version: int
    sequence: int

    def copy_to_window(self, open_time_ns: int, sequence: int) -> Cell:
        """A new open cell with the same trades, for the window that starts at `open_time_ns`."""
        new = Cell()
        new.open_time_ns = open_time_ns
        new.open_ticks = self.open_ticks
        new.high_ticks = self.high_ticks
        new.low_ticks = self.low_ticks
        new.close_ticks = self.close_ticks
        new.volume_lots = self.volume_lots
        new.turnover_atoms = self.turnover_atoms
        new.trade_count = self.trade_count
        new.first_time_ns = self.first_time_ns
        new.first_sequence = self.first_sequence
        new.last_time_ns = self.last_time_ns
        new.last_sequence = self.last_sequence
        new.version = 0
        new.sequence = sequence
        return new

    def merge(self, other: Cell, sequence: int) -> None:
        """Add the trades of `other`, which the command at journal position `sequence` made.

        A closed cell gains one version per command, however many merges the command makes.
        """
        if other.high_ticks > self.high_ticks:
            self.high_ticks = other.high_ticks
        if other.low_ticks < self.low_ticks:
            self.low_ticks = other.low_ticks
        first_time_ns = other.first_time_ns
        if first_time_ns < self.first_time_ns or (
            first_time_ns == self.first_time_ns and other.first_sequence < self.first_sequence
        ):
            self.open_ticks = other.open_ticks
            self.first_time_ns = first_time_ns
            self.first_sequence = other.first_sequence
        last_time_ns = other.last_time_ns
        if last_time_ns > self.last_time_ns or (
            last_time_ns == self.last_time_ns and other.last_sequence > self.last_sequence
        ):
            self.close_ticks = other.close_ticks
            self.last_time_ns = last_time_ns
            self.last_sequence = other.last_sequence
        self.volume_lots += other.volume_lots
        self.turnover_atoms += other.turnover_atoms
        self.trade_count += other.trade_count
        if self.sequence != sequence:
            self.sequence = sequence
            if self.version:
                self.version += 1


def check_trade(trade: Trade) -> None:
    """Raise ValueError naming the first field of a trade that is out of range."""
    time_ns, trade_sequence, price_ticks, quantity_lots = trade
    if not 0 <= time_ns <= TIME_NS_MAX:
        raise ValueError(f"time_ns out of range: {time_ns}")
    if not 0 < trade_sequence <= INT64_MAX:
        raise ValueError(f"trade_sequence out of range: {trade_sequence}")
    if not 0 < price_ticks <= INT64_MAX:
        raise ValueError(f"price_ticks out of range: {price_ticks}")
    if not 0 < quantity_lots <= INT64_MAX:
        raise ValueError(f"quantity_lots out of range: {quantity_lots}")


def fold_seconds(trades: Sequence[Trade], quote_atoms_per_tick_lot: int) -> list[Cell]:
    """Fold trades, in any order, into one cell per second, in order of first appearance.

    The cells have no sequence yet. Raises ValueError for a trade out of range.
    """
    cells: dict[int, Cell] = {}
    cell = Cell()
    start_ns = end_ns = -1
    for trade in trades:
        time_ns, trade_sequence, price, quantity = trade
        if not (
            0 <= time_ns <= TIME_NS_MAX
            and 0 < trade_sequence <= INT64_MAX
            and 0 < price <= INT64_MAX
            and 0 < quantity <= INT64_MAX
        ):
            check_trade(trade)
        if not start_ns <= time_ns < end_ns:
            start_ns = time_ns - time_ns % NS_PER_SECOND
            end_ns = start_ns + NS_PER_SECOND
            found = cells.get(start_ns)
            if found is None:
                cell = cells[start_ns] = _start(start_ns, trade)
                continue
            cell = found
        if price > cell.high_ticks:
            cell.high_ticks = price
        elif price < cell.low_ticks:
            cell.low_ticks = price
        if time_ns > cell.last_time_ns or (
            time_ns == cell.last_time_ns and trade_sequence > cell.last_sequence
        ):
            cell.close_ticks = price
            cell.last_time_ns = time_ns
            cell.last_sequence = trade_sequence
        elif time_ns < cell.first_time_ns or (
            time_ns == cell.first_time_ns and trade_sequence < cell.first_sequence
        ):
            cell.open_ticks = price
            cell.first_time_ns = time_ns
            cell.first_sequence = trade_sequence
        cell.volume_lots += quantity
        cell.turnover_atoms += price * quantity
        cell.trade_count += 1
    for cell in cells.values():
        cell.turnover_atoms *= quote_atoms_per_tick_lot
    return list(cells.values())


def _start(open_time_ns: int, trade: Trade) -> Cell:
    time_ns, trade_sequence, price, quantity = trade
    cell = Cell()
    cell.open_time_ns = open_time_ns
    cell.open_ticks = cell.high_ticks = cell.low_ticks = cell.close_ticks = price
    cell.volume_lots = quantity
    cell.turnover_atoms = price * quantity
    cell.trade_count = 1
    cell.first_time_ns = cell.last_time_ns = time_ns
    cell.first_sequence = cell.last_sequence = trade_sequence
    return cell
