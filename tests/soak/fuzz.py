"""Every family of inputs in turn, in a process of its own, guided by coverage where atheris is."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fuzz.engine import FINDING_EXIT
from tests.fuzz.families import FAMILIES
from tests.soak.job import Run

ROOT: Final = Path(__file__).parents[2]
ARTIFACTS: Final = ROOT / "build" / "fuzz"
PINS: Final = ROOT / "requirements" / "fuzz.txt"
SECONDS_MIN: Final = 1
# What libFuzzer prints, and the mutator after it.
DONE = re.compile(r"^#(\d+)\b|^stat::number_of_executed_units: (\d+)")
COVERED = re.compile(r"cov: (\d+)")
FOUND = re.compile(r"Test unit written to (\S+)")


def work(run: Run) -> None:
    """Each family its share of the goal, and of the time if there is a bound."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    site = atheris_site()
    engine = "mutator" if site is None else "atheris"
    if site is None:
        run.figures["engine"] = "none: atheris cannot be installed here, inputs are spoiled blindly"
    else:
        run.figures["engine"] = "atheris: coverage of our own packages guides the inputs"
    left = 100
    goal, done_before = run.goal, 0
    for number, (name, entry) in enumerate(FAMILIES.items()):
        runs = goal * entry.share // 100 if left > entry.share else goal - done_before
        seconds = run.seconds_left * entry.share / left
        if seconds < SECONDS_MIN:
            return
        left -= entry.share
        command = _command(name, engine, runs, seconds, 1 + (run.seed + number) % 2**31)
        follow(run, Child(name, engine, command, site or ""))
        done_before += runs


def _command(name: str, engine: str, runs: int, seconds: float, seed: int) -> list[str]:
    command = [sys.executable, "-m", "tests.fuzz", name, "--engine", engine]
    command += ["--runs", str(runs), "--seed", str(seed), "--artifacts", str(ARTIFACTS)]
    return command + (["--seconds", str(int(seconds))] if math.isfinite(seconds) else [])


class Child:
    """One family's process."""

    def __init__(self, family: str, engine: str, command: list[str], site: str = "") -> None:
        self.family = family
        self.engine = engine
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), site))),
                # Coverage is that of Python's own code: what is compiled guides nobody.
                "TRIODEX_CORE": "interpreted",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )


def follow(run: Run, child: Child) -> None:
    """Follow a child to its end. Raises AssertionError, naming the input, for a finding."""
    before = run.done
    finding = ""
    lines: list[str] = []
    covered = "0"
    assert child.process.stdout is not None
    try:
        for line in child.process.stdout:
            lines = [*lines[-30:], line.rstrip()]
            if found := DONE.search(line):
                run.done = before + int(found[1] or found[2])
                run.tell()
            if found := COVERED.search(line):
                covered = found[1]
            if found := FOUND.search(line):
                finding = found[1]
        code = child.process.wait()
    finally:
        child.process.kill()
        child.process.wait()
    run.counts[f"{child.family}: executions"] += run.done - before
    if child.engine == "atheris":
        run.figures[f"{child.family}: edges covered"] = covered
    if finding or code == FINDING_EXIT:
        said = [line for line in lines if re.match(r"\w*(Error|Exception|error)\b", line)]
        replay = f"python -m tests.fuzz {child.family} {os.path.relpath(finding, ROOT)}"
        raise AssertionError(f"{child.family}: {' '.join(said[-1:])}; replay: {replay}")
    if code:
        raise AssertionError(f"{child.family}: the engine ended with {code}: {lines[-1:]}")


def atheris_site() -> str | None:
    """A folder to import atheris from, "" if this environment has it, None if it cannot be had."""
    if importlib.util.find_spec("atheris"):
        return ""
    site = ROOT / "build" / f"atheris-{sys.version_info[0]}.{sys.version_info[1]}"
    if not (site / "atheris").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--target", str(site)]
        done = subprocess.run(
            [*pip, *options, "-r", str(PINS)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["pip failed"]
            print(f"fuzz: no atheris, so no coverage feedback: {said[0]}", file=sys.stderr)
            return None
    return str(site)
