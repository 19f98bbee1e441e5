"""Runs files through an engine, with progress, and reports."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

from dexnode.backtest.binance_source import BinanceSource
from dexnode.backtest.databento_source import DatabentoSource
from dexnode.backtest.engine import JournalEngine, MatcherEngine
from dexnode.backtest.files import BINANCE, DATABENTO, JOURNAL, Inputs, format_of
from dexnode.backtest.journal_source import JournalSource
from dexnode.backtest.model import BacktestError, Grid, Source
from dexnode.backtest.orders_source import OrdersSource
from dexnode.backtest.recorder import Recorder
from dexnode.backtest.results import Results, written
from dexnode.backtest.summary import make_summary
from dexnode.recorded.progress import progress_bar

Engine: TypeAlias = MatcherEngine | JournalEngine


class Wanted(NamedTuple):
    """What is asked for; an empty format is found out."""

    paths: Sequence[Path]
    format_name: str = ""
    output: Path | None = None
    grid: Grid = Grid()
    shows_progress: bool = False


class Timed(NamedTuple):
    """Nanoseconds of a run: in all, and in the engine alone."""

    elapsed_ns: int
    engine_ns: int


def run_backtest(wanted: Wanted) -> dict[str, Any]:
    """Run all files, in their order, and summarize (see `summary.make_summary`).

    Raises:
        BacktestError: a file is not what is documented.
        ClickException: results are there already, or formats are mixed.
    """
    format_name = _one_format(wanted)
    with ExitStack() as stack:
        results = None
        if wanted.output is not None:
            has_accounts = format_name not in (BINANCE, DATABENTO)
            results = stack.enter_context(Results(wanted.output, accounts=has_accounts))
        owed: Counter[tuple[int, int]] | None = Counter() if format_name == DATABENTO else None
        recorder = Recorder(results, owed)
        inputs = Inputs(wanted.paths)
        engine: Engine
        source: Source | JournalSource
        if format_name == JOURNAL:
            engine, source = JournalEngine(recorder), JournalSource(wanted.paths[0])
        else:
            engine = MatcherEngine(recorder, wanted.grid)
            source = _source(format_name, inputs, engine, owed)
        total = inputs.total_bytes or _journal_bytes(wanted.paths[0])
        with (
            progress_bar("bytes", total, shown=wanted.shows_progress) as advance,
            _uncollected(),
            _interrupted_between() as check,
        ):
            timed = _drive(engine, source, recorder, inputs, advance, check)
        recorder.end()
        # The files get their names now, so that the summary names what is there.
        stack.close()
    return make_summary(wanted.paths, engine, source, recorder, timed, written(results))


def _one_format(wanted: Wanted) -> str:
    first = wanted.format_name or format_of(wanted.paths[0])
    for path in wanted.paths[1:]:
        other = wanted.format_name or format_of(path)
        if other != first:
            raise BacktestError(
                path, "", "", f"is {other}, {wanted.paths[0]} is {first}: one a run"
            )
        if first == JOURNAL:
            raise BacktestError(path, "", "", "one journal a run")
    for path in wanted.paths:
        if path.is_dir() is not (first == JOURNAL):
            kind = "a folder" if first == JOURNAL else "a file"
            raise BacktestError(path, "", "", f"the format {first} is {kind}")
    return first


def _source(
    format_name: str,
    inputs: Inputs,
    engine: MatcherEngine,
    owed: Counter[tuple[int, int]] | None,
) -> Source:
    if owed is not None:
        return DatabentoSource(inputs, engine.open_market, owed)
    if format_name == BINANCE:
        return BinanceSource(inputs, engine.open_market)
    return OrdersSource(inputs, engine.open_market)


def _journal_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: a run makes no cycles, and looking for them costs a fifth of it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _interrupted_between() -> Iterator[Callable[[], None]]:
    """Holds Ctrl-C back until the function that it gives is called, which raises it.

    Compiled code takes an interrupt in the middle of a large integer for the end of all memory, and
    ends the process without a word about files that are half written.
    """
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread is ever interrupted.
        yield lambda: None
        return
    came: list[int] = []

    def check() -> None:
        if came:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
    check()


def _drive(
    engine: Engine,
    source: Source | JournalSource,
    recorder: Recorder,
    inputs: Inputs,
    advance: Callable[[int], None],
    check_interrupt: Callable[[], None],
) -> Timed:
    clock = time.perf_counter_ns
    started_ns = clock()
    engine_ns = shown = 0
    run = cast("Callable[[Any], None]", engine.run)
    for chunk in source.chunks():
        if not chunk:
            continue
        begun_ns = clock()
        if isinstance(engine, JournalEngine):
            recorder.span(chunk[0][1], chunk[-1][1])
        else:
            recorder.span(chunk[0][0], chunk[-1][0])
        run(chunk)
        engine_ns += clock() - begun_ns
        position = source.position if isinstance(source, JournalSource) else inputs.position
        advance(position - shown)
        shown = position
        check_interrupt()
    return Timed(clock() - started_ns, engine_ns)
