"""A pool as values for the state's canonical bytes, and back."""

from __future__ import annotations

from typing import Any

from dexcore.amm.concentrated import Concentrated
from dexcore.amm.constant_product import MINIMUM_LIQUIDITY, ConstantProduct
from dexcore.amm.position import Bound, Position, Range
from dexcore.invariant import check
from dexcore.ledger import Ledger
from dexcore.market import Market
from dexcore.pool import Curve, Pool, PoolKind, grid_of


def encode_pool(pool: Pool) -> dict[str, Any]:
    """Integers and lists only; what follows from the positions is left out."""
    curve = pool.curve
    row: dict[str, Any] = {
        "account": pool.account_key,
        "kind": pool.kind.value,
        "fee_ppm": curve.fee_ppm,
        "price_ticks": pool.price_ticks,
        "holds": [curve.base_atoms, curve.quote_atoms],
    }
    if isinstance(curve, ConstantProduct):
        return row | {"shares": [list(share) for share in sorted(curve.shares.items())]}
    return row | {
        "sqrt_price": curve.sqrt_price,
        "pool_tick": curve.pool_tick,
        "earned": [curve.earned_base, curve.earned_quote],
        "bounds": [
            [pool_tick, bound.crossed_base, bound.crossed_quote]
            for pool_tick, bound in curve.bounds.items()
        ],
        "positions": [
            [
                *key,
                position.liquidity,
                position.paid_base,
                position.paid_quote,
                position.owed_base_atoms,
                position.owed_quote_atoms,
            ]
            for key, position in sorted(curve.positions.items())
        ],
    }


def restore_pool(ledger: Ledger, market: Market, row: dict[str, Any]) -> Pool:
    """The pool of a market, whose account's cells are there.

    Raises:
        InvariantError: it owes more than it holds, or contradicts itself.
    """
    kind = PoolKind(row["kind"])
    curve = _product(row) if kind is PoolKind.CONSTANT_PRODUCT else _concentrated(row)
    curve.base_atoms, curve.quote_atoms = row["holds"]
    curve.check_sound()
    cells = ledger.cells_of(row["account"], market.base, market.quote)
    pool = Pool(row["account"], kind, curve, row["price_ticks"], grid_of(market.spec), cells)
    pool.check_cells()
    return pool


def _product(row: dict[str, Any]) -> Curve:
    curve = ConstantProduct(row["fee_ppm"])
    curve.shares = dict(row["shares"])
    if row["holds"] != [0, 0]:
        curve.shares_total = sum(curve.shares.values()) + MINIMUM_LIQUIDITY
    return curve


def _concentrated(row: dict[str, Any]) -> Curve:
    curve = Concentrated(row["fee_ppm"], row["sqrt_price"])
    # One less where the price came down to a bound and is in the range below.
    check(curve.pool_tick - row["pool_tick"] in (0, 1), "a pool's tick is not of its price")
    curve.pool_tick = row["pool_tick"]
    curve.earned_base, curve.earned_quote = row["earned"]
    for pool_tick, crossed_base, crossed_quote in row["bounds"]:
        bound = curve.bounds[pool_tick] = Bound(pool_tick)
        bound.crossed_base, bound.crossed_quote = crossed_base, crossed_quote
    for account_key, lower_tick, upper_tick, liquidity, *paid, owed_base, owed_quote in row[
        "positions"
    ]:
        key = Range(account_key, lower_tick, upper_tick)
        position = curve.positions[key] = Position()
        position.paid_base, position.paid_quote = paid
        position.owed_base_atoms, position.owed_quote_atoms = owed_base, owed_quote
        curve.change(key, position, liquidity)
    return curve
