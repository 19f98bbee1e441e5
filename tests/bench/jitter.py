"""The scheduler's own lateness: ``python -m tests.bench.jitter SECONDS``.

Sleeps one millisecond again and again and prints, as JSON, by how much every sleep was too long
(nanoseconds). What this control shows is what the machine adds to any latency measured beside it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Final, NamedTuple

from tests.bench.report import MS, percentile

SLEEP_SECONDS: Final = 0.001


class Jitter(NamedTuple):
    """Overshoot of a one-millisecond sleep, in milliseconds."""

    p50: float
    p99: float
    p999: float

    def text(self) -> str:
        """For the conditions of a row."""
        return f"{self.p50:.2f}/{self.p99:.2f}/{self.p999:.2f} ms"


def measure(seconds: float) -> list[int]:
    """Overshoots of this process, in nanoseconds."""
    found: list[int] = []
    end = time.perf_counter_ns() + int(seconds * 1e9)
    before = time.perf_counter_ns()
    while before < end:
        time.sleep(SLEEP_SECONDS)
        after = time.perf_counter_ns()
        found.append(after - before - int(SLEEP_SECONDS * 1e9))
        before = after
    return found


class JitterControl:
    """The control in its own process, beside whatever runs meanwhile."""

    def __init__(self, seconds: float) -> None:
        command = [sys.executable, "-m", "tests.bench.jitter", str(seconds)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def result(self) -> Jitter:
        """Wait for its end."""
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError("the jitter control failed")
        values = sorted(json.loads(output))
        return Jitter(*(percentile(values, per_mille) / MS for per_mille in (500, 990, 999)))


if __name__ == "__main__":
    print(json.dumps(measure(float(sys.argv[1]))))
