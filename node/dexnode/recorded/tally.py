"""Counts a replay: orders, fills, how far they differ from the recording, latencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from dex.orders.v1 import order_intake_pb2 as orders


@dataclass
class Tally:
    """Sums of a replay. Prices in ticks, sizes in lots, times in ns."""

    placed_count: int = 0
    amended_count: int = 0
    cancelled_count: int = 0
    taker_count: int = 0
    synthetic_count: int = 0
    synthetic_lots: int = 0
    envelope_count: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    fill_count: int = 0
    recorded_lots: int = 0
    filled_lots: int = 0
    exact_count: int = 0
    short_count: int = 0
    short_lots_max: int = 0
    away_count: int = 0
    away_lots: int = 0
    away_ticks_lots: int = 0
    away_ticks_max: int = 0
    latencies_ns: list[int] = field(default_factory=list)

    @property
    def order_count(self) -> int:
        """Everything that was sent: places, amends, cancels."""
        book = self.placed_count + self.amended_count + self.cancelled_count
        return book + self.taker_count + self.synthetic_count

    def trade(self, price_ticks: int, quantity_lots: int, fills: Sequence[orders.Fill]) -> None:
        """What a recorded trade became here."""
        filled = 0
        away_ticks_max = 0
        for fill in fills:
            filled += fill.quantity_lots
            away_ticks = abs(fill.price_ticks - price_ticks)
            if away_ticks:
                self.away_lots += fill.quantity_lots
                self.away_ticks_lots += away_ticks * fill.quantity_lots
                away_ticks_max = max(away_ticks_max, away_ticks)
        self.fill_count += len(fills)
        self.recorded_lots += quantity_lots
        self.filled_lots += filled
        self.away_count += bool(away_ticks_max)
        self.away_ticks_max = max(self.away_ticks_max, away_ticks_max)
        self.short_count += filled < quantity_lots
        self.short_lots_max = max(self.short_lots_max, quantity_lots - filled)
        self.exact_count += not away_ticks_max and filled == quantity_lots


def percentile(values: Sequence[int], per_mille: int) -> int:
    """The smallest value that at least so many thousandths are not above; 0 of nothing."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * per_mille // 1_000) - 1)] if ranked else 0


def ratio(numerator: int, denominator: int, digits: int = 3) -> str:
    """A quotient as a decimal, rounded down; "0" over nothing."""
    if not denominator:
        return "0"
    scaled = numerator * 10**digits // denominator
    return f"{scaled // 10**digits}.{scaled % 10**digits:0{digits}d}"
