"""The dated output: what ran, on what, how far, and how it ended."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from tests.soak.job import Job, Run

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "soak"


class Ended(NamedTuple):
    """A job that ran, and what it raised, if anything."""

    job: Job
    run: Run
    error: BaseException | None

    @property
    def verdict(self) -> str:
        """One of three words."""
        if self.error is not None:
            return "FAILED"
        return "held" if self.run.done >= self.run.goal else "held as far as it ran"


def git(*arguments: str) -> str:
    """What git says about the checkout."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit() -> str:
    """The commit, and whether the files are its own."""
    dirty = " with changes not committed" if git("status", "--porcelain") else ""
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


def text(ended: list[Ended], started_ns: int, commit_text: str, minutes: float) -> str:
    """The report in markdown."""
    lines = [
        f"# Soak of {time.strftime('%Y-%m-%d %H:%M', time.gmtime(started_ns // 10**9))} UTC",
        "",
        f"- Machine: {machine()}",
        f"- Commit: {commit_text}",
        f'- Bound: {minutes:g} minutes for all jobs together (`make soak ARGS="--minutes N"`)',
        "",
        "| job | done | goal | seconds | seed | result |",
        "|---|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {job.name} | {run.done:,} {job.unit} | {run.goal:,} | {run.seconds:.0f} | {run.seed} "
        f"| {one.verdict} |"
        for one in ended
        for job, run, _ in [one]
    ]
    for one in ended:
        lines += ["", f"## {one.job.name}", "", one.job.what, ""]
        lines += [f"- {name}: {count:,}" for name, count in sorted(one.run.counts.items())]
        if one.error is not None:
            said = str(one.error).splitlines() or [""]
            lines += [f"- raised {type(one.error).__name__}: {said[0][:300]}"]
    return "\n".join(lines) + "\n"


def write(ended: list[Ended], started_ns: int, commit_text: str, minutes: float) -> Path:
    """Write the report to docs/soak/, named after its start; returns the path."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = time.strftime("%Y-%m-%d-%H%M", time.gmtime(started_ns // 10**9))
    path = FOLDER / f"{name}.md"
    path.write_text(text(ended, started_ns, commit_text, minutes))
    return path
