"""Pools and positions as messages of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Final

from dex.pools.v1 import pools_pb2 as pb
from dexcore.amm.concentrated import Concentrated
from dexcore.amm.constant_product import ConstantProduct
from dexcore.amm.pool_tick import Q96
from dexcore.market import Market
from dexcore.pool import TICK_SPACING_OF_FEE, Pool
from dexnode.ids import IdFormat
from dexnode.render import plain_decimal, timestamp
from dexruntime.views import PoolChange

# A price for people.
_PRICE: Final = Context(prec=18)


def fill_change(message: pb.Pool, change: PoolChange) -> None:
    """When a pool was last changed."""
    message.sequence = change.sequence
    message.change_time.CopyFrom(timestamp(change.time_ns))


def pool(ids: IdFormat, market: Market, source: Pool) -> pb.Pool:
    """A market's pool, but for when it was last changed."""
    curve = source.curve
    message = pb.Pool(
        market_id=market.spec.market_id,
        kind=source.kind.value,  # type: ignore[arg-type]
        fee_ppm=curve.fee_ppm,
        account_id=ids.format(source.account_key),
        start_price_ticks=source.price_ticks,
        base_atoms=curve.base_atoms,
        quote_atoms=curve.quote_atoms,
        price=_price(market, curve),
    )
    if isinstance(curve, ConstantProduct):
        message.liquidity = curve.shares_total
        message.position_count = len(curve.shares)
        return message
    message.liquidity = curve.liquidity
    message.liquidity_total = curve.liquidity_total
    message.sqrt_price_x96 = str(curve.sqrt_price)
    message.pool_tick = curve.pool_tick
    message.tick_spacing = TICK_SPACING_OF_FEE[curve.fee_ppm]
    message.position_count = len(curve.positions)
    return message


def _price(market: Market, curve: ConstantProduct | Concentrated) -> str:
    """Quote units for one base unit, rounded to 18 digits; empty where there is none."""
    if isinstance(curve, ConstantProduct):
        quote_atoms, base_atoms = curve.quote_atoms, curve.base_atoms
    else:
        quote_atoms, base_atoms = curve.sqrt_price**2, Q96**2
    if not base_atoms:
        return ""
    atoms = _PRICE.divide(Decimal(quote_atoms), Decimal(base_atoms))
    spec = market.spec
    return plain_decimal(atoms.scaleb(spec.base_scale - spec.quote_scale))


def positions(market: Market, source: Pool, account_key: int) -> Iterator[pb.Position]:
    """What the account has in a market's pool, by pool ticks."""
    curve, market_id = source.curve, market.spec.market_id
    if isinstance(curve, ConstantProduct):
        shares = curve.shares.get(account_key)
        if shares:
            base_atoms, quote_atoms = curve.burn_for(shares)
            yield pb.Position(
                market_id=market_id,
                liquidity=shares,
                base_atoms=base_atoms,
                quote_atoms=quote_atoms,
            )
        return
    for key in sorted(key for key in curve.positions if key.account_key == account_key):
        liquidity = curve.positions[key].liquidity
        base_atoms, quote_atoms = curve.burn_for(key, liquidity)
        fee_base_atoms, fee_quote_atoms = curve.fees_of(key)
        yield pb.Position(
            market_id=market_id,
            lower_tick=key.lower_tick,
            upper_tick=key.upper_tick,
            liquidity=liquidity,
            base_atoms=base_atoms,
            quote_atoms=quote_atoms,
            fee_base_atoms=fee_base_atoms,
            fee_quote_atoms=fee_quote_atoms,
        )
