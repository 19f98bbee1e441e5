"""What a benchmark says: rows, a table for people, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

MS: Final = 1_000_000
LATE: Final = math.inf


class Limit(NamedTuple):
    """What a row should reach: its ``value`` or its ``ratio``, at most or at least ``bound``."""

    of: str
    at_most: bool
    bound: float

    def text(self) -> str:
        """As the table shows it."""
        name = "" if self.of == "value" else f"{self.of} "
        return f"{name}{'<=' if self.at_most else '>='} {self.bound:g}"


class Peer(NamedTuple):
    """What a value stands beside, measured in the same run and unit."""

    name: str
    value: float


class Row(NamedTuple):
    """One measured number and how it came about."""

    name: str
    value: float
    unit: str
    conditions: str
    peer: Peer | None = None
    limit: Limit | None = None

    @property
    def ratio(self) -> float | None:
        """Value through the peer's value."""
        return None if self.peer is None or not self.peer.value else self.value / self.peer.value

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; None without a limit."""
        if self.limit is None:
            return None
        measured = self.value if self.limit.of == "value" else self.ratio
        if measured is None:
            return False
        if self.limit.at_most:
            return measured <= self.limit.bound
        return measured >= self.limit.bound

    def as_json(self) -> dict[str, Any]:
        """As ``build/bench.json`` has it; a value that never came (infinite) is null."""
        return {
            "name": self.name,
            "value": _number(self.value),
            "unit": self.unit,
            "peer": None
            if self.peer is None
            else {"name": self.peer.name, "value": _number(self.peer.value)},
            "ratio": None if self.ratio is None else _number(self.ratio),
            "target": None if self.limit is None else self.limit.text(),
            "met": self.met,
            "conditions": self.conditions,
        }


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def percentile(ascending: Sequence[float], per_mille: int, missing: int = 0) -> float:
    """Nearest-rank percentile of values in ascending order.

    ``missing`` values never came: they stand at the end as infinite. Infinite when the rank is one
    of theirs, or when there is no value at all.
    """
    total = len(ascending) + missing
    if not total:
        return LATE
    rank = max(1, -(-total * per_mille // 1000))
    return ascending[rank - 1] if rank <= len(ascending) else LATE


def table(rows: Sequence[Row]) -> str:
    """The rows in aligned columns."""
    head = ("what", "value", "unit", "beside", "ratio", "target", "met")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    right = {1, 4}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        _short(row.value),
        row.unit,
        "" if row.peer is None else f"{row.peer.name} {_short(row.peer.value)}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.limit is None else row.limit.text(),
        {None: "", True: "yes", False: "no"}[row.met],
    )


def _short(value: float) -> str:
    if not math.isfinite(value):
        return "never"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Write ``build/bench.json``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.as_json() for row in rows], indent=2) + "\n")
