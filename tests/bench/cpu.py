"""CPU time of a process and of its threads, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all threads."""
    return _seconds(Path(f"/proc/{pid}/stat"))


def thread_cpu_seconds(pid: int) -> dict[str, float]:
    """User and system time by kind of thread.

    ``main`` is the Trio loop, ``verify`` its worker threads (signatures), ``other`` the journal,
    metrics and what libraries start.
    """
    found = {"main": 0.0, "verify": 0.0, "other": 0.0}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
            seconds = _seconds(task / "stat")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if task.name == str(pid):
            found["main"] += seconds
        elif name.startswith("Trio"):
            found["verify"] += seconds
        else:
            found["other"] += seconds
    return found


def resident_bytes(pid: int) -> int:
    """Memory the process has in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _seconds(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
