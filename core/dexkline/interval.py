"""The five K-line intervals and the UTC grid they are aligned to."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

NS_PER_SECOND: Final = 1_000_000_000


class Interval(IntEnum):
    """Length of a window. Numbers are those of dex.kline.v1.Interval."""

    SECOND_1 = 1
    MINUTE_1 = 2
    MINUTE_5 = 3
    HOUR_1 = 4
    DAY_1 = 5

    @property
    def length_ns(self) -> int:
        """Length of the window in nanoseconds."""
        return INTERVALS_NS[self - 1]

    @property
    def label(self) -> str:
        """Short name for people: 1s, 1m, 5m, 1h, 1d."""
        return _LABELS[self - 1]


INTERVALS_NS: Final[tuple[int, int, int, int, int]] = (
    NS_PER_SECOND,
    60 * NS_PER_SECOND,
    300 * NS_PER_SECOND,
    3_600 * NS_PER_SECOND,
    86_400 * NS_PER_SECOND,
)
_LABELS: Final = ("1s", "1m", "5m", "1h", "1d")

# The end of a window that holds the last allowed time must still be an int64.
TIME_NS_MAX: Final = 2**63 - 1 - INTERVALS_NS[-1]


def open_time_ns(time_ns: int, interval: Interval) -> int:
    """Start of the window [open, open + length) that holds `time_ns` (UTC, since the epoch)."""
    length_ns = INTERVALS_NS[interval - 1]
    return time_ns - time_ns % length_ns
