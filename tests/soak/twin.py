"""The exchange beside its naive twin on all cores: what commands did, and what is there."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator

from tests.soak.job import Run
from tests.unit.core.beside_twin import run_beside
from tests.unit.core.features import EXPECTED

COMMANDS_PER_RUN = 2_000
# Half of the time went into comparing states: `make test` compares each.
STATES_EVERY = 10
# From here on every feature must have been met.
COMMANDS_FOR_ALL = 100_000
Part = tuple[str, int]
"""Seed of a fresh exchange, and how many commands it gets."""


def work(run: Run) -> None:
    """Random commands from many seeds; a difference is an AssertionError of the pair."""
    met: Counter[str] = Counter()
    with multiprocessing.get_context("spawn").Pool(os.cpu_count() or 1) as pool:
        done = pool.imap_unordered(run_part, parts(run.seed, run.goal))
        while run.goes_on():
            counts = next(done)
            met.update(counts)
            run.done += counts["commands"]
            run.counts["trades"] += counts["trades"]
            run.counts["orders triggered"] += counts["triggered"]
            run.counts["self-trades prevented"] += counts["self-trades prevented"]
            run.counts["runs of a fresh exchange"] += 1
    run.counts["features met"] = sum(bool(met[name]) for name in EXPECTED)
    if run.done >= COMMANDS_FOR_ALL:
        assert not (missing := [name for name in EXPECTED if not met[name]]), missing


def parts(seed: int, goal: int, commands: int = COMMANDS_PER_RUN) -> Iterator[Part]:
    """Runs of fresh exchanges with so many commands each, up to a goal."""
    for number, start in enumerate(range(0, goal, commands)):
        yield f"{seed} {number}", min(commands, goal - start)


def run_part(part: Part) -> Counter[str]:
    """One run, and what it met."""
    return run_beside(*part, states_every=STATES_EVERY)
