"""How much memory the process holds, and whether that is too much."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Final, final

import trio

LOOK_SECONDS: Final = 0.25
# Under the ceiling by this much before new work is taken again.
_CALM_PERCENT: Final = 97
_SHARE_PERCENT: Final = 90
# A look at everything stops the node for seconds.
_COLLECT_SECONDS: Final = 60.0
_STATM: Final = Path("/proc/self/statm")
_CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@final
class MemoryWatch:
    """Reads the resident memory now and then; `is_high` is what the gate asks."""

    def __init__(self, bytes_max: int) -> None:
        """`bytes_max` of zero: nine tenths of what there is."""
        self.bytes_max = bytes_max or memory_there_is() * _SHARE_PERCENT // 100
        self.resident_bytes = 0
        self.is_high = False

    async def run(self) -> None:
        """Look for ever. Garbage that grew old is collected before new work is refused for it: a
        node that refuses makes few objects, and the collector would not come by itself."""
        collected_at = -_COLLECT_SECONDS
        while True:
            self.look(resident_bytes())
            if self.is_high and trio.current_time() - collected_at >= _COLLECT_SECONDS:
                gc.collect()
                collected_at = trio.current_time()
                self.look(resident_bytes())
            await trio.sleep(LOOK_SECONDS)

    def look(self, resident: int) -> None:
        """Judge what was read."""
        self.resident_bytes = resident
        calm_bytes = self.bytes_max * _CALM_PERCENT // 100
        self.is_high = resident >= (calm_bytes if self.is_high else self.bytes_max)


def resident_bytes() -> int:
    """Resident memory of this process; zero where the system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def memory_there_is() -> int:
    """Memory of the machine, or of the container when that is less."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        try:
            found = min(found, int(path.read_text()))
        except (OSError, ValueError):
            continue
    return found
