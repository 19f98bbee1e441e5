"""What our book costs as it grows: `python -m tests.bench.matching.size memory|speed ORDERS`.

`memory` prints the bytes resident for each of so many resting orders with client order ids. `speed`
prints microseconds of CPU a command on a book that keeps so many: of ten commands four rest
somewhere in 1,000 prices a side, four cancel one of those, and two meet at the best price.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dexcore.funds import NoFunds
from dexcore.items import ACTION_CANCEL, ACTION_PLACE, GTC, IOC, TYPE_LIMIT, Item
from dexcore.orders import carry_out
from tests.reference.seeded_market import ACCOUNTS
from tests.unit.core.seeded import MatcherRun

MIDDLE: Final = 50_000
LEVELS: Final = 1_000
PAGE_BYTES: Final = 4_096
COMMANDS: Final = 100_000
ROUNDS: Final = 3
Step = tuple[int, Item, int]


def resident_bytes() -> int:
    """Memory of this process that is resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def resting(chance: random.Random, key: int) -> Step:
    """An order that rests, not at the best prices."""
    away = chance.randint(2, LEVELS)
    side = chance.randint(1, 2)
    price = MIDDLE - away if side == 1 else MIDDLE + away
    return key % ACCOUNTS, _item(side, price, GTC, chance.randint(1, 100), key), key


def _item(side: int, price: int, tif: int, lots: int, client_id: int) -> Item:
    return (ACTION_PLACE, side, TYPE_LIMIT, tif, 0, 0, price, lots, client_id, 0)


def steps(chance: random.Random, orders: int, count: int) -> Iterator[Step]:
    """The commands of a book that keeps its size."""
    live = list(range(1, orders + 1))
    key = orders
    for index in range(count):
        turn = index % 10
        key += 1
        if turn in (0, 2, 4, 6):
            live.append(key)
            yield resting(chance, key)
        elif turn in (1, 3, 5, 7):
            at = chance.randrange(len(live))
            live[at], live[-1] = live[-1], live[at]
            ended = live.pop()
            yield ended % ACCOUNTS, (ACTION_CANCEL, 0, 0, 0, 0, 0, 0, 0, 0, ended), ended
        elif turn == 8:
            yield key % ACCOUNTS, _item(2, MIDDLE + 1, GTC, 10, key), key
        else:
            yield key % ACCOUNTS, _item(1, MIDDLE + 1, IOC, 10, 0), key


def filled(chance: random.Random, orders: int) -> MatcherRun:
    """A book of so many orders."""
    run = MatcherRun(NoFunds())
    for key in range(1, orders + 1):
        owner, item, _ = resting(chance, key)
        assert run.step(run.accounts[owner], item, key).order_key == key
    return run


def memory(orders: int) -> float:
    """Bytes for each resting order."""
    warm = filled(random.Random(1), 10_000)
    del warm
    gc.collect()
    before = resident_bytes()
    run = filled(random.Random(1), orders)
    run.matcher.events = []
    gc.collect()
    return (resident_bytes() - before) / orders


def speed(orders: int) -> float:
    """Microseconds of CPU a command, the least of some rounds."""
    chance = random.Random(1)
    run = filled(chance, orders)
    made = list(steps(chance, orders, COMMANDS * ROUNDS))
    gc.collect()
    gc.freeze()
    gc.disable()
    matcher, accounts = run.matcher, run.accounts
    least = 1e9
    for start in range(0, len(made), COMMANDS):
        begun_ns = time.process_time_ns()
        for owner, item, key in made[start : start + COMMANDS]:
            carry_out(matcher, accounts[owner], item, key, [])
        least = min(least, (time.process_time_ns() - begun_ns) / 1_000 / COMMANDS)
    return least


if __name__ == "__main__":
    print(json.dumps({"memory": memory, "speed": speed}[sys.argv[1]](int(sys.argv[2]))))
