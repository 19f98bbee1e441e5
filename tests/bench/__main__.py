"""Measure the node that `make run` starts: ``python -m tests.bench [NAME ...] [--quick]``.

Prints a table and writes build/bench.json. `--quick` runs seconds instead of minutes: good to see
that everything works, too short to quote. docs/performance.md says what the numbers mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench import bulk, core_apply, intake, journal, replay, unary
from tests.bench.bench_node import NotMeasurable
from tests.bench.matching import measure as matching
from tests.bench.report import Row, table, write_json

RESULT: Final = Path("build/bench.json")
Bench = Callable[[bool], list[Row]]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _intake(shape: intake.Shape, quick: bool) -> list[Row]:
    return intake.measure(shape, quick=quick, say=_say)


def _core(quick: bool) -> list[Row]:
    rows = []
    for batch in (1, 100):
        cost = core_apply.measure(items=5_000 if quick else 50_000, batch=batch, seed=1)
        conditions = (
            f"{batch} items a command, {cost['trades']:.2f} trades an item, CPU of one thread: "
            + ", ".join(f"{name} {cost[name]:.1f} us" for name in ("apply", "journal", "views"))
        )
        rows.append(Row(f"core, commands of {batch}", 1e6 / cost["apply"], "items/s", conditions))
    return rows


def _replay(quick: bool, commands: int | None = None) -> list[Row]:
    wanted = commands or (replay.QUICK_COMMANDS if quick else replay.COMMANDS)
    return replay.measure(commands=wanted, say=_say)


BENCHES: Final[dict[str, Bench]] = {
    "single": partial(_intake, intake.SINGLE),
    "session": partial(_intake, intake.SESSION),
    "batch": partial(_intake, intake.BATCHES),
    "unary": lambda quick: unary.measure(quick=quick),
    "flight": lambda quick: bulk.measure(quick=quick),
    "core": _core,
    "matching": lambda quick: matching.measure(quick=quick, say=_say),
    "journal": lambda quick: journal.measure_appends(quick=quick),
    "replay": _replay,
}


def main() -> int:
    """Run what is named, or everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument(
        "--commands",
        type=int,
        help="length of the journal of `replay`; 10000000 takes half an hour",
    )
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    rows: list[Row] = []
    try:
        for name in options.names or BENCHES:
            if name == "replay":
                rows += _replay(options.quick, options.commands)
            else:
                rows += BENCHES[name](options.quick)
            write_json(RESULT, rows)
    except NotMeasurable as problem:
        print(f"not measured: {problem}", file=sys.stderr)
        return 1
    print(table(rows))
    print(f"conditions and all values: {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
