"""Where the runtime gets the time from, so that tests can give it."""

from __future__ import annotations

import time
from collections.abc import Callable

ClockNs = Callable[[], int]
"""UTC nanoseconds since the epoch."""


def system_clock_ns() -> int:
    """The machine's clock."""
    return time.time_ns()
