"""The harness: what it says of jobs that hold, fail, die, run out of time or are stopped."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.soak import __main__ as soak
from tests.soak import report
from tests.soak.job import Job, Run
from tests.soak.runner import Ended, run_job, run_jobs, share_seconds

PAGE = report.Page(0, "abc", math.inf, Path("page.md"))


def counts(run: Run) -> None:
    while run.goes_on():
        run.done += 1
    run.figures["rate"] = "7 a second"


def fails(run: Run) -> None:
    run.counts["steps"] += 1
    run.figures["slope"] = "9 MiB/min"
    raise AssertionError("an acknowledged command is gone\nand more")


def dies(run: Run) -> None:
    run.done = run.goal
    os.kill(os.getpid(), signal.SIGKILL)


def stops_the_soak(run: Run) -> None:
    """Somebody presses ctrl-C while this one runs."""
    try:
        os.kill(os.getppid(), signal.SIGINT)
        threading.Event().wait()
    finally:
        run.done += 3
        run.counts["ended in order"] += 1


def notes_who_runs(run: Run) -> None:
    """Leaves marks in the folder named in the environment: who runs beside whom."""
    folder = Path(os.environ["SOAK_TEST_FOLDER"])
    mine = folder / f"{run.name}-{os.getpid()}"
    mine.touch()
    beside = {path.name.partition("-")[0] for path in folder.iterdir() if path != mine}
    run.counts.update({f"beside {name}": 1 for name in beside})
    run.done = run.goal
    mine.unlink()


def job(name: str, work: object, goal: int = 5, *, alone: bool = False) -> Job:
    return Job(name, "What it does.", "steps", goal, work, alone)  # type: ignore[arg-type]


def run_all(*jobs: Job, seconds: float = math.inf) -> dict[str, Ended]:
    ended = run_jobs(jobs, 1, seconds=seconds, say=print)
    return {one.job.name: one for one in ended}


def result_rows(ended: Sequence[Ended]) -> list[str]:
    lines = report.text(ended, PAGE).splitlines()
    return [line for line in lines if line.startswith("| ")][1:]


def test_a_job_ends_with_its_time_and_says_how_far_it_came() -> None:
    ended = run_job(job("quick", counts, 10**12), 1, 0.5)
    assert 0 < ended.progress.done < 10**12
    assert ended.verdict == "held as far as it ran"
    [row] = result_rows([ended])
    assert row.startswith(f"| quick | {ended.progress.done:,} steps | 1,000,000,000,000 |")


def test_failed_and_dead_jobs_stand_in_the_report_and_fail_the_run() -> None:
    jobs = job("good", counts), job("bad", fails), job("dead", dies)
    ended = run_all(*jobs)
    assert {name: one.verdict for name, one in ended.items()} == {
        "good": "held",
        "bad": "FAILED",
        "dead": "FAILED",
    }
    assert report.exit_code(jobs, list(ended.values())) == 1
    assert report.exit_code(jobs[:1], [ended["good"]]) == 0
    # One that never said how it ended is no success either.
    assert report.exit_code(jobs[:2], [ended["good"]]) == 1
    text = report.text(list(ended.values()), PAGE)
    assert "- raised AssertionError: an acknowledged command is gone\n" in text
    assert "- slope: 9 MiB/min\n- steps: 1\n" in text
    assert "- rate: 7 a second\n" in text
    assert "the job's process ended with -9 before its result" in text


def test_ctrl_c_stops_the_jobs_in_order_and_still_reports() -> None:
    jobs = job("long", stops_the_soak, alone=True), job("never", counts)
    ended = run_all(*jobs)
    assert ended["long"].verdict == "held as far as it ran (interrupted)"
    assert ended["long"].progress.counts == {"ended in order": 1}
    assert ended["never"].verdict == "not run"
    assert report.exit_code(jobs, list(ended.values())) == 0


def test_who_measures_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOAK_TEST_FOLDER", str(tmp_path))
    jobs = [
        job("first", notes_who_runs),
        job("quiet", notes_who_runs, alone=True),
        job("second", notes_who_runs),
    ]
    ended = run_all(*jobs)
    assert next(iter(ended)) == "quiet"
    assert not ended["quiet"].progress.counts
    assert "beside quiet" not in {name for one in ended.values() for name in one.progress.counts}
    assert all(one.verdict == "held" for one in ended.values())


def test_a_bound_leaves_every_job_a_part() -> None:
    assert share_seconds(90, 3, 1) == 30
    assert share_seconds(90, 3, 2) == 45
    assert share_seconds(90, 2, 2) == share_seconds(90, 1, 2) == 90
    assert share_seconds(math.inf, 5, 2) == math.inf


def test_no_page_overwrites_another(tmp_path: Path) -> None:
    made = [report.new_page(5 * 10**9 + n, math.inf, tmp_path) for n in range(3)]
    made.append(report.new_page(6 * 10**9, math.inf, tmp_path))
    names = [page.path.name for page in made]
    assert names[0] == "1970-01-01-000005.md"
    assert len(set(names)) == len(made) == len(list(tmp_path.iterdir()))
    report.write([], made[1])
    assert made[1].path.read_text() == report.text([], made[1])


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_a_soak_of_no_time_is_refused(
    minutes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["soak", "twin", "--minutes", minutes])
    with pytest.raises(SystemExit) as ended:
        soak.main()
    assert ended.value.code == 2
    assert "--minutes: more than 0" in capsys.readouterr().err
