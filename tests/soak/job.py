"""What every soak job is given and gives back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple, final

SECOND_NS = 10**9
PROGRESS_NS = 5 * SECOND_NS


class Progress(NamedTuple):
    """How far a job is: what it did, how long it took, what it counted and measured."""

    done: int
    seconds: float
    counts: Mapping[str, int]
    figures: Mapping[str, str]


NOTHING = Progress(0, 0.0, {}, {})
Tell = Callable[[Progress], None]


@final
class Run:
    """One job's run: when it must end, where its random choices start, and what it counted.

    ``counts`` are numbers of things that happened, ``figures`` measured values with their units
    and conditions; both go into the report as they stand when the job ends, however it ends.
    """

    def __init__(
        self, name: str, goal: int, seed: int, seconds: float, tell: Tell | None = None
    ) -> None:
        self.name = name
        self.goal = goal
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.figures: dict[str, str] = {}
        self.done = 0
        self._tell = tell
        self._started_ns = time.monotonic_ns()
        self._seconds = seconds
        self._told_ns = 0

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return (time.monotonic_ns() - self._started_ns) / SECOND_NS

    @property
    def seconds_left(self) -> float:
        """Time until the bound; infinite without one."""
        return max(0.0, self._seconds - self.seconds)

    @property
    def progress(self) -> Progress:
        """Where the job stands."""
        return Progress(self.done, self.seconds, dict(self.counts), dict(self.figures))

    def goes_on(self, *, rounds_ahead: float = 0) -> bool:
        """Whether the goal is not reached and there is time for `rounds_ahead` more of it."""
        self.tell()
        needed = self.seconds / self.done * rounds_ahead if self.done else 0
        return self.done < self.goal and self.seconds_left > needed

    def tell(self) -> None:
        """Show where the job stands, now and then; for jobs that do one long thing."""
        now_ns = time.monotonic_ns()
        if self._tell is not None and now_ns - self._told_ns > PROGRESS_NS:
            self._told_ns = now_ns
            self._tell(self.progress)


class Job(NamedTuple):
    """A kind of soak: `work` counts into the run and raises where a property does not hold.

    A job runs in a process of its own until its goal. One that measures runs `alone`, before the
    others; those that only count run beside each other, one for every core.
    """

    name: str
    what: str
    unit: str
    goal: int
    work: Callable[[Run], None]
    alone: bool = False
