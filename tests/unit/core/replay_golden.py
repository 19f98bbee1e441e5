"""Replays the golden journal beside this file and prints its event hash and state hash.

A program of its own, so that other interpreters can run it with nothing but the core and
sortedcontainers on their path. `--write` makes the file anew, which only a new journal version
may ask for: a change of this file says that old journals replay to something else.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from dexcore.checkpoint import encode_state, state_hash
from dexcore.commands import decode_command, encode_command
from dexcore.exchange import Exchange

PATH = Path(__file__).with_name("golden_journal.json")


def replay() -> tuple[str, str]:
    """Event hash and state hash after the golden journal."""
    golden = json.loads(PATH.read_text())
    exchange = Exchange()
    for sequence, (time_ns, data) in enumerate(golden["commands"], 1):
        exchange.apply(sequence, time_ns, decode_command(bytes.fromhex(data)))
    return exchange.event_hash.hex(), state_hash(encode_state(exchange))


def write() -> None:
    """Make the golden journal from random commands of every type."""
    from tests.unit.core.beside_twin import Pair
    from tests.unit.core.exchanges import CommandMaker

    pair = Pair()
    maker = CommandMaker(random.Random(20), pair.exchange, pair.traders)
    for _ in range(260):
        pair.apply(*maker.next())
    rows = [[time_ns, encode_command(command).hex()] for _, time_ns, command in pair.journal]
    golden = {"event_hash": pair.exchange.event_hash.hex(), "commands": rows}
    PATH.write_text(json.dumps(golden, indent=0) + "\n")


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    print(*replay())
