"""Proves that a replay's books balance: every atom of the deposits is found again.

Each account's balances are computed from its deposits and the market's trade feed alone, fees by
the contract's rule (an order's fee is the exact sum over its fills, rounded up once), and compared
with what the node says. Money moves between the two accounts and to fees, so all of them together
must be the deposits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dex.accounts.v1 import accounts_pb2 as accounts
from dex.matching.v1 import matching_pb2 as matching
from dexsdk import Market, Side

PPM: Final = 1_000_000


@dataclass
class Party:
    """An account of the replay."""

    name: str
    account_id: str
    deposits: dict[str, int]
    order_ids: set[str] = field(default_factory=set)


class AssetProof(NamedTuple):
    """One asset, in atoms. Balanced when deposits are balances plus fees and nothing differs."""

    asset_id: str
    deposited_atoms: int
    balance_atoms: int
    fee_atoms: int
    differences: dict[str, int]
    """What an account has too much, by name; empty when all is as the trades say."""

    @property
    def balanced(self) -> bool:
        """Whether every atom is accounted for."""
        whole = self.deposited_atoms == self.balance_atoms + self.fee_atoms
        return whole and not self.differences


def prove(
    market: Market,
    parties: Collection[Party],
    trades: Iterable[matching.Trade],
    answers: Mapping[str, accounts.Account],
) -> list[AssetProof]:
    """Compare the accounts, by account id, with deposits and trades."""
    expected, fees = _settle(market, parties, trades)
    proofs = []
    for asset_id in (market.base_asset_id, market.quote_asset_id):
        differences = {}
        total = 0
        for party in parties:
            balance = _balance(answers[party.account_id], asset_id)
            total += balance
            surplus = balance - expected[party.account_id][asset_id]
            if surplus:
                differences[party.name] = surplus
        deposited = sum(party.deposits[asset_id] for party in parties)
        fee = fees if asset_id == market.quote_asset_id else 0
        proofs.append(AssetProof(asset_id, deposited, total, fee, differences))
    return proofs


def _settle(
    market: Market, parties: Collection[Party], trades: Iterable[matching.Trade]
) -> tuple[dict[str, dict[str, int]], int]:
    """Balances by account and asset, and the fees all orders of the parties paid."""
    owners = {order_id: party.account_id for party in parties for order_id in party.order_ids}
    balances = {party.account_id: dict(party.deposits) for party in parties}
    due_ppm_atoms: defaultdict[str, int] = defaultdict(int)
    base, quote = market.base_asset_id, market.quote_asset_id
    for trade in trades:
        notional = market.notional_atoms(trade.price_ticks, trade.quantity_lots)
        base_atoms = trade.quantity_lots * market.message.base_atoms_per_lot
        sign = 1 if trade.taker_side == Side.BUY else -1
        for order_id, direction, rate_ppm in (
            (trade.taker_order_id, sign, market.message.taker_fee_ppm),
            (trade.maker_order_id, -sign, market.message.maker_fee_ppm),
        ):
            owner = owners.get(order_id)
            if owner is not None:
                balances[owner][base] += direction * base_atoms
                balances[owner][quote] -= direction * notional
                due_ppm_atoms[order_id] += notional * rate_ppm
    fees = 0
    for order_id, ppm_atoms in due_ppm_atoms.items():
        fee = -(-ppm_atoms // PPM)
        balances[owners[order_id]][quote] -= fee
        fees += fee
    return balances, fees


def _balance(account: accounts.Account, asset_id: str) -> int:
    return sum(
        balance.available_atoms + balance.held_atoms
        for balance in account.balances
        if balance.asset_id == asset_id
    )
