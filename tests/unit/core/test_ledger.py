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


def test_a_cell_may_be_emptied() -> None:
    made = cell()
    made.hold(10)
    assert (made.available, made.held) == (0, 15)
    made.release(15)
    made.hold(0)
    made.release(0)
    made.debit_available(15)
    assert (made.available, made.held) == (0, 0)


def audited() -> tuple[Ledger, Asset, Cell]:
    """A ledger of two assets that an audit finds sound, one asset, and the cell that owns it."""
    ledger = Ledger()
    for asset_id in ("AAA", "QQQ"):
        asset = ledger.add_asset(asset_id, 8)
    ledger.open_account(4096)
    ledger.deposit(4096, asset, 10)
    ledger.audit()
    return ledger, asset, ledger.cell(4096, asset)


def test_the_audit_finds_a_changed_cell() -> None:
    for part in ("available", "held"):
        for change in (1, -1):
            ledger, _, owned = audited()
            setattr(owned, part, getattr(owned, part) + change)
            with pytest.raises(InvariantError):
                ledger.audit()


def test_the_audit_finds_a_debt_that_somebody_else_covers() -> None:
    ledger, asset, owned = audited()
    ledger.open_account(8192)
    owned.available += 1
    ledger.cell(8192, asset).available -= 1
    with pytest.raises(InvariantError, match="available balance below zero"):
        ledger.audit()


def test_the_audit_finds_a_supply_that_nobody_brought() -> None:
    ledger, asset, _ = audited()
    asset.supply_atoms += 1
    with pytest.raises(InvariantError, match="supply disagrees"):
        ledger.audit()
