"""Counters, gauges and histograms that cost a hot path one integer addition.

Theory of operation: writers add to plain integers in slotted objects; nothing is computed until a
scrape reads them, usually from another thread. Each object has one writer (the loop, or the
journal's thread), and the interpreter reads an integer or copies a list in one piece, so a scrape
needs no lock; at worst it sees a histogram's sum one observation ahead of its buckets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, Literal, NamedTuple, TypeVar, final

# Label values may come from outside (a market's name): past this many, the rest share one series.
SERIES_MAX: Final = 2000
OTHER: Final = "other"

US: Final = 10**3
MS: Final = 10**6
SECOND: Final = 10**9
DURATION_BOUNDS_NS: Final = (
    *(100 * US, 250 * US, 500 * US),
    *(1 * MS, 2_500 * US, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS),
    *(1 * SECOND, 2_500 * MS, 5 * SECOND, 10 * SECOND),
)
COUNT_BOUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

Kind = Literal["counter", "gauge", "histogram"]
Unit = Literal["", "seconds", "bytes"]
SeriesT = TypeVar("SeriesT")


@final
class Counter:
    """A number that grows: `counter.value += 1`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


@final
class Histogram:
    """Observations counted by upper bound, inclusive, as Prometheus has it."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[int]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0

    def observe(self, value: int) -> None:
        """Count one value, in the unit of the bounds."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Sample(NamedTuple):
    """One value of a gauge or of a counter that is kept elsewhere."""

    labels: tuple[str, ...]
    value: float


@final
class Family(Generic[SeriesT]):
    """A metric and its series by label values."""

    __slots__ = ("_make", "_series", "help", "kind", "labels", "name", "original", "unit")

    def __init__(
        self,
        kind: Kind,
        name: str,
        help_: str,
        make: Callable[[], SeriesT],
        labels: tuple[str, ...] = (),
        unit: Unit = "",
        original: str = "",
    ) -> None:
        """`original`: the name the first design of the system gave it, for docs/reference."""
        self.kind: Kind = kind
        self.name = name
        self.help = help_
        self.labels = labels
        self.unit = unit
        self.original = original
        self._make = make
        self._series: dict[tuple[str, ...], SeriesT] = {}

    def series(self, *values: str) -> SeriesT:
        """The series of these label values, made when first asked for. Keep it: this is slower than
        what it returns."""
        found = self._series.get(values)
        if found is None:
            if len(self._series) >= SERIES_MAX:
                values = (OTHER,) * len(self.labels)
            found = self._series.setdefault(values, self._make())
        return found

    def items(self) -> list[tuple[tuple[str, ...], SeriesT]]:
        """Every series with its label values. From any thread."""
        return list(self._series.items())


@final
class Reading:
    """A metric that is read off the system at every scrape, on the scraping thread."""

    __slots__ = ("help", "kind", "labels", "name", "original", "read", "unit")

    def __init__(
        self,
        kind: Kind,
        name: str,
        help_: str,
        labels: tuple[str, ...] = (),
        unit: Unit = "",
        original: str = "",
    ) -> None:
        self.kind: Kind = kind
        self.name = name
        self.help = help_
        self.labels = labels
        self.unit = unit
        self.original = original
        self.read: Callable[[], Iterable[Sample]] = tuple
        """Gives the samples of now; nothing until the system that is read exists."""


@final
class Registry:
    """All metrics of a node, in the order of their declaration."""

    __slots__ = ("counters", "histograms", "readings")

    def __init__(self) -> None:
        self.counters: list[Family[Counter]] = []
        self.histograms: list[Family[Histogram]] = []
        self.readings: list[Reading] = []

    def counter(
        self, name: str, help_: str, labels: tuple[str, ...] = (), *, original: str = ""
    ) -> Family[Counter]:
        """Declare a counter; its name ends in `_total`."""
        family = Family("counter", name, help_, Counter, labels, "", original)
        self.counters.append(family)
        return family

    def histogram(
        self,
        name: str,
        help_: str,
        labels: tuple[str, ...] = (),
        *,
        bounds: Sequence[int] = DURATION_BOUNDS_NS,
        unit: Unit = "seconds",
        original: str = "",
    ) -> Family[Histogram]:
        """Declare a histogram. One in seconds is observed in nanoseconds."""
        family = Family("histogram", name, help_, lambda: Histogram(bounds), labels, unit, original)
        self.histograms.append(family)
        return family

    def reading(
        self,
        kind: Kind,
        name: str,
        help_: str,
        labels: tuple[str, ...] = (),
        *,
        unit: Unit = "",
        original: str = "",
    ) -> Reading:
        """Declare a gauge, or a counter that the system keeps anyway."""
        reading = Reading(kind, name, help_, labels, unit, original)
        self.readings.append(reading)
        return reading

    def all(self) -> list[Family[Counter] | Family[Histogram] | Reading]:
        """Every metric, by name."""
        found: list[Family[Counter] | Family[Histogram] | Reading]
        found = [*self.counters, *self.histograms, *self.readings]
        return sorted(found, key=lambda metric: metric.name)
