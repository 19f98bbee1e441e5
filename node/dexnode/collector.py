"""When the garbage collector looks at young objects.

Theory of operation. Nothing on the way of an order is part of a cycle: what garbage there is,
closed connections have left (7 KB each, 43 with TLS), and what of it has grown old waits for memory
to come near its ceiling (dexnode.memory_watch). CPython looks whenever more objects were made than
dropped by a threshold, and calls in flight hold a hundred each: with a fixed threshold that is
right for few calls, a node with a thousand of them looks ten times a second at what is about to be
dropped anyway, a tenth of its time (docs/performance.md). So the threshold moves with the calls in
flight, and only what stays brings the next look.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

import trio

LOOK_SECONDS: Final = 0.1
# A look at so many objects that stay takes a few milliseconds.
_YOUNG_OBJECTS: Final = 10_000
_OBJECTS_PER_CALL: Final = 100
# What survived is looked at once more, soon, while it is little; and what is old hardly ever.
_LOOKS: Final = (2, 5_000)


def set_thresholds(calls_in_flight: int) -> None:
    """So many calls in flight hold objects that are no garbage."""
    gc.set_threshold(_YOUNG_OBJECTS + calls_in_flight * _OBJECTS_PER_CALL, *_LOOKS)


async def keep_thresholds(calls_in_flight: Callable[[], int]) -> None:
    """Follow the calls in flight for ever."""
    while True:
        set_thresholds(calls_in_flight())
        await trio.sleep(LOOK_SECONDS)
