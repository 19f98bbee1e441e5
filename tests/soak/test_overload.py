"""The overload job fails when a target is missed, and says which and by how much."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from tests.soak.job import Job, Run
from tests.soak.overload import Stage, judge, share_by_turns, turn_by_turn
from tests.soak.runner import Ended, run_job


def ended_with(goodput: float, target: float) -> Ended:
    """A run of one stage with one figure."""

    def work(run: Run) -> None:
        missed: list[str] = []
        node: Any = SimpleNamespace()
        stage = Stage(run, node, 1, 1.0, missed)
        stage._target("goodput", f"{goodput:.2f} of the knee", goodput >= target)
        run.done += 1
        judge(missed)

    return run_job(Job("overload", "", "nodes", 1, work), 1, 60)


def test_a_missed_target_fails_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    held = ended_with(0.81, 0.8)
    assert held.verdict == "held"
    ended = ended_with(0.79, 0.8)
    capsys.readouterr()
    assert ended.verdict == "FAILED", "a target that is missed is only told"
    assert ended.error is not None
    assert "target not reached: single orders: goodput: 0.79 of the knee" in ended.error
    assert ended.progress.figures["single orders: goodput"] == "0.79 of the knee, NOT reached"


def test_a_turn_is_compared_with_those_around_it() -> None:
    ratio, error = turn_by_turn([([10, 30, 10], [20, 80]), ([1, 3], [2])])
    # Ratios 1, 4 and 1; logarithms with a standard deviation of log(4) / sqrt(3).
    assert ratio == pytest.approx(4 ** (1 / 3))
    assert error == pytest.approx(ratio * math.log(4) / 3)


def test_a_turn_without_a_message_is_said() -> None:
    with pytest.raises(AssertionError, match="a whole turn without a message"):
        turn_by_turn([([10, 30, 10], [20, 0])])


def test_goodput_beside_floods_is_a_share_of_that_around_them() -> None:
    # Around: 20, 20 and 25. Changes: 0, -20 and 5, of standard deviation 13.23.
    share, error = share_by_turns([10, 30, 10, 40], [20, 0, 30])
    assert share == pytest.approx(50 / 65)
    assert error == pytest.approx(13.2288 / math.sqrt(3) / (65 / 3), rel=1e-4)
