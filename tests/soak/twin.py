"""The exchange beside its naive twin: everything that can be seen, after every command."""

from __future__ import annotations

import random

from dexcore.events import Trade
from tests.soak.job import Run
from tests.unit.core.beside_twin import Pair
from tests.unit.core.exchanges import CommandMaker

COMMANDS_PER_RUN = 2_000


def work(run: Run) -> None:
    """Random commands from many seeds; a difference is an AssertionError of the pair."""
    number = 0
    while run.goes_on():
        seed = f"{run.seed} {number}"
        pair = Pair()
        maker = CommandMaker(random.Random(seed), pair.exchange, pair.traders)
        for step in range(COMMANDS_PER_RUN):
            time_ns, command = maker.next()
            try:
                outcome = pair.apply(time_ns, command)
            except BaseException:
                print(f"random.Random({seed!r}), step {step}: {command}")
                raise
            run.counts["trades"] += sum(type(event) is Trade for event in outcome.events)
            run.done += 1
            if not run.goes_on():
                break
        number += 1
    run.counts["runs of a fresh exchange"] = number
