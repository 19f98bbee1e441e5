"""The jobs of the soak, for a moment each, and what the report says of one that fails."""

from __future__ import annotations

import random

import pytest

from tests.soak import report
from tests.soak.__main__ import JOBS, run_job
from tests.soak.job import Job, Run
from tests.soak.mutate import mutated

# The kills have a test of their own, with twenty of them.
GOALS = {"disks": 2, "twin": 200, "fuzz": 16_000}


@pytest.mark.parametrize("name", sorted(GOALS))
def test_a_job_reaches_a_small_goal(name: str) -> None:
    [job] = [job for job in JOBS if job.name == name]
    seed = random.SystemRandom().getrandbits(32)
    print(f"replay: python -m tests.soak {name} --seed {seed}")
    ended = run_job(job._replace(goal=GOALS[name]), seed, 60)
    assert ended.error is None
    assert ended.verdict == "held"
    assert ended.run.done >= GOALS[name]
    assert all(ended.run.counts.values())


def test_a_job_ends_with_its_time_and_says_how_far_it_came() -> None:
    def work(run: Run) -> None:
        while run.goes_on():
            run.done += 1

    ended = run_job(Job("quick", "Counts.", "steps", 10**12, 1, work), 1, 0.05)
    assert 0 < ended.run.done < 10**12
    assert ended.verdict == "held as far as it ran"
    assert f"| quick | {ended.run.done:,} steps | 1,000,000,000,000 |" in report.text(
        [ended], 0, "abc", 1
    )


def test_a_property_that_does_not_hold_stands_in_the_report() -> None:
    def work(run: Run) -> None:
        run.counts["steps"] += 1
        raise AssertionError("an acknowledged command is gone")

    ended = run_job(Job("bad", "Fails.", "steps", 9, 1, work), 1, 1)
    text = report.text([ended], 0, "abc", 1)
    assert "| bad | 0 steps | 9 |" in text
    assert "| FAILED |" in text
    assert "raised AssertionError: an acknowledged command is gone" in text


def test_mutation_changes_the_input_and_keeps_much_of_it() -> None:
    chance = random.Random(1)
    corpus = [bytes(range(1, 200))]
    made = [mutated(chance, corpus) for _ in range(2_000)]
    assert sum(data == corpus[0] for data in made) < 100
    assert sum(data[:20] == corpus[0][:20] for data in made) > 1_000
    assert len(set(made)) > 1_500
