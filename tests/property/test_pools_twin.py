"""Book and pool against the naive twin: answers, trades, money and books after every command."""

from __future__ import annotations

import random

import pytest

from tests.unit.core.exchanges import MARKETS, seed_of
from tests.unit.core.pool_exchange import CONCENTRATED, CONSTANT_PRODUCT, PoolCommands, PoolPair

COMMANDS = {CONSTANT_PRODUCT: 700, CONCENTRATED: 250}


@pytest.mark.parametrize("market", [0, 1])
@pytest.mark.parametrize("kind", [CONSTANT_PRODUCT, CONCENTRATED])
def test_random_commands_match_the_twin(kind: int, market: int) -> None:
    seed = seed_of("tests/property/test_pools_twin.py -k random_commands")
    chance = random.Random(f"{seed} {kind} {market}")
    pair = PoolPair(MARKETS[market], kind, 3_000)
    commands = PoolCommands(chance, pair)
    for step in range(COMMANDS[kind]):
        try:
            commands.next()
        except Exception:
            print(f"step {step}: {pair.journal[-1]}")
            raise
    assert pair.twin.trade_sequence > COMMANDS[kind] // 20
