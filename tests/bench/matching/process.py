"""The process of one engine: `python -m tests.bench.matching.process NAME RECORDS`.

Asked line by line on standard input, it answers with a line of JSON. What an engine is handed is
made before any clock starts; a pass takes a fresh book through all commands, one call each.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.bench.matching.peers import (
    Bourse,
    Command,
    Engine,
    LimitOrderBook,
    Liquibook,
    MatchingEngine,
)
from tests.reference.seeded_market import RECORD, Record

NEVER_NS: Final = 1 << 62
OURS: Final = "triodex"
BATCHES: Final = ", batches"
LEDGER: Final = ", ledger"
PEERS: Final[dict[str, type[Engine]]] = {
    "bourse": Bourse,
    "limit-order-book": LimitOrderBook,
    "liquibook": Liquibook,
    "matching-engine": MatchingEngine,
}


def engine_of(name: str) -> Engine:
    """The engine of this name; ours is imported where it is asked for alone."""
    if name in PEERS:
        return PEERS[name]()
    from tests.bench.matching.ours import Triodex, TriodexBatches

    ledger = name.endswith(LEDGER)
    return TriodexBatches(ledger=ledger) if BATCHES in name else Triodex(ledger=ledger)


def seconds_of(engine: Engine, commands: list[Command]) -> float:
    """Seconds of CPU that all the commands take, and handing over what they did."""
    call = engine.fresh()
    started_ns = time.process_time_ns()
    for command in commands:
        call(command)
    engine.hand_over()
    return (time.process_time_ns() - started_ns) / 1e9


class Passes:
    """The passes of one engine over one list of commands."""

    def __init__(self, engine: Engine, records: list[Record]) -> None:
        self.engine = engine
        self.commands = engine.commands(records)
        self.count = len(records)
        self._least_ns = array("q", [NEVER_NS]) * len(self.commands)

    def speed(self) -> float:
        """Commands a second of one pass."""
        gc.collect()
        return self.count / seconds_of(self.engine, self.commands)

    def latency(self) -> dict[str, int]:
        """Percentiles of each command's least nanoseconds over this and all passes before it."""
        call, least, clock = self.engine.fresh(), self._least_ns, time.perf_counter_ns
        for index, command in enumerate(self.commands):
            started_ns = clock()
            call(command)
            took_ns = clock() - started_ns
            if took_ns < least[index]:
                least[index] = took_ns
        ascending = sorted(least)
        last = len(ascending) - 1
        return {
            name: ascending[last * share // 1000]
            for name, share in (("p50", 500), ("p99", 990), ("p99.9", 999))
        }

    def trades(self) -> int | None:
        """Trades of one pass, where the engine tells."""
        return self.engine.trades(self.commands)


def main() -> None:
    """Serve until standard input ends."""
    name, path = sys.argv[1:]
    records = [Record._make(values) for values in RECORD.iter_unpack(Path(path).read_bytes())]
    passes = Passes(engine_of(name), records)
    del records
    gc.collect()
    gc.freeze()
    gc.disable()
    asks: dict[str, Callable[[], Any]] = {
        "speed": passes.speed,
        "latency": passes.latency,
        "trades": passes.trades,
        "ready": lambda: True,
    }
    for line in sys.stdin:
        print(json.dumps(asks[line.strip()]()), flush=True)


if __name__ == "__main__":
    main()
