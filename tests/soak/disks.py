"""Histories of the deterministic simulation, and crashes of a journal alone, on both cores."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator

from tests.sim.runner import run_seed, totals
from tests.soak.job import Run
from tests.unit.journal.test_crashes import check_crash

JOURNAL_CRASHES_PER_SEED = 5
JOURNAL_STEPS = 60
SEEDS_AT_A_TIME = 4


def work(run: Run) -> None:
    """One history a seed, and some crashes of a journal; raises Failed with the command."""
    workers = os.cpu_count() or 1
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_begin) as pool:
        while run.goes_on():
            # Few at a time, so that the job ends with its time.
            count = min(workers * SEEDS_AT_A_TIME, run.goal - run.done)
            for counts in pool.imap_unordered(check_seed, _seeds(run, count)):
                run.counts.update(counts)
                run.done += 1


def _begin() -> None:
    """Nothing that was imported is garbage: collections need not look at it again."""
    gc.collect()
    gc.freeze()


def _seeds(run: Run, count: int) -> Iterator[int]:
    first = run.seed + run.done
    return iter(range(first, first + count))


def check_seed(seed: int) -> Counter[str]:
    """What happened in the history of one seed and its journals."""
    counts = totals([run_seed(seed)])
    for more in range(JOURNAL_CRASHES_PER_SEED):
        number = seed * JOURNAL_CRASHES_PER_SEED + more
        if check_crash(number, 1 + number % JOURNAL_STEPS):
            counts["crashes of a journal"] += 1
    return counts
