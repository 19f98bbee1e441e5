"""The simulation: hundreds of histories under faults, and a crash wherever one can be.

Each seed is one history of a node, its clients, their network and its disk (docs/simulation.md).
What fails prints the one command that shows it again.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from tests.sim.runner import Failed, run_seed, totals
from tests.support.command_line import call_dex
from tests.unit.core.exchanges import seed_of

ROOT = Path(__file__).parents[2]
SEEDS = 500
# Two clients with four commands each, and a snapshot: of this one every point is tried.
SMALL_SEED = 40
FEW_SEEDS = range(12)


def dex_sim(*arguments: object, hash_seed: str = "0") -> subprocess.Popen[str]:
    """`dex sim` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "dexnode", "sim", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process: subprocess.Popen[str], *, code: int = 0) -> str:
    """What a process printed; it must end with this code."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == code, f"{output[-4_000:]}\n{errors[-4_000:]}"
    return output + errors if code else output


def test_histories_hold() -> None:
    """Hundreds of histories, on two cores."""
    first = seed_of("tests/sim -k histories_hold")
    half = SEEDS // 2
    runs = [dex_sim("--seed", first + n * half, "--seeds", half, "--json") for n in range(2)]
    counts: Counter[str] = Counter()
    for run in runs:
        counts.update(json.loads(output_of(run)))
    print(dict(counts))
    assert counts["histories"] == SEEDS
    for name in ("power failures", "process ends", "journal failures", "answers given again"):
        assert counts[name] > SEEDS // 10, name
    for name in ("snapshots", "recovered_from_snapshot", "nonces used again", "refusals"):
        assert counts[name] > SEEDS // 10, name
    for name in ("ends during recovery", "ends during snapshot", "starts refused by the disk"):
        assert counts[name] > 0, name
    for name in ("flipped bit", "lost write", "misdirected write"):
        assert counts[f"damage found: {name}"] > SEEDS // 10, name


def test_a_few_histories_hold() -> None:
    """The same ones each time and soon over: what is broken on purpose must show in these."""
    for seed in FEW_SEEDS:
        run_seed(seed)


def test_retries_on_a_bad_network_count_once_and_end_in_time() -> None:
    """A quarter of all messages fail: each mutation once, each call over at its deadline."""
    first = seed_of("tests/sim -k bad_network")
    counts = totals([run_seed(first + n, bad_network=True) for n in range(5)])
    print(dict(counts))
    assert counts["payloads sent"] > 1.05 * counts["mutations"] > 200
    assert counts["answers given again"] > 20


@pytest.mark.parametrize("seed", [11, 12, 2**40])
def test_a_seed_is_one_history_in_every_process(seed: int) -> None:
    """Byte for byte the same log, every scheduling point of the node in it."""
    runs = [dex_sim("--seed", seed, "--steps", hash_seed=text) for text in ("1", "2", "random")]
    first, *others = map(output_of, runs)
    assert first.count("\n") > 300
    for other in others:
        assert other.splitlines() == first.splitlines()
    assert run_seed(seed).digest != run_seed(seed + 1).digest


def test_power_fails_at_every_scheduling_point_and_disk_step() -> None:
    """One small history, and all the others that one power failure makes of it."""
    whole = run_seed(SMALL_SEED, stop_at_point=10**9)
    points = [run_seed(SMALL_SEED, stop_at_point=n + 1) for n in range(whole.points)]
    steps = [run_seed(SMALL_SEED, stop_at_step=n + 1) for n in range(whole.steps)]
    counts = totals([*points, *steps])
    print(
        f"stopped at each of {whole.points} scheduling points and {whole.steps} disk steps; "
        f"ends during snapshot: {counts['ends during snapshot']}"
    )
    # One more at the end of each history.
    assert counts["power failures"] >= len(points) + len(steps)
    assert whole.points > 100
    assert whole.steps > 20
    assert counts["ends during snapshot"] > 0


def test_a_stop_that_is_never_reached_is_said() -> None:
    whole = run_seed(SMALL_SEED, stop_at_point=10**9)
    for option, had, what in (
        ("point", whole.points, "points"),
        ("step", whole.steps, "disk steps"),
    ):
        done = call_dex("sim", "--seed", str(SMALL_SEED), f"--stop-at-{option}", "9999999")
        assert done.returncode == 1
        assert "all held" not in done.stdout
        assert f"the history has only {had:,} {what}" in done.stderr
    last = call_dex("sim", "--seed", str(SMALL_SEED), "--stop-at-point", str(whole.points))
    assert (last.returncode, "all held" in last.stdout) == (0, True)
    assert call_dex("sim", "--seed", "-1").returncode == 2


def test_what_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.import_module

    def missing(name: str) -> ModuleType:
        if name.startswith("tests."):
            raise ModuleNotFoundError(f"no {name}", name="hypothesis")
        return there(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    said = call_dex("sim").stderr
    monkeypatch.undo()
    assert "hypothesis, which is not installed: run make dev in the checkout" in said
    assert "\ndev: " in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("lie", ["datasync", "sync_directory"])
def test_a_disk_that_lies_is_noticed_and_shown_again(lie: str) -> None:
    """What a test prints for a seed that fails is the command that fails the same way."""
    for seed in range(100):
        try:
            run_seed(seed, lie=lie)
        except Failed as failed:
            found = failed
            break
    else:
        pytest.fail(f"a hundred histories on a disk whose {lie} does nothing, and none noticed")
    command = [*found.command.split()[2:], "--trace"]
    again = [output_of(dex_sim(*command, hash_seed=text), code=1) for text in ("1", "2")]
    assert again[0] == again[1]
    assert str(found) in again[0]
    assert "".join(found.tail) in again[0]


def test_the_doors_into_trio_are_there() -> None:
    """They are private: see ADR 0010 for what to do when this fails."""
    import random

    from trio._core import _run

    assert isinstance(_run._r, random.Random)
    assert isinstance(_run._ALLOW_DETERMINISTIC_SCHEDULING, bool)
