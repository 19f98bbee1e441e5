"""`python -m tests.sabotage [names] [--list]`: each sabotage must turn its test red.

In a copy of the sources, the named test must pass as the code is, and must fail by the named
assertion once the patch is applied. A test that fails to import, fails in its setup, fails by
another assertion or hangs has noticed nothing.
"""

from __future__ import annotations

import argparse
import queue
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tests.sabotage.patches import PatchError, Sabotage, load_all
from tests.sabotage.workshop import Outcome, Workshop

WORKERS = 2


class Row(NamedTuple):
    """One line of the table."""

    sabotage: Sabotage
    green: str
    red: str
    seconds: float
    evidence: list[str]

    @property
    def bites(self) -> bool:
        """Green without the patch, red by the named assertion with it."""
        return (self.green, self.red) == ("yes", "yes")


def red_word(sabotage: Sabotage, outcome: Outcome) -> str:
    """yes, or why the failure does not count."""
    if outcome.word == "passed":
        return "NOT NOTICED"
    if outcome.word != "failed":
        return outcome.word.upper()
    if any(sabotage.fails in line for line in outcome.evidence):
        return "yes"
    return "OTHER FAILURE"


class Bench:
    """A few workshops that take turns; prints each verdict as it is given."""

    def __init__(self, folder: Path) -> None:
        self._workshops = [Workshop(folder / str(number)) for number in range(WORKERS)]
        self._free: queue.SimpleQueue[Workshop] = queue.SimpleQueue()
        for workshop in self._workshops:
            self._free.put(workshop)
        self._sound: dict[str, Outcome] = {}

    def close(self) -> None:
        """End the programs of the workshops."""
        for workshop in self._workshops:
            workshop.close()

    def judge_sound(self, tests: list[str]) -> None:
        """Run tests on the code as it is, in one go."""
        workshop = self._free.get()
        try:
            found = workshop.judge(tests) if tests else {}
            self._sound.update(found)
            # Beside other work a test may miss a deadline of its own: once more, by itself.
            for test in [test for test, outcome in found.items() if outcome.word != "passed"]:
                self._sound.update(workshop.judge([test]))
        finally:
            self._free.put(workshop)

    def judge(self, sabotage: Sabotage) -> Row:
        """Run a sabotage's test on broken code."""
        workshop = self._free.get()
        try:
            outcome, seconds = workshop.judge_broken(sabotage)
            red, evidence = red_word(sabotage, outcome), outcome.evidence
        except PatchError as error:
            red, seconds, evidence = "DOES NOT APPLY", 0.0, [str(error)]
        finally:
            self._free.put(workshop)
        word = self._sound[sabotage.test].word
        row = Row(sabotage, "yes" if word == "passed" else word, red, seconds, evidence)
        mark = "bites" if row.bites else "FAILS"
        print(f"  {mark}  {sabotage.name} ({seconds:.1f} s)", file=sys.stderr, flush=True)
        return row


def run_all(sabotages: list[Sabotage]) -> list[Row]:
    """Judge every sabotage, two at a time."""
    tests = sorted({sabotage.test for sabotage in sabotages})
    with (
        tempfile.TemporaryDirectory(prefix="sabotage-") as folder,
        closing(Bench(Path(folder))) as bench,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        list(pool.map(bench.judge_sound, [tests[n::WORKERS] for n in range(WORKERS)]))
        return list(pool.map(bench.judge, sabotages))


def table(rows: list[Row]) -> str:
    """The table: name, test, green, red, seconds."""
    width = max(len(row.sabotage.name) for row in rows)
    lines = [f"{'sabotage':{width}}  green  red  seconds  test"]
    lines += [
        f"{row.sabotage.name:{width}}  {row.green:5}  {row.red:3}  {row.seconds:7.1f}  "
        f"{row.sabotage.test}"
        for row in rows
    ]
    return "\n".join(lines)


def report(rows: list[Row], seconds: float) -> bool:
    """Print the table and what did not bite; whether all did."""
    print(table(rows))
    bad = [row for row in rows if not row.bites]
    for row in bad:
        print(f"\n{row.sabotage.name}: green {row.green}, red {row.red}")
        print(f"  wanted: {row.sabotage.fails}")
        for line in row.evidence[:6]:
            print(f"  saw: {line[:300]}")
    print(f"\n{len(rows) - len(bad)} of {len(rows)} bite, {seconds:.0f} s")
    return not bad


def main() -> int:
    """Run the sabotages that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.sabotage", description=__doc__)
    parser.add_argument("names", nargs="*", help="sabotages to run; all without")
    parser.add_argument("--list", action="store_true", help="print what there is and why")
    options = parser.parse_args()
    sabotages = load_all()
    unknown = set(options.names) - {sabotage.name for sabotage in sabotages}
    if unknown:
        parser.error(f"no such sabotage: {', '.join(sorted(unknown))}")
    chosen = [s for s in sabotages if not options.names or s.name in options.names]
    if options.list:
        for sabotage in chosen:
            print(f"{sabotage.name}: {sabotage.why}\n    {sabotage.test}")
        return 0
    started = time.monotonic()
    rows = run_all(chosen)
    return 0 if report(rows, time.monotonic() - started) else 1


if __name__ == "__main__":
    sys.exit(main())
