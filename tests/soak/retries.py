"""The SDK's retries on a network where a quarter of all messages fail."""

from __future__ import annotations

from tests.sim.runner import run_seed, totals
from tests.soak.job import Run


def work(run: Run) -> None:
    """One history a seed; raises Failed with the command."""
    seed = run.seed
    while run.goes_on():
        counts = totals([run_seed(seed, bad_network=True)])
        run.counts.update(counts)
        run.done += counts["payloads sent"]
        seed += 1
