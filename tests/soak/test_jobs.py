"""The jobs of the soak, for a moment each."""

from __future__ import annotations

import random
import sys
from collections import Counter

import pytest

from tests.fuzz.mutate import mutated
from tests.soak import fuzz
from tests.soak.job import Run
from tests.soak.jobs import JOBS
from tests.soak.kills import check_kinds
from tests.soak.runner import run_job
from tests.support.kill_drill import KINDS, REPLAY

# The kills have a test of their own, with twenty of them.
GOALS = {
    "audit": 1,
    "bits": 17_000,
    "disks": 2,
    "retries": 20,
    "state": 2,
    "market": 10_000,
    "twin": 2_000,
    "pools": 1_000,
    "fuzz": 16_000,
}
# Each takes seconds, and on a machine that has more to do many of them: no bound on the work.
SECONDS_MAX = 600


@pytest.mark.parametrize("name", sorted(GOALS))
def test_a_job_reaches_a_small_goal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is installed while tests run.
    monkeypatch.setattr(fuzz, "atheris_site", lambda: None)
    [job] = [job for job in JOBS if job.name == name]
    seed = random.SystemRandom().getrandbits(32)
    print(f"replay: python -m tests.soak {name} --seed {seed}")
    ended = run_job(job._replace(goal=GOALS[name]), seed, SECONDS_MAX)
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


def test_a_finding_of_the_engine_fails_the_job_and_names_its_input() -> None:
    program = (
        "print('#300 pulse cov: 17 ft: 20');"
        "print('AssertionError: a ticket was taken that nobody issued');"
        "print('Test unit written to build/fuzz/sealed-crash-1'); raise SystemExit(77)"
    )
    run = Run("fuzz", 1_000, 1, 60)
    child = fuzz.Child("sealed", "atheris", [sys.executable, "-c", program])
    with pytest.raises(AssertionError) as raised:
        fuzz.follow(run, child)
    assert "nobody issued" in str(raised.value)
    assert "python -m tests.fuzz sealed build/fuzz/sealed-crash-1" in str(raised.value)
    assert run.done == run.counts["sealed: executions"] == 300
    assert run.figures["sealed: edges covered"] == "17"


def test_an_engine_that_dies_fails_the_job() -> None:
    child = fuzz.Child("sealed", "mutator", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(AssertionError, match="ended with 3"):
        fuzz.follow(Run("fuzz", 1_000, 1, 60), child)


def test_mutation_changes_the_input_and_keeps_much_of_it() -> None:
    chance = random.Random(1)
    corpus = [bytes(range(1, 200))]
    made = [mutated(chance, corpus) for _ in range(2_000)]
    assert sum(data == corpus[0] for data in made) < 100
    assert sum(data[:20] == corpus[0][:20] for data in made) > 1_000
    assert len(set(made)) > 1_500
