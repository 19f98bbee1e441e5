"""CPU time of a process and of its threads, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all threads."""
    return _seconds(Path(f"/proc/{pid}/stat"))


def node_cpu_seconds(pid: int) -> dict[str, float]:
    """User and system time of a node by what it went to.

    ``loop`` is the main thread; ``threads`` are the others: journal, metrics, what libraries start;
    ``verify`` are the processes that check signatures, its only children while it serves.
    """
    found = {"loop": 0.0, "threads": 0.0, "verify": 0.0}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            seconds = _seconds(task / "stat")
            children = (task / "children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found["loop" if task.name == str(pid) else "threads"] += seconds
        found["verify"] += sum(cpu_seconds(int(child)) for child in children)
    return found


def resident_bytes(pid: int) -> int:
    """Memory the process has in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _seconds(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
