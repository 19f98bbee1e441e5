"""Flood limits: how often a peer may do what costs the server and not the peer."""

from __future__ import annotations

from typing import final

import trio


@final
class ServerLoad:
    """What the connections of one server hold together."""

    __slots__ = ("buffered_bytes",)

    def __init__(self) -> None:
        self.buffered_bytes = 0
        """Request bytes that handlers have not taken yet."""


@final
class RateLimit:
    """At most `count_max` events in any one-second window that starts with an event."""

    __slots__ = ("_count", "_count_max", "_window_start")

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._count = 0
        self._window_start = 0.0

    def exceeded(self) -> bool:
        """Count one event; True once there are too many."""
        self._count += 1
        if 1 < self._count <= self._count_max:
            return False
        now = trio.current_time()
        if self._count == 1 or now - self._window_start >= 1.0:
            self._window_start = now
            self._count = 1
            return False
        return True

    @property
    def used_share(self) -> float:
        """How much of the window's count is used, 1 at most."""
        if not self._count or trio.current_time() - self._window_start >= 1.0:
            return 0.0
        return min(1.0, self._count / self._count_max)


@final
class ResetBudget:
    """Resets a peer may send: one for each call it waited for, of which `earned_max` are kept, and
    beside them `free_max` in any one-second window."""

    __slots__ = ("_earned", "_earned_max", "free")

    def __init__(self, free_max: int, earned_max: int) -> None:
        self.free = RateLimit(free_max)
        self._earned = 0
        self._earned_max = earned_max

    def earn(self) -> None:
        """A call has ended with its status: its peer does not only begin calls."""
        if self._earned < self._earned_max:
            self._earned += 1

    def exceeded(self) -> bool:
        """Count one reset; True once there are too many."""
        if self._earned:
            self._earned -= 1
            return False
        return self.free.exceeded()
