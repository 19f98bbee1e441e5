"""Every decoder in turn, some thousand spoiled inputs at a time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import trio

from tests.soak import decoders, signed
from tests.soak.job import Run

INPUTS_PER_TURN = 2_000
TARGETS: Final[dict[str, Callable[[random.Random], decoders.Target]]] = {
    "commands": decoders.commands,
    "journal records": decoders.records,
    "journal headers and snapshots": decoders.headers,
    "HTTP/2": decoders.http2,
    "Flight tickets": signed.tickets,
    "access tokens": signed.access_tokens,
    "page tokens": signed.page_tokens,
}


def work(run: Run) -> None:
    """Turns of all targets until the goal; what is raised names its target and seed."""
    turn = 0
    targets = {}
    chances = {name: random.Random(f"{run.seed} {name}") for name in TARGETS}
    for name, make in TARGETS.items():
        targets[name] = make(chances[name])
    while run.goes_on():
        for name, target in targets.items():
            for number in range(INPUTS_PER_TURN):
                try:
                    taken = target()
                except BaseException:
                    print(
                        f"{name}: random.Random('{run.seed} {name}'), input {number}, turn {turn}"
                    )
                    raise
                run.counts[f"{name}: {'taken' if taken else 'refused'}"] += 1
            run.done += INPUTS_PER_TURN
        chance = random.Random(f"{run.seed} payloads {turn}")
        taken_count = trio.run(signed.payloads, run, chance, INPUTS_PER_TURN)
        run.counts["signed payloads: taken"] += taken_count
        run.counts["signed payloads: refused"] += INPUTS_PER_TURN - taken_count
        run.done += INPUTS_PER_TURN
        turn += 1
