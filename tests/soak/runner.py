"""Running jobs, each in a process of its own: alone or side by side, and never silently."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import NamedTuple, final

from tests.soak.job import NOTHING, Job, Progress, Run, Tell

# What a job that is told to stop has for ending its nodes and folders.
STOP_SECONDS = 30.0
SHOW_SECONDS = 10.0
_PROCESSES = multiprocessing.get_context("spawn")


class Interrupted(BaseException):
    """Somebody stopped the soak; nothing was found and the goal was not reached."""


class Ended(NamedTuple):
    """A job that is over: how far it came, and what it raised, if anything."""

    job: Job
    seed: int
    progress: Progress
    error: str | None
    interrupted: bool = False

    @property
    def verdict(self) -> str:
        """In words that claim no more than what ran."""
        if self.error is not None:
            return "FAILED"
        if self.progress.done >= self.job.goal:
            return "held"
        if not self.progress.done:
            return "not run"
        return "held as far as it ran" + (" (interrupted)" if self.interrupted else "")


def run_job(job: Job, seed: int, seconds: float, tell: Tell | None = None) -> Ended:
    """Run one job in this process, to its goal or the end of its time."""
    run = Run(job.name, job.goal, seed, seconds, tell)
    error: str | None = None
    interrupted = False
    try:
        job.work(run)
    except Interrupted:
        interrupted = True
    except BaseException as raised:  # noqa: BLE001  whatever it is, it goes into the report
        traceback.print_exc()
        said = str(raised).splitlines() or [""]
        error = f"{type(raised).__name__}: {said[0][:300]}"
    return Ended(job, seed, run.progress, error, interrupted)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted


def _worker(job: Job, seed: int, seconds: float, results: Connection) -> None:
    """What the process of a job does."""
    # A session of its own: ctrl-C reaches the runner alone, and what the job started can be ended
    # with it.
    os.setsid()
    signal.signal(signal.SIGTERM, _interrupt)
    ended = run_job(job, seed, seconds, results.send)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    results.send(ended)


@final
class _Running:
    """A job in its process, and the last it said."""

    def __init__(self, job: Job, seed: int, seconds: float) -> None:
        self.job = job
        self.seed = seed
        self.progress = NOTHING
        self._started = time.monotonic()
        self.results, theirs = _PROCESSES.Pipe(duplex=False)
        self.process: BaseProcess = _PROCESSES.Process(
            target=_worker, args=(job, seed, seconds, theirs), name=f"soak {job.name}"
        )
        self.process.start()
        theirs.close()

    def listen(self) -> Ended | None:
        """Take what the job says; its end once it is over."""
        try:
            said: Progress | Ended = self.results.recv()
        except EOFError:
            # It went without a word. That is never a success, whatever it had done before.
            self.process.join()
            error = f"the job's process ended with {self.process.exitcode} before its result"
            return Ended(self.job, self.seed, self.progress, error)
        if isinstance(said, Ended):
            self.process.join()
            return said
        for name in said.figures:
            if name not in self.progress.figures:
                print(f"{self.job.name}: {name}: {said.figures[name]}", file=sys.stderr)
        self.progress = said
        return None

    def stop(self) -> Ended:
        """Tell it to stop, and end it with everything it started if it does not."""
        self.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while (left := deadline - time.monotonic()) > 0 and self.results.poll(left):
            ended = self.listen()
            if ended is not None and self.process.exitcode == 0:
                return ended
            if ended is not None:
                break
        if self.process.exitcode is None:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
            self.process.join()
        return Ended(self.job, self.seed, self.progress, None, interrupted=True)

    def line(self) -> str:
        """One line of progress."""
        done, goal = self.progress.done, self.job.goal
        seconds = time.monotonic() - self._started
        return f"{self.job.name}: {done:,} of {goal:,} ({100 * done // goal} %), {seconds:.0f} s"


def run_jobs(
    jobs: Sequence[Job],
    seed: int,
    *,
    seconds: float = math.inf,
    at_once: int = 2,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> Iterator[Ended]:
    """Run jobs to their goals: first those that want the machine alone, then `at_once` at a time.

    Within a bound of `seconds` every job still to come has an equal part of what is left. After
    KeyboardInterrupt the jobs that run are stopped and said to have come as far as they did, and
    those that never began to be not run.
    """
    end = time.monotonic() + seconds
    waiting = [job for job in jobs if job.alone] + [job for job in jobs if not job.alone]
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and _may_start(waiting[0], running, at_once):
                left = max(0.0, end - time.monotonic())
                part = share_seconds(left, len(waiting), 1 if waiting[0].alone else at_once)
                running.append(_Running(waiting.pop(0), seed, part))
                say(f"{running[-1].job.name}: started, seed {seed}")
            yield from _listen(running, say)
    except KeyboardInterrupt:
        say("interrupted: stopping what runs")
        for each in running:
            yield each.stop()
        for job in waiting:
            yield Ended(job, seed, NOTHING, None, interrupted=True)
    finally:
        for each in running:
            if each.process.exitcode is None:
                each.stop()


def share_seconds(seconds_left: float, jobs_left: int, at_once: int) -> float:
    """What the next of the jobs may take, so that each of them still gets its turn."""
    return seconds_left / math.ceil(jobs_left / at_once)


def _may_start(job: Job, running: Sequence[_Running], at_once: int) -> bool:
    if job.alone or any(each.job.alone for each in running):
        return not running
    return len(running) < at_once


def _listen(running: list[_Running], say: Callable[[str], None]) -> Iterator[Ended]:
    """Wait until a job says something, and yield those that are over."""
    heard = wait([each.results for each in running], SHOW_SECONDS)
    for each in list(running):
        if each.results not in heard:
            continue
        ended = each.listen()
        say(each.line() if ended is None else f"{each.job.name}: {ended.verdict}")
        if ended is not None:
            running.remove(each)
            yield ended
