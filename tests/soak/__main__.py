"""`python -m tests.soak [names] [--minutes N] [--seed N]`: long runs under load and faults.

Each job runs until its goal or its share of the time; the report in docs/soak/ says how far it
came. A property that does not hold ends its job, prints how to replay it, and fails the run.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback

from tests.soak import disks, fuzz, kills, report, twin
from tests.soak.job import Job, Run

JOBS = (
    Job(
        "kills",
        "kill -9 of a node under concurrent load: every acknowledged batch is there after the "
        "restart, and a retry of any batch takes effect once. Every other node runs on a disk "
        "that forgets what was not synced.",
        "kills",
        200,
        5,
        kills.work,
    ),
    Job(
        "disks",
        "Histories of a shard with clients, readers and snapshots on a simulated disk that loses, "
        "tears and reorders unsynced writes, and crashes of a journal alone.",
        "seeds",
        2_000,
        3,
        disks.work,
    ),
    Job(
        "twin",
        "Random commands to the exchange and to its naive twin: answers, trades, balances, "
        "reservations, queues and levels are compared after each.",
        "commands",
        1_000_000,
        5,
        twin.work,
    ),
    Job(
        "fuzz",
        "Random and spoiled valid input, without coverage feedback: each decoder takes it or "
        "refuses it with its own error, and takes nothing that was changed where a code seals it.",
        "inputs",
        1_000_000,
        1,
        fuzz.work,
    ),
)


def run_job(job: Job, seed: int, seconds: float) -> report.Ended:
    """Run one job to its goal or the end of its time."""
    run = Run(job.name, job.goal, seed, seconds)
    error: BaseException | None = None
    try:
        job.work(run)
    except KeyboardInterrupt:
        raise
    except BaseException as raised:  # noqa: BLE001  whatever it is, it goes into the report
        traceback.print_exc()
        error = raised
    run.end()
    return report.Ended(job, run, error)


def main() -> int:
    """Run the jobs that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(job.name for job in JOBS)}; or all")
    parser.add_argument("--minutes", type=float, default=30, help="for all jobs together")
    parser.add_argument("--seed", type=int, default=None, help="of the first choice; else random")
    options = parser.parse_args()
    unknown = set(options.names) - {job.name for job in JOBS}
    if unknown:
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    jobs = [job for job in JOBS if not options.names or job.name in options.names]
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    started_ns, commit = time.time_ns(), report.commit()
    end = time.monotonic() + options.minutes * 60
    ended: list[report.Ended] = []
    for index, job in enumerate(jobs):
        # What an early job leaves over goes to the later ones.
        shares = sum(later.share for later in jobs[index:])
        left = max(0.0, end - time.monotonic())
        ended.append(run_job(job, seed, left * job.share / shares))
    path = report.write(ended, started_ns, commit, options.minutes)
    print(path.read_text())
    print(f"written to {path.relative_to(report.ROOT)}")
    return 1 if any(one.error is not None for one in ended) else 0


if __name__ == "__main__":
    sys.exit(main())
