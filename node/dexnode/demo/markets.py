"""The demo's markets and its faucet: what an operator does before anyone can trade."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

from dexsdk import CallerError, Client, Market, PoolKind


class DemoMarket(NamedTuple):
    """A market of the demo, the price its bots start from and how far a market order may go.

    ``pool_fee_ppm`` is the fee of its pool; zero: it has none.
    """

    market_id: str
    tick_size: str
    lot_size: str
    start_price: str
    band: str
    pool_fee_ppm: int


DEMO_MARKETS: Final = (
    DemoMarket("BTC-USDC.eth", "0.01", "0.00001", "61000.00", "500.00", 0),
    DemoMarket("ETH-USDC.eth", "0.01", "0.0001", "2650.00", "25.00", 500),
)
ASSET_SCALE: Final = 8
MAKER_FEE_PPM: Final = 100
TAKER_FEE_PPM: Final = 200

# Play money of one faucet pull, in whole units of the asset.
FAUCET_UNITS: Final = {"BTC": "5", "ETH": "100", "USDC.eth": "500000"}


async def open_markets(operator: Client) -> list[Market]:
    """Create the demo's markets; they may exist already."""
    opened = []
    for demo in DEMO_MARKETS:
        market = Market.define(
            demo.market_id,
            base_scale=ASSET_SCALE,
            quote_scale=ASSET_SCALE,
            tick_size=demo.tick_size,
            lot_size=demo.lot_size,
            maker_fee_ppm=MAKER_FEE_PPM,
            taker_fee_ppm=TAKER_FEE_PPM,
        )
        try:
            opened.append(await operator.admin.create_market(market))
        except CallerError as refused:
            # An operator may have set other fees since.
            if refused.reason != "MARKET_EXISTS":
                raise
            opened.append(await operator.get_market(demo.market_id))
            continue
        if opened[-1].message.protection_ticks:
            continue
        # A stop needs a band to know what it may cost.
        await operator.admin.set_market_limits(
            demo.market_id,
            protection_ticks=opened[-1].price_ticks(demo.band),
            price_band_ppm=0,
            notional_min_atoms=0,
            notional_max_atoms=0,
        )
    for demo in DEMO_MARKETS:
        if demo.pool_fee_ppm:
            await _open_pool(operator, demo)
    return opened


async def _open_pool(operator: Client, demo: DemoMarket) -> None:
    """Give a market its pool; an operator may have given it another."""
    kind = PoolKind.CONSTANT_PRODUCT
    try:
        await operator.admin.create_pool(demo.market_id, kind, demo.pool_fee_ppm)
    except CallerError as refused:
        if refused.reason != "POOL_EXISTS":
            raise


def faucet_atoms(pulls: int) -> dict[str, int]:
    """What so many pulls of the faucet give of each asset, in atoms."""
    return {
        asset_id: int(Decimal(units) * 10**ASSET_SCALE) * pulls
        for asset_id, units in FAUCET_UNITS.items()
    }


async def pull_faucet(operator: Client, account_id: str, reference: str) -> None:
    """Give an account play money of every demo asset, once per reference."""
    for asset_id, atoms in faucet_atoms(1).items():
        await operator.admin.credit_account(account_id, asset_id, atoms, f"{reference}-{asset_id}")
