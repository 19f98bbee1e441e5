"""A share of a core for work that has time, beside work that has not.

Niceness only orders who runs on a core. What runs on the core beside it still slows a node down, by
as much as the two share caches, memory and execution units. So the process rests after each slice
of CPU it used.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

# Short, so that what waits for the other core hardly notices a slice.
SLICE_SECONDS: Final = 0.004
SHARE: Final = 0.25


@contextmanager
def unhurried(seconds: float) -> Iterator[None]:
    """For so many seconds use no more than SHARE of one core; after them as much as there is.

    Of the whole process, by a timer of its CPU time; from the main thread. A call into C that
    takes long is one slice.
    """
    until = time.monotonic() + seconds

    def rest(_signal: int, _frame: FrameType | None) -> None:
        left = until - time.monotonic()
        if left > 0:
            time.sleep(min(left, SLICE_SECONDS / SHARE - SLICE_SECONDS))
        else:
            signal.setitimer(signal.ITIMER_PROF, 0)

    before = signal.signal(signal.SIGPROF, rest)
    signal.setitimer(signal.ITIMER_PROF, SLICE_SECONDS, SLICE_SECONDS)
    try:
        yield
    finally:
        # A signal that nobody handles ends the process.
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
