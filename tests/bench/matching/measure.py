"""Our matcher beside those of others, in turns.

Every engine is in a process of its own, and a round asks one after the other, so that a busy moment
of the machine meets them all.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from dexcompiled import COMPILED, CORE, FOLDER, INTERPRETED, VARIABLE, build_of
from tests.bench.matching.install import PYTHON_OF, python_of
from tests.bench.matching.process import BATCHES, LEDGER, OURS
from tests.bench.report import Limit, Peer, Row
from tests.reference.seeded_market import GTC, RECORD, SeededMarket
from tests.support.pythons import ROOT, find_python, import_path

COMMANDS: Final = 1_000_000
QUICK_COMMANDS: Final = 50_000
ROUNDS: Final = 3
WORKLOADS: Final = Path("build/bench/matching")
BOOK_SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
MEMORY_ORDERS: Final = 200_000
# What the table is held against.
OVER_BOURSE_MIN: Final = 1.5
OVER_MATCHING_ENGINE_MIN: Final = 2.0
P999_US_MAX: Final = 10.0
ORDER_BYTES_MAX: Final = 400.0
LEDGER_SHARE_MIN: Final = 0.5
GROWTH_MAX: Final = 1.5

Say = Callable[[str], None]


class Contender(NamedTuple):
    """An engine and how it is run; ``plain`` gives it the commands that every engine knows."""

    title: str
    name: str
    python: str
    environment: dict[str, str]
    plain: bool


class Process:
    """A contender, waiting for its turn."""

    def __init__(self, contender: Contender, records: Path) -> None:
        self.contender = contender
        self._process = subprocess.Popen(
            [contender.python, "-m", "tests.bench.matching.process", contender.name, str(records)],
            cwd=ROOT,
            env={**os.environ, **contender.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.speeds: list[float] = []
        self.latency: dict[str, int] = {}

    def ask(self, what: str) -> Any:
        """One pass."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.contender.title} ended")
        return json.loads(line)

    def __enter__(self) -> Self:
        self.ask("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def workload(commands: int) -> tuple[Path, Path]:
    """Files with the seeded market's records: as they are, and with every order plain."""
    WORKLOADS.mkdir(parents=True, exist_ok=True)
    full, plain = (WORKLOADS / f"{commands}-{kind}.bin" for kind in ("full", "plain"))
    if not (full.exists() and plain.exists()):
        records = list(SeededMarket().records(commands))
        full.write_bytes(b"".join(RECORD.pack(*record) for record in records))
        plain.write_bytes(b"".join(RECORD.pack(*record._replace(tif=GTC)) for record in records))
    return full, plain


def contenders(say: Say, folder: Path) -> list[Contender]:
    """Everything that can run here; what cannot is said."""
    builds = [INTERPRETED]
    here = build_of(CORE, FOLDER, "")
    if here.folder is None:
        say(f"matching: not run: compiled ({here.why})")
    else:
        builds.insert(0, COMPILED)
    found: list[Contender] = []
    for build in builds:
        environment = {VARIABLE: build, "PYTHONPATH": str(ROOT / "core")}
        for name, plain in ((OURS, True), (OURS, False), (OURS + LEDGER, False)):
            title = f"{name}, {build}{', plain orders' if plain else ''}"
            found.append(Contender(title, name, sys.executable, environment, plain))
        if build == COMPILED:
            found.extend(
                Contender(f"{name}, {build}", name, sys.executable, environment, False)
                for name in (OURS + BATCHES, OURS + BATCHES + LEDGER)
            )
    newer = find_python(PYTHON_OF["matching-engine"])
    if newer is not None:
        path, _ = import_path(PYTHON_OF["matching-engine"], folder)
        environment = {VARIABLE: INTERPRETED, "PYTHONPATH": path}
        title = f"{OURS}, {INTERPRETED}, Python {PYTHON_OF['matching-engine']}, plain orders"
        found.append(Contender(title, OURS, newer, environment, True))
    for name in PYTHON_OF:
        python = python_of(name, say)
        if isinstance(python, str):
            say(f"matching: not run: {name} ({python})")
        else:
            found.append(Contender(name, name, str(python), {"PYTHONPATH": ""}, True))
    return found


def race(runners: list[Process], say: Say) -> None:
    """Everybody's passes, in turns."""
    for number in range(ROUNDS):
        for runner in runners:
            runner.speeds.append(runner.ask("speed"))
        for runner in runners:
            if BATCHES not in runner.contender.name:
                runner.latency = runner.ask("latency")
        say(f"  round {number + 1} of {ROUNDS} done")


def beside(row: str, ours: Process, other: Process, limit: Limit | None, conditions: str) -> Row:
    """Both speeds of the round whose ratio is in the middle."""
    ratios = [mine / its for mine, its in zip(ours.speeds, other.speeds, strict=True)]
    middle = statistics.median_low(ratios)
    at = ratios.index(middle)
    peer = Peer(other.contender.title, other.speeds[at])
    spread = f"ratio of each round {', '.join(f'{ratio:.2f}' for ratio in ratios)}"
    return Row(row, ours.speeds[at], "commands/s", f"{conditions}; {spread}", peer, limit)


def latency_row(runner: Process, limit: Limit | None) -> Row:
    """p99.9, with the others among the conditions."""
    us = {name: value / 1_000 for name, value in runner.latency.items()}
    conditions = (
        f"p50 {us['p50']:.2f} us, p99 {us['p99']:.2f} us; of each command's least of {ROUNDS} "
        "equal replays; reading the clock, some 0.06 us, is in it"
    )
    return Row(f"{runner.contender.title}: p99.9", us["p99.9"], "us", conditions, None, limit)


def measure(*, quick: bool, say: Say) -> list[Row]:
    """All rows of the matching core."""
    commands = QUICK_COMMANDS if quick else COMMANDS
    say(f"matching: the seeded market of {commands:,} commands")
    full, plain = workload(commands)
    with ExitStack() as stack:
        # All are started before the first is waited for: making a million commands takes a while.
        started = [
            Process(each, plain if each.plain else full) for each in contenders(say, WORKLOADS)
        ]
        runners = [stack.enter_context(runner) for runner in started]
        say(f"matching: {len(runners)} engines have their commands")
        trades = {runner.contender.title: runner.ask("trades") for runner in runners}
        race(runners, say)
    rows = _speeds({runner.contender.title: runner for runner in runners}, trades)
    return rows + _sizes(quick, say)


def _speeds(runners: dict[str, Process], trades: dict[str, int | None]) -> list[Row]:
    rows: list[Row] = []
    expected = next(trades[title] for title in runners if title.endswith("plain orders"))

    def conditions(title: str) -> str:
        count = trades[title]
        its_own = not title.endswith("plain orders") and title.startswith(OURS)
        if count is None:
            verdict = "says no trades: unchecked"
        else:
            verdict = f"{count:,} trades"
            if not its_own and count != expected:
                verdict += f", not {expected:,}"
        return f"one call a command, {verdict}"

    def add(title: str, other: str, limit: Limit | None = None) -> None:
        if title in runners and other in runners:
            row = beside(title, runners[title], runners[other], limit, conditions(title))
            rows.append(row)

    for build in (COMPILED, INTERPRETED):
        ours = f"{OURS}, {build}, plain orders"
        bound = Limit("ratio", False, OVER_BOURSE_MIN) if build == COMPILED else None
        add(ours, "bourse", bound)
        add(f"{OURS}, {build}", ours)
        add(f"{OURS}{LEDGER}, {build}", f"{OURS}, {build}", Limit("ratio", False, LEDGER_SHARE_MIN))
        add(f"{OURS}{BATCHES}, {build}", f"{OURS}, {build}")
        add(f"{OURS}{BATCHES}{LEDGER}, {build}", f"{OURS}{BATCHES}, {build}")
    newer = f"{OURS}, {INTERPRETED}, Python {PYTHON_OF['matching-engine']}, plain orders"
    add(newer, "matching-engine", Limit("ratio", False, OVER_MATCHING_ENGINE_MIN))
    for name in PYTHON_OF:
        add(name, f"{OURS}, {COMPILED}, plain orders")
    for title, runner in runners.items():
        if runner.latency:
            of_ours = title in (f"{OURS}, {COMPILED}", f"{OURS}{LEDGER}, {COMPILED}")
            rows.append(latency_row(runner, Limit("value", True, P999_US_MAX) if of_ours else None))
    return rows


def _sizes(quick: bool, say: Say) -> list[Row]:
    rows: list[Row] = []
    for build in (COMPILED, INTERPRETED):
        if build == COMPILED and build_of(CORE, FOLDER, "").folder is None:
            continue

        def ask(what: str, orders: int, build: str = build) -> float:
            say(f"matching: {what} of a book of {orders:,} orders, {build}")
            done = subprocess.run(
                [sys.executable, "-m", "tests.bench.matching.size", what, str(orders)],
                cwd=ROOT,
                env={**os.environ, VARIABLE: build, "PYTHONPATH": str(ROOT / "core")},
                stdout=subprocess.PIPE,
                check=True,
            )
            return float(json.loads(done.stdout))

        sizes = BOOK_SIZES[:2] if quick else BOOK_SIZES
        size = ask("memory", MEMORY_ORDERS)
        conditions = f"resident, {MEMORY_ORDERS:,} orders with client ids, no ledger"
        limit = Limit("value", True, ORDER_BYTES_MAX) if build == COMPILED else None
        rows.append(Row(f"a resting order, {build}", size, "bytes", conditions, None, limit))
        costs = {orders: ask("speed", orders) for orders in sizes}
        first, last = costs[sizes[0]], costs[sizes[-1]]
        conditions = ", ".join(f"{orders:,}: {cost:.2f} us" for orders, cost in costs.items())
        peer = Peer(f"with {sizes[0]:,}", first)
        name = f"a command with {sizes[-1]:,} orders resting, {build}"
        rows.append(Row(name, last, "us", conditions, peer, Limit("ratio", True, GROWTH_MAX)))
    return rows
