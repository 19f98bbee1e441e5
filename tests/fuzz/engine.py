"""The two engines, which write the same lines: how many executions, and where a finding lies."""

from __future__ import annotations

import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz.families import FAMILIES, load
from tests.fuzz.family import CORPUS, corpus_of
from tests.fuzz.mutate import mutated

FINDING_EXIT: Final = 77
PROGRESS_RUNS: Final = 20_000
# An input that takes longer is a finding.
INPUT_SECONDS_MAX: Final = 10
MEMORY_MIB_MAX: Final = 2048


class Job(NamedTuple):
    """One family's share of a run; no bound in time if `seconds` is zero."""

    family: str
    runs: int
    seconds: int
    seed: int
    artifacts: Path


def with_atheris(job: Job) -> int:
    """libFuzzer chooses the inputs by the coverage of our own packages; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=list(FAMILIES[job.family].packages)):
        family = load(job.family)
    target = family.make()
    # The committed corpus is only read; what is found new lives as long as the run.
    found = tempfile.mkdtemp(prefix="fuzz-", dir=job.artifacts)
    flags = [
        f"-runs={job.runs}",
        f"-max_total_time={job.seconds}",
        f"-seed={job.seed}",
        f"-max_len={family.bytes_max}",
        f"-artifact_prefix={job.artifacts}/{job.family}-",
        f"-timeout={INPUT_SECONDS_MAX}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}",
        "-print_final_stats=1",
    ]
    atheris.Setup([job.family, *flags, found, str(CORPUS / job.family)], target)
    atheris.Fuzz()
    return 0


def with_mutator(job: Job) -> int:
    """Copies of the corpus, spoiled at random, without knowing what they reach."""
    target = load(job.family).make()
    corpus = [path.read_bytes() for path in corpus_of(job.family)]
    chance = random.Random(f"{job.seed} {job.family}")
    started = time.monotonic()
    done = 0
    while done < job.runs and not (job.seconds and time.monotonic() - started > job.seconds):
        for _ in range(min(PROGRESS_RUNS, job.runs - done)):
            data = mutated(chance, corpus)
            done += 1
            try:
                target(data)
            except BaseException:  # noqa: BLE001  whatever it is, it is a finding
                traceback.print_exc()
                path = job.artifacts / f"{job.family}-crash-{sha1(data).hexdigest()}"
                path.write_bytes(data)
                print(f"Test unit written to {path}", file=sys.stderr)
                return FINDING_EXIT
        print(f"#{done}", file=sys.stderr, flush=True)
    for slot, taken, refused in zip(target.slots, target.taken, target.refused, strict=True):
        print(f"{slot}: {taken} taken, {refused} refused")
    print(f"stat::number_of_executed_units: {done}", file=sys.stderr)
    return 0


ENGINES: Final[dict[str, Callable[[Job], int]]] = {
    "atheris": with_atheris,
    "mutator": with_mutator,
}
