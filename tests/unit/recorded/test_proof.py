"""The proof finds a single misplaced atom."""

from __future__ import annotations

import pytest

from dex.accounts.v1 import accounts_pb2 as accounts
from dex.matching.v1 import matching_pb2 as matching
from dex.orders.v1 import signed_payload_pb2
from dexnode.recorded.proof import Party, prove
from dexsdk import Market

MARKET = Market.define(
    "B-Q",
    base_scale=2,
    quote_scale=4,
    tick_size="0.01",
    lot_size="0.1",
    maker_fee_ppm=100,
    taker_fee_ppm=200,
)
# 30 lots at 1,000 ticks are 300,000 atoms of Q and 300 of B; 3 lots at 1,001 are 30,030 and 30.
TRADES = [
    matching.Trade(
        price_ticks=1_000,
        quantity_lots=30,
        taker_side=signed_payload_pb2.SIDE_BUY,
        maker_order_id="m1",
        taker_order_id="t1",
    ),
    matching.Trade(
        price_ticks=1_001,
        quantity_lots=3,
        taker_side=signed_payload_pb2.SIDE_SELL,
        maker_order_id="m2",
        taker_order_id="t2",
    ),
]
# Fees, rounded up once an order: t1 60, m1 30, t2 6.006 -> 7, m2 3.003 -> 4.
MAKER = {"B": 1_000 - 300 + 30, "Q": 500_000 + 300_000 - 30 - 30_030 - 4}
TAKER = {"B": 1_000 + 300 - 30, "Q": 500_000 - 300_000 - 60 + 30_030 - 7}


def account(balances: dict[str, int], held: int = 0) -> accounts.Account:
    return accounts.Account(
        balances=[
            accounts.Balance(asset_id=asset, available_atoms=atoms - held, held_atoms=held)
            for asset, atoms in balances.items()
        ]
    )


def parties() -> list[Party]:
    deposits = {"B": 1_000, "Q": 500_000}
    return [
        Party("liquidity", "L", dict(deposits), {"m1", "m2"}),
        Party("taker", "T", dict(deposits), {"t1", "t2"}),
    ]


def test_balanced_books() -> None:
    base, quote = prove(MARKET, parties(), TRADES, {"L": account(MAKER, 5), "T": account(TAKER)})
    assert base.balanced
    assert quote.balanced
    assert (base.fee_atoms, quote.fee_atoms) == (0, 101)
    assert (quote.deposited_atoms, quote.balance_atoms) == (1_000_000, 999_899)


@pytest.mark.parametrize("asset_id", ["B", "Q"])
@pytest.mark.parametrize("atoms", [-1, 1])
def test_one_atom_is_missed(asset_id: str, atoms: int) -> None:
    wrong = TAKER | {asset_id: TAKER[asset_id] + atoms}
    proofs = prove(MARKET, parties(), TRADES, {"L": account(MAKER), "T": account(wrong)})
    (bad,) = (proof for proof in proofs if not proof.balanced)
    assert (bad.asset_id, bad.differences) == (asset_id, {"taker": atoms})


def test_money_moved_between_the_two_is_missed_too() -> None:
    swapped = {"L": account(MAKER | {"B": 731}), "T": account(TAKER | {"B": 1_269})}
    base, _ = prove(MARKET, parties(), TRADES, swapped)
    assert base.deposited_atoms == base.balance_atoms
    assert base.differences == {"liquidity": 1, "taker": -1}
    assert not base.balanced
