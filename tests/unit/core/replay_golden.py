"""Replays the golden journals beside this file and prints their event hashes and state hashes.

A program of its own, so that other interpreters can run it with nothing but the core and
sortedcontainers on their path. A committed journal is never made anew: what came after it, such as
a new command, gets a journal of its own (`--write NAME`).
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from dexcore.checkpoint import encode_state, state_hash
from dexcore.commands import RecordOperation, decode_command, encode_command
from dexcore.exchange import Exchange

FOLDER = Path(__file__).parent
PATHS = sorted(FOLDER.glob("golden_*.json"))


def replay(path: Path) -> tuple[str, str]:
    """Event hash and state hash after a golden journal."""
    golden = json.loads(path.read_text())
    exchange = Exchange()
    for sequence, (time_ns, data) in enumerate(golden["commands"], 1):
        exchange.apply(sequence, time_ns, decode_command(bytes.fromhex(data)))
    return exchange.event_hash.hex(), state_hash(encode_state(exchange))


def write(path: Path) -> None:
    """Make a golden journal from random commands of every type."""
    from tests.unit.core.beside_twin import Pair
    from tests.unit.core.exchanges import CommandMaker

    pair = Pair()
    maker = CommandMaker(random.Random(20), pair.exchange, pair.traders)
    for _ in range(260):
        pair.apply(*maker.next())
    # It changes nothing, so there is nothing to compare it with in the twin.
    pair.compare = False
    pair.apply(maker.time_ns, RecordOperation("operator", "dex.admin.v1.Admin/TakeSnapshot"))
    rows = [[time_ns, encode_command(command).hex()] for _, time_ns, command in pair.journal]
    golden = {"event_hash": pair.exchange.event_hash.hex(), "commands": rows}
    path.write_text(json.dumps(golden, indent=0) + "\n")


if __name__ == "__main__":
    if "--write" in sys.argv:
        write(FOLDER / sys.argv[-1])
    for each in PATHS:
        print(*replay(each))
