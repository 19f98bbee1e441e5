"""The last guards of a balance: what no command may do to a cell, whoever asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dexcore.invariant import InvariantError
from dexcore.ledger import Asset, Cell, Ledger


def cell() -> Cell:
    """Ten atoms available, five held."""
    made = Cell(Asset(0, "QQQ", 8))
    made.available, made.held = 10, 5
    return made


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (lambda c: c.debit_available(11), "available balance below zero"),
        (lambda c: c.debit_held(6), "held balance below zero"),
        (lambda c: c.hold(11), "held more than was available"),
        (lambda c: c.hold(-1), "held more than was available"),
        (lambda c: c.release(6), "released more than was held"),
        (lambda c: c.release(-1), "released more than was held"),
    ],
)
def test_a_cell_never_goes_below_zero(step: Callable[[Cell], None], why: str) -> None:
    with pytest.raises(InvariantError, match=why):
        step(cell())


def test_money_without_a_counterpart_is_noticed() -> None:
    ledger = Ledger()
    asset = ledger.add_asset("QQQ", 8)
    ledger.open_account(4096)
    ledger.cell(4096, asset).credit(1)
    with pytest.raises(InvariantError, match="money was made or lost"):
        ledger.check_conserved()
