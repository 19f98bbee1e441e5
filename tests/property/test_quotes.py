"""Requests for quotes against their naive twin, in markets where much else goes on."""

from __future__ import annotations

import random
from collections import Counter

from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import ClockTick
from dexcore.reasons import Reason
from tests.unit.core.beside_twin import Pair
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import seed_of

RUNS, COMMANDS = 4, 900
# Every way to end, and the refusals that say a quote is worth nothing any more.
ENDS = {"FILLED", "EXPIRED", "WITHDRAWN", "SESSION_ENDED", "REQUEST_CLOSED", "TIME_PASSED"}
REFUSALS = {"UNKNOWN_QUOTE", "UNKNOWN_QUOTE_REQUEST", "SELF_TRADE", "INSUFFICIENT_FUNDS"}


def test_random_quotes_match_the_twin() -> None:
    seed = seed_of("tests/property/test_quotes.py")
    ends: set[str] = set()
    refusals: Counter[str] = Counter()
    for run in range(RUNS):
        chance = random.Random(f"{seed} {run}")
        pair = Pair()
        maker = CommandMaker(chance, pair.exchange, pair.traders)
        for step in range(COMMANDS):
            time_ns, command = maker.next()
            roll = chance.random()
            if roll < 0.75:
                command = maker.quotes.next()
            elif roll < 0.8:
                command = ClockTick()
            try:
                outcome = pair.apply(time_ns, command)
            except Exception:
                print(f"run {run}, step {step}: {command}")
                raise
            refusals[Reason(outcome.reason).name] += 1
            if step % 97 == 0:
                # On from a snapshot, which says the same again.
                state = encode_state(pair.exchange)
                maker.exchange = pair.exchange = decode_state(state)
                assert encode_state(pair.exchange) == state
        ends.update(pair.quote_reader.ended.values())
    assert ends == ENDS
    assert refusals.keys() >= REFUSALS
