"""K-line windows: aligned to UTC, [open_time, open_time + interval) (dex.kline.v1.Interval)."""

from __future__ import annotations

from typing import Final

from dexsdk.times import NS_PER_SECOND
from dexsdk.types import Interval

INTERVAL_NS: Final = {
    Interval.S1: NS_PER_SECOND,
    Interval.M1: 60 * NS_PER_SECOND,
    Interval.M5: 300 * NS_PER_SECOND,
    Interval.H1: 3_600 * NS_PER_SECOND,
    Interval.D1: 86_400 * NS_PER_SECOND,
}


def open_time_ns(time_ns: int, interval: Interval) -> int:
    """Start of the window that holds `time_ns`, in nanoseconds since the epoch."""
    return time_ns - time_ns % INTERVAL_NS[interval]
