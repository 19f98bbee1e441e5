"""Copies of the checkout to break: made once, patched, tested, mended, used again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests.sabotage.patches import Sabotage, patched

CHECKOUT = Path(__file__).parents[2]
RUN_SECONDS_MAX = 90
# All of them run in one piece before anything is broken, on a machine that has more to do.
TEST_SECONDS_MAX = 3


class WrongCopy(Exception):
    """The tests did not import the copy: nothing they said is about the sabotage."""


class Outcome(NamedTuple):
    """How a test ended: passed, failed, absent, crashed and so on, and what it raised."""

    word: str
    evidence: list[str]


def source_roots() -> list[str]:
    """The source roots, as the editable installs have them."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]
    roots: list[str] = list(project["hatch"]["build"]["dev-mode-dirs"])
    return roots + [source["path"] for source in project["uv"]["sources"].values()]


def source_files() -> list[str]:
    """Everything git knows or would add: the environment and build results are left out."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    ).stdout
    names = listing.decode().split("\0")
    return [name for name in names if name and (CHECKOUT / name).is_file()]


class Workshop:
    """One copy of the sources in a folder of its own, and the program that tests it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self._witness = folder / "witness.json"
        for name in source_files():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, target)
        paths = [str(folder / root) for root in source_roots()]
        self._server = subprocess.Popen(
            [sys.executable, str(folder / "tests" / "sabotage" / "server.py")],
            cwd=folder,
            env={
                **os.environ,
                # Before the editable installs of the environment, which name the checkout.
                "PYTHONPATH": os.pathsep.join([*paths, str(folder)]),
                "TRIODEX_CHECKOUT": str(CHECKOUT),
                # What is broken is the source.
                "TRIODEX_CORE": "interpreted",
                "TRIODEX_WITNESS": str(self._witness),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the program."""
        self._server.communicate()

    def judge(self, tests: Iterable[str], *, keep_bytecode: bool = True) -> dict[str, Outcome]:
        """Run tests in the copy; what became of each. Raises WrongCopy."""
        tests = list(tests)
        self._witness.unlink(missing_ok=True)
        seconds_max = RUN_SECONDS_MAX + TEST_SECONDS_MAX * len(tests)
        request = {"tests": tests, "keep_bytecode": keep_bytecode, "seconds_max": seconds_max}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        if json.loads(self._server.stdout.readline()) == "hangs":
            return {test: Outcome("hangs", []) for test in tests}
        if not self._witness.exists():
            log = (self.root / "pytest.log").read_text().splitlines()
            return {test: Outcome("crashed", log[-5:]) for test in tests}
        seen = json.loads(self._witness.read_text())
        if seen["strays"] or not seen["from_copy"]:
            raise WrongCopy(f"imported from the checkout: {seen['strays'][:5]}")
        return {test: _outcome(test, seen["outcomes"]) for test in tests}

    def judge_broken(self, sabotage: Sabotage) -> tuple[Outcome, float]:
        """Run the sabotage's test on broken code and mend the code; also the seconds it took."""
        started = time.monotonic()
        files = patched(sabotage, self.root)
        sound = {
            name: ((self.root / name).read_bytes(), (self.root / name).stat()) for name in files
        }
        try:
            for name, text in files.items():
                (self.root / name).write_text(text)
            outcome = self.judge([sabotage.test], keep_bytecode=False)[sabotage.test]
        finally:
            for name, (data, status) in sound.items():
                (self.root / name).write_bytes(data)
                # With its old time the bytecode of the sound file is good again.
                os.utime(self.root / name, ns=(status.st_atime_ns, status.st_mtime_ns))
        return outcome, time.monotonic() - started


def _outcome(test: str, outcomes: dict[str, Any]) -> Outcome:
    """The worst end of a test; a parametrized one may be named without its parameters."""
    mine = [row for node, row in outcomes.items() if node == test or node.startswith(test + "[")]
    if not mine:
        return Outcome("absent", [])
    bad = [row for row in mine if row["outcome"] != "passed"]
    if not bad:
        return Outcome("passed", [])
    words = sorted({row["outcome"] for row in bad})
    return Outcome(words[0], [line for row in bad for line in row["evidence"]])
