"""The bench of the matcher: the same trades from ours, and books that keep their size."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.bench.matching import measure, size
from tests.bench.matching.ours import Triodex, TriodexBatches
from tests.bench.report import Limit
from tests.reference.seeded_market import TRADES, SeededMarket

COMMANDS = 3_000


@pytest.mark.parametrize("ledger", [False, True])
@pytest.mark.parametrize("kind", [Triodex, TriodexBatches])
def test_ours_makes_the_trades_of_the_reference(kind: Any, ledger: bool) -> None:
    market = SeededMarket()
    records = list(market.records(COMMANDS))
    expected = sum(event[0] == TRADES for event in market.book.events)
    engine = kind(ledger=ledger)
    assert engine.trades(engine.commands(records)) == expected
    assert expected > COMMANDS // 10


def test_a_book_keeps_its_size_and_refuses_nothing() -> None:
    run = size.filled(random.Random(1), 500)
    refused = []
    for owner, item, key in size.steps(random.Random(2), 500, 1_000):
        result = run.step(run.accounts[owner], item, key)
        refused += [result.reason] if result.reason else []
    assert not refused
    assert sum(len(account.open_orders) for account in run.accounts) == 500


def test_a_row_stands_beside_its_peer_of_the_same_round() -> None:
    class Raced:
        def __init__(self, title: str, speeds: list[float]) -> None:
            self.contender = measure.Contender(title, title, "", {}, plain=True)
            self.speeds = speeds

    ours: Any = Raced("ours", [100.0, 50.0, 90.0])
    other: Any = Raced("other", [50.0, 50.0, 60.0])
    row = measure.beside("ours", ours, other, Limit("ratio", False, 1.5), "")
    assert (row.value, row.peer, row.ratio) == (90.0, ("other", 60.0), 1.5)
    assert row.met
    assert "2.00, 1.00, 1.50" in row.conditions
