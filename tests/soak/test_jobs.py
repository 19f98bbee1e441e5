"""The jobs of the soak, for a moment each."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.soak.jobs import JOBS
from tests.soak.kills import check_kinds
from tests.soak.mutate import mutated
from tests.soak.runner import run_job
from tests.support.kill_drill import KINDS, REPLAY

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
    assert ended.progress.done >= GOALS[name]
    assert all(ended.progress.counts.values())


def test_many_kills_that_never_hit_a_replay_prove_nothing() -> None:
    counts = Counter(dict.fromkeys(KINDS, 1))
    check_kinds(counts, 2_000)
    counts[REPLAY] = 0
    check_kinds(counts, 20)
    with pytest.raises(AssertionError, match=f"no {REPLAY}"):
        check_kinds(counts, 2_000)


def test_mutation_changes_the_input_and_keeps_much_of_it() -> None:
    chance = random.Random(1)
    corpus = [bytes(range(1, 200))]
    made = [mutated(chance, corpus) for _ in range(2_000)]
    assert sum(data == corpus[0] for data in made) < 100
    assert sum(data[:20] == corpus[0][:20] for data in made) > 1_000
    assert len(set(made)) > 1_500
