"""Crashes on a simulated disk: of the journal alone, and of a whole shard with clients."""

from __future__ import annotations

import trio

from tests.sim.test_shard_crashes import History
from tests.soak.job import Run
from tests.unit.journal.test_crashes import check_crash

JOURNAL_CRASHES_PER_SEED = 5
JOURNAL_STEPS = 60


def work(run: Run) -> None:
    """One history of a shard a seed, and some crashes of a journal."""
    while run.goes_on():
        seed = run.seed + run.done
        try:
            history = History(seed)
            trio.run(history.run)
            history.check_journal()
            for more in range(JOURNAL_CRASHES_PER_SEED):
                number = seed * JOURNAL_CRASHES_PER_SEED + more
                run.counts["crashes of a journal"] += check_crash(
                    number, 1 + number % JOURNAL_STEPS
                )
        except BaseException:
            print(f"seed {seed}")
            raise
        run.counts["crashes of a shard"] += history.crashes
        run.counts["acknowledged commands"] += len(history.answers)
        run.done += 1
