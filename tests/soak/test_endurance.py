"""How the endurance job judges: slopes, and latencies during snapshots apart from the others."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import cast

import pytest

from tests.bench.load import follow_messages
from tests.soak.endurance import Sample, Watch, judge, slope_per_minute, split, worst_seconds
from tests.soak.job import Run

MS = 1_000_000


class Watched:
    """What a watch saw."""

    def __init__(self, mib_per_minute: float) -> None:
        self.samples = [Sample(t, 500 + t * mib_per_minute / 60) for t in range(120, 720)]
        self.snapshots = [(300.0, 310.0)]


def latencies_ms(during_snapshot: int) -> list[int]:
    """One a second for 720 s."""
    return [MS * (during_snapshot if 300 <= t <= 310 else 10) for t in range(720)]


def judged(mib_per_minute: float, during_snapshot: int) -> Run:
    run = Run("endurance", 600, 1, 1.0)
    judge(run, latencies_ms(during_snapshot), 10**9, cast("Watch", Watched(mib_per_minute)))
    return run


def test_a_slope_is_found_among_noise() -> None:
    samples = [Sample(t, 100 + t / 30 + (t % 7)) for t in range(600)]
    assert slope_per_minute(samples) == pytest.approx(2.0, abs=0.02)
    assert slope_per_minute(samples[:1]) == 0


def test_latencies_are_split_by_when_their_messages_were_due() -> None:
    assert split([1, 2, 3, 4], 10**9, [(1.0, 2.0)]) == ([2, 3], [1, 4])


def test_the_worst_seconds_are_told_in_order_of_time() -> None:
    latencies_ns = [5 * MS] * 20 + [90 * MS] + [5 * MS] * 9 + [70 * MS]
    told = worst_seconds(latencies_ns, 100 * MS)
    assert told == ["0 s: 5 ms", "1 s: 5 ms", "2 s: 90 ms", "3 s: 70 ms"]


def test_a_run_within_its_limits_holds_and_shows_its_figures() -> None:
    run = judged(0.9, 20)
    assert "slope 0.90 MiB/min" in run.figures["node memory"]
    assert run.figures["p99 during snapshots over p99 without"] == "2.00"


def test_memory_that_grows_fails_the_run() -> None:
    with pytest.raises(AssertionError, match=r"memory grows by 1\.10 MiB/min"):
        judged(1.1, 10)


def test_a_snapshot_that_disturbs_fails_the_run() -> None:
    with pytest.raises(AssertionError, match=r"p99 during a snapshot is 2\.10 of without"):
        judged(0, 21)


def test_a_load_reads_what_is_signed_while_it_runs(tmp_path: Path) -> None:
    paths = [tmp_path / "0", tmp_path / "1"]
    paths[0].write_bytes(struct.pack("<I", 2) + b"ab" + struct.pack("<I", 1) + b"c")
    following = follow_messages(paths)
    assert [next(following), next(following)] == [b"ab", b"c"]
    paths[1].write_bytes(struct.pack("<I", 1) + b"d")
    assert list(following) == [b"d"]
    assert not list(tmp_path.iterdir())
