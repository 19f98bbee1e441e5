"""Every entry of logs of a thousand records tampered with in every way, at every size."""

from __future__ import annotations

import random

from dexnode.audit.verify import Recomputed
from tests.soak.job import Run
from tests.unit.audit.test_tampering import ALL, SIZE_MAX
from tests.unit.audit.trees import heads_of, make_log


def work(run: Run) -> None:
    """One log after another; what the head of a size does not find is an AssertionError."""
    number = 0
    while run.goes_on():
        seed = f"{run.seed} {number}"
        chance = random.Random(seed)
        log = make_log(chance, SIZE_MAX)
        heads = heads_of(log)
        for at in range(SIZE_MAX):
            if not run.goes_on():
                break
            for tampering in ALL:
                changed = tampering(chance, log, at)
                made = Recomputed()
                for size in range(1, SIZE_MAX + 1):
                    if size <= len(changed):
                        made.add(changed[size - 1])
                    if size > at and not made.problem(heads[size - 1]):
                        where = f"{tampering.__name__} at {at} of {size}"
                        raise AssertionError(f"random.Random({seed!r}): {where} was not found")
                run.counts[tampering.__name__] += SIZE_MAX - at
            run.done += 1
        number += 1
