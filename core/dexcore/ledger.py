"""Double-entry ledger in integer atoms.

Theory of operation: every account holds one cell per asset with two parts,
``available`` and ``held``. Money changes owner only by ``pay``, which gives one
cell of an asset what it takes from another, and by credits and debits; each of
these also adds its change to the asset's ``net``, which must be back at zero
when a command ends (``check_conserved``). Deposits come out of the EXTERNAL account, whose
balance is therefore minus the supply, so the sum over all accounts is zero for
every asset, always. ``hold`` and ``release`` move money inside one cell.
"""

from __future__ import annotations

from typing import Final, final

from dexcore.invariant import InvariantError, check
from dexcore.limits import INT64_MAX

EXTERNAL_ACCOUNT_KEY: Final = 1
FEE_ACCOUNT_KEY: Final = 2


@final
class Asset:
    """An asset and the net change of all its cells within the running command."""

    __slots__ = ("asset_id", "index", "net", "scale", "supply_atoms")

    def __init__(self, index: int, asset_id: str, scale: int) -> None:
        self.index = index
        self.asset_id = asset_id
        self.scale = scale
        self.net = 0
        self.supply_atoms = 0


@final
class Cell:
    """What one account owns of one asset, in atoms."""

    __slots__ = ("asset", "available", "held")

    def __init__(self, asset: Asset) -> None:
        self.asset = asset
        self.available = 0
        self.held = 0

    def credit(self, amount_atoms: int) -> None:
        """Add to the available part; the counterpart must be debited."""
        self.available += amount_atoms
        self.asset.net += amount_atoms

    def debit_available(self, amount_atoms: int) -> None:
        """Take from the available part; the counterpart must be credited."""
        self.available -= amount_atoms
        self.asset.net -= amount_atoms
        if self.available < 0:
            raise InvariantError("available balance below zero")

    def debit_held(self, amount_atoms: int) -> None:
        """Take from the held part; the counterpart must be credited."""
        self.held -= amount_atoms
        self.asset.net -= amount_atoms
        if self.held < 0:
            raise InvariantError("held balance below zero")

    def pay(self, other: Cell, amount_atoms: int) -> None:
        """Give reserved money to the available part of another owner's cell."""
        self.held -= amount_atoms
        other.available += amount_atoms
        if self.held < 0 or amount_atoms < 0 or self.asset is not other.asset:
            raise InvariantError("paid what is not held, or in another asset")

    def hold(self, amount_atoms: int) -> None:
        """Reserve available money. The caller has compared it with `available`."""
        self.available -= amount_atoms
        self.held += amount_atoms
        if self.available < 0 or amount_atoms < 0:
            raise InvariantError("held more than was available")

    def release(self, amount_atoms: int) -> None:
        """Give reserved money back."""
        self.held -= amount_atoms
        self.available += amount_atoms
        if self.held < 0 or amount_atoms < 0:
            raise InvariantError("released more than was held")


@final
class Ledger:
    """All cells of all accounts."""

    __slots__ = ("assets", "assets_by_id", "cells")

    def __init__(self) -> None:
        self.assets: list[Asset] = []
        self.assets_by_id: dict[str, Asset] = {}
        self.cells: dict[int, dict[int, Cell]] = {EXTERNAL_ACCOUNT_KEY: {}, FEE_ACCOUNT_KEY: {}}

    def add_asset(self, asset_id: str, scale: int) -> Asset:
        """Register an asset; it keeps its index for good."""
        asset = Asset(len(self.assets), asset_id, scale)
        self.assets.append(asset)
        self.assets_by_id[asset_id] = asset
        return asset

    def open_account(self, account_key: int) -> None:
        """Give a new account its (empty) set of cells."""
        check(account_key not in self.cells, "account opened twice")
        self.cells[account_key] = {}

    def cell(self, account_key: int, asset: Asset) -> Cell:
        """Return the account's cell of the asset, made on first use."""
        cells = self.cells[account_key]
        cell = cells.get(asset.index)
        if cell is None:
            cell = cells[asset.index] = Cell(asset)
        return cell

    def cells_of(self, account_key: int, base: Asset, quote: Asset) -> tuple[Cell, Cell]:
        """Return the account's cells of a market's two assets, made on first use."""
        cells = self.cells[account_key]
        base_cell, quote_cell = cells.get(base.index), cells.get(quote.index)
        if base_cell is None or quote_cell is None:
            return self.cell(account_key, base), self.cell(account_key, quote)
        return base_cell, quote_cell

    def can_deposit(self, asset: Asset, amount_atoms: int) -> bool:
        """Say whether the supply stays in 64 bits, so that no balance can leave them."""
        return asset.supply_atoms + amount_atoms <= INT64_MAX

    def deposit(self, account_key: int, asset: Asset, amount_atoms: int) -> None:
        """Bring money in from outside."""
        external = self.cell(EXTERNAL_ACCOUNT_KEY, asset)
        external.available -= amount_atoms
        asset.net -= amount_atoms
        asset.supply_atoms += amount_atoms
        self.cell(account_key, asset).credit(amount_atoms)

    def withdraw(self, account_key: int, asset: Asset, amount_atoms: int) -> None:
        """Take available money out of the exchange."""
        self.cell(account_key, asset).debit_available(amount_atoms)
        asset.supply_atoms -= amount_atoms
        self.cell(EXTERNAL_ACCOUNT_KEY, asset).credit(amount_atoms)

    def transfer(self, from_key: int, to_key: int, asset: Asset, amount_atoms: int) -> None:
        """Move available money between two accounts."""
        self.cell(from_key, asset).debit_available(amount_atoms)
        self.cell(to_key, asset).credit(amount_atoms)

    def check_conserved(self) -> None:
        """Check that the command that ends here neither made nor lost an atom."""
        for asset in self.assets:
            if asset.net:
                raise InvariantError("money was made or lost")

    def audit(self) -> None:
        """Recount every cell from nothing: slow, for recovery, snapshots and tests."""
        totals = [0] * len(self.assets)
        for account_key, cells in self.cells.items():
            for cell in cells.values():
                totals[cell.asset.index] += cell.available + cell.held
                check(cell.held >= 0, "held balance below zero")
                check(
                    cell.available >= 0 or account_key == EXTERNAL_ACCOUNT_KEY,
                    "available balance below zero",
                )
        for asset, total in zip(self.assets, totals, strict=True):
            check(total == 0, f"sum of {asset.asset_id} over all accounts is not zero")
            external = self.cell(EXTERNAL_ACCOUNT_KEY, asset)
            check(external.available == -asset.supply_atoms, "supply disagrees with deposits")
