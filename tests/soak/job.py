"""What every soak job is given and gives back."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, final

SECOND_NS = 10**9
PROGRESS_NS = 5 * SECOND_NS


@final
class Run:
    """One job's run: when it must end, where its random choices start, and what it counted."""

    def __init__(self, name: str, goal: int, seed: int, seconds: float) -> None:
        self.name = name
        self.goal = goal
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.done = 0
        self._started_ns = time.monotonic_ns()
        self._end_ns = self._started_ns + round(seconds * SECOND_NS)
        self._shown_ns = 0
        self._ended_ns = 0

    @property
    def seconds(self) -> float:
        """Time since the start, or from start to end."""
        return ((self._ended_ns or time.monotonic_ns()) - self._started_ns) / SECOND_NS

    def end(self) -> None:
        """The job is over: its time stands still."""
        self._ended_ns = time.monotonic_ns()
        self.show()

    def goes_on(self, *, rounds_ahead: float = 0) -> bool:
        """Whether the goal is not reached and there is time for `rounds_ahead` more of it."""
        now_ns = time.monotonic_ns()
        if now_ns - self._shown_ns > PROGRESS_NS:
            self._shown_ns = now_ns
            self.show()
        spent_ns = now_ns - self._started_ns
        needed_ns = spent_ns / self.done * rounds_ahead if self.done else 0
        return self.done < self.goal and now_ns + needed_ns < self._end_ns

    def show(self) -> None:
        """One line of progress."""
        share = 100 * self.done // self.goal
        line = f"{self.name}: {self.done:,} of {self.goal:,} ({share} %), {self.seconds:.0f} s"
        print(line, file=sys.stderr, flush=True)


class Job(NamedTuple):
    """A kind of soak: `work` counts into the run and raises where a property does not hold."""

    name: str
    what: str
    unit: str
    goal: int
    share: int
    work: Callable[[Run], None]
