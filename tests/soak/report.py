"""The dated output: what ran, on what, how far, and how it ended."""

from __future__ import annotations

import itertools
import math
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.soak.job import Job
from tests.soak.runner import Ended

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "soak"


class Page(NamedTuple):
    """What stands at the top of a report."""

    started_ns: int
    commit: str
    minutes: float
    path: Path


def new_page(started_ns: int, minutes: float, folder: Path = FOLDER) -> Page:
    """A page of its own, named after its start; there at once, so that no other run has it."""
    folder.mkdir(parents=True, exist_ok=True)
    name = time.strftime("%Y-%m-%d-%H%M%S", time.gmtime(started_ns // 10**9))
    for number in itertools.count(1):
        path = folder / (f"{name}.md" if number == 1 else f"{name}-{number}.md")
        page = Page(started_ns, commit(), minutes, path)
        try:
            with path.open("x") as file:
                file.write(text([], page))
        except FileExistsError:
            continue
        return page
    raise AssertionError("unreachable")


def git(*arguments: str) -> str:
    """What git says about the checkout."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit() -> str:
    """The commit, and whether the files are its own."""
    # Earlier reports change nothing that runs.
    changed = git("status", "--porcelain", "--", ".", ":(exclude)docs/soak")
    dirty = " with changes not committed" if changed else ""
    return git("rev-parse", "--short", "HEAD") + dirty


def machine() -> str:
    """The machine, without its name."""
    info = Path("/proc/cpuinfo")
    model = platform.machine()
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(": ")[2] if names else model
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{os.cpu_count()} x {model}, {memory_gib:.0f} GiB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}; load average {load} at the end"
    )


def text(ended: Sequence[Ended], page: Page) -> str:
    """The report in markdown."""
    bound = "none" if page.minutes == math.inf else f"{page.minutes:g} minutes for all jobs"
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(page.started_ns // 10**9))
    lines = [
        f"# Soak of {started} UTC",
        "",
        f"- Machine: {machine()}",
        f"- Commit: {page.commit}",
        f"- Bound: {bound}",
        "",
        "| job | done | goal | seconds | seed | result |",
        "|---|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {one.job.name} | {one.progress.done:,} {one.job.unit} | {one.job.goal:,} "
        f"| {one.progress.seconds:.0f} | {one.seed} | {one.verdict} |"
        for one in ended
    ]
    for one in ended:
        lines += ["", f"## {one.job.name}", "", one.job.what, ""]
        lines += [f"- {name}: {value}" for name, value in one.progress.figures.items()]
        lines += [f"- {name}: {count:,}" for name, count in sorted(one.progress.counts.items())]
        if one.error is not None:
            lines += [f"- raised {one.error}"]
    return "\n".join(lines) + "\n"


def write(ended: Sequence[Ended], page: Page) -> None:
    """Write the report to its page, whole or not at all."""
    new = page.path.with_suffix(".tmp")
    new.write_text(text(ended, page))
    new.replace(page.path)


def exit_code(jobs: Sequence[Job], ended: Sequence[Ended]) -> int:
    """0 when every job ran and held; 1 when one failed or never said how it ended."""
    failed = any(one.error is not None for one in ended)
    missing = {job.name for job in jobs} - {one.job.name for one in ended}
    return 1 if failed or missing else 0
