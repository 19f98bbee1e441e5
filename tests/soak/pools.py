"""Pools in every market beside the naive twin, on all cores: half of the commands are theirs."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections import Counter

from tests.soak.job import Run
from tests.soak.twin import Part, parts
from tests.unit.core.beside_twin import Pair
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.features import POOLS
from tests.unit.core.pool_exchange import use_pools

COMMANDS_PER_RUN = 500
# From here on every feature of pools must have been met.
COMMANDS_FOR_ALL = 50_000


def work(run: Run) -> None:
    """Random commands from many seeds; a difference is an AssertionError of the pair."""
    met: Counter[str] = Counter()
    with multiprocessing.get_context("spawn").Pool(os.cpu_count() or 1) as pool:
        done = pool.imap_unordered(run_part, parts(run.seed, run.goal, COMMANDS_PER_RUN))
        while run.goes_on():
            counts = next(done)
            met.update(counts)
            run.done += counts["commands"]
            run.counts["trades"] += counts["trades"]
            run.counts["runs of a fresh exchange"] += 1
    run.counts["features met"] = sum(bool(met[name]) for name in POOLS)
    if run.done >= COMMANDS_FOR_ALL:
        assert not (missing := [name for name in POOLS if not met[name]]), missing


def run_part(part: Part) -> Counter[str]:
    """One run, and what it met."""
    seed, commands = part
    pair = Pair()
    maker = CommandMaker(random.Random(seed), pair.exchange, pair.traders)
    try:
        use_pools(maker, pair, commands)
    except BaseException as error:
        error.add_note(f"python -m tests.soak pools, part {part}")
        raise
    pair.features.counts["commands"] += commands
    return pair.features.counts
