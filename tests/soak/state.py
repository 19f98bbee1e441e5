"""Hypothesis chooses commands, restarts and waits; twin and sums are compared after each step."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.test_exchange_machine import Beside
from tests.soak.job import Run

STEPS = 200
EXAMPLES = 20


def work(run: Run) -> None:
    """Some runs of the machine at a time; hypothesis prints the shortest run that fails."""
    turn = 0
    while run.goes_on():
        count = min(EXAMPLES, run.goal - run.done)
        chosen = settings(
            max_examples=count,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        # A class of its own, since the seed is kept on it.
        machine = seed(f"{run.seed} {turn}")(type("Seeded", (Beside,), {}))
        run_state_machine_as_test(machine, settings=chosen)
        run.done += count
        run.counts["steps at most"] += count * STEPS
        turn += 1
