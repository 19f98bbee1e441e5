"""`python -m tests.soak [names] [--minutes N] [--seed N]`: long runs under load and faults.

Each job runs until its goal; `--minutes` bounds them all together. The report in docs/soak/ says
how far each came. A property that does not hold ends its job, says how to replay it, and fails the
run; ctrl-C stops the jobs and still writes the report.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import time

from tests.soak import report
from tests.soak.jobs import JOBS
from tests.soak.runner import Ended, run_jobs


def main() -> int:
    """Run the jobs that are named, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help=f"{', '.join(job.name for job in JOBS)}; or all")
    parser.add_argument("--minutes", type=float, default=math.inf, help="for all jobs together")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time")
    parser.add_argument("--seed", type=int, default=None, help="of the first choice; else random")
    options = parser.parse_args()
    unknown = set(options.names) - {job.name for job in JOBS}
    if unknown:
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    if options.jobs < 1:
        parser.error("--jobs: at least one at a time")
    if not options.minutes > 0:
        parser.error("--minutes: more than 0, or nothing runs")
    jobs = [job for job in JOBS if not options.names or job.name in options.names]
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    page = report.new_page(time.time_ns(), options.minutes)
    ended: list[Ended] = []
    for one in run_jobs(jobs, seed, seconds=options.minutes * 60, at_once=options.jobs):
        ended.append(one)
        # After each, so that nothing that was found is lost with the harness.
        report.write(ended, page)
    print(report.text(ended, page))
    print(f"written to {page.path.relative_to(report.ROOT)}")
    return report.exit_code(jobs, ended)


if __name__ == "__main__":
    sys.exit(main())
