"""Processes that others have started, as the kernel lists them."""

from __future__ import annotations

from pathlib import Path


def children_running(pid: int, module: str) -> list[int]:
    """Child processes of a process that run a module."""
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = tasks.read_text().split()
        except OSError:
            # The thread has ended.
            continue
        for child in children:
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            if module.encode() in command:
                found.append(int(child))
    return found
