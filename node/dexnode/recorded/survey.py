"""What a recording holds, and the market it belongs into."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

import click

from dexnode.recorded.binance import Recording, RecordingError, Trade
from dexsdk import Client, Market, MarketKind

# Binance names a market without a mark between the two assets. Longest first.
QUOTE_ASSETS: Final = (
    *("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "BTC", "ETH", "BNB", "DAI", "EUR", "TRY"),
    *("BRL", "JPY", "GBP", "AUD"),
)
ASSET_ID_CHARACTERS_MAX: Final = 16
LEDGER_SCALE: Final = 8


class Survey(NamedTuple):
    """One look over a whole recording. Times in ns since the epoch, by the venue's clock."""

    symbol: str
    message_count: int
    trade_count: int
    price_decimals: int
    quantity_decimals: int
    first_trade_time_ns: int
    last_trade_time_ns: int
    end_time_ns: int
    """When the venue sent the last message: until then the recording is complete."""


class Grid(NamedTuple):
    """Tick and lot of the market to make, where not as fine as the recording needs."""

    tick_size: str | None = None
    lot_size: str | None = None


def survey(recording: Recording) -> Survey:
    """Read the recording once. Raises RecordingError for a file that cannot be used."""
    message_count = trade_count = end_time_ns = 0
    price_decimals = quantity_decimals = 0
    times: list[int] = []
    for message in recording:
        message_count += 1
        end_time_ns = max(end_time_ns, message.event_time_ns)
        levels = (
            [(message.price, message.quantity)]
            if isinstance(message, Trade)
            else (message.bids + message.asks)
        )
        for price, quantity in levels:
            price_decimals = max(price_decimals, decimals(price))
            quantity_decimals = max(quantity_decimals, decimals(quantity))
        if isinstance(message, Trade):
            trade_count += 1
            times = [min([*times[:1], message.time_ns]), max([*times[1:], message.time_ns])]
    return Survey(
        recording.symbol,
        message_count,
        trade_count,
        price_decimals,
        quantity_decimals,
        times[0],
        times[1],
        max(end_time_ns, times[1]),
    )


def decimals(number: str) -> int:
    """Decimals a number needs: "61685.50000000" needs one."""
    return len(number.partition(".")[2].rstrip("0"))


def market_name(symbol: str, prefix: str) -> str:
    """Name of a venue's market with both assets prefixed, so that they never mix with ours.

    "BTCUSDT" with prefix "BINANCE" is BINANCE.BTC-BINANCE.USDT.
    """
    for quote in QUOTE_ASSETS:
        base = symbol.removesuffix(quote)
        if base and base != symbol:
            names = (f"{prefix}.{base}", f"{prefix}.{quote}")
            if max(map(len, names)) <= ASSET_ID_CHARACTERS_MAX:
                return "-".join(names)
    raise RecordingError(f"no market name follows from {symbol}: give --market BASE-QUOTE")


async def ensure_market(
    operator: Client,
    market_id: str,
    kind: MarketKind,
    found: Survey,
    grid: Grid,
    fees_ppm: tuple[int, int] = (0, 0),
) -> Market:
    """The market of that name, made when it is missing: as fine as the recording needs.

    Raises ClickException when a market of the name exists and is of another kind.
    """
    markets = await operator.list_markets()
    for market in markets:
        if market.market_id == market_id:
            if market.message.kind != kind:
                name = MarketKind(market.message.kind).name
                raise click.ClickException(
                    f"{market_id} is a market of kind {name}: give another --market"
                )
            return market
    tick_size = grid.tick_size or _step(found.price_decimals)
    lot_size = grid.lot_size or _step(found.quantity_decimals)
    scales = _scales(markets)
    base_id, _, quote_id = market_id.partition("-")
    lot_decimals = decimals(lot_size)
    wanted = Market.define(
        market_id,
        base_scale=scales.get(base_id, max(LEDGER_SCALE, lot_decimals)),
        quote_scale=scales.get(quote_id, max(LEDGER_SCALE, decimals(tick_size) + lot_decimals)),
        tick_size=tick_size,
        lot_size=lot_size,
        maker_fee_ppm=fees_ppm[0],
        taker_fee_ppm=fees_ppm[1],
        kind=kind,
    )
    return await operator.admin.create_market(wanted)


def _step(count: int) -> str:
    return format(Decimal(1).scaleb(-count), "f")


def _scales(markets: list[Market]) -> dict[str, int]:
    """Ledger scales of the assets that exist; an asset has one scale in all markets."""
    assets = [
        asset
        for market in markets
        for asset in (market.message.base_asset, market.message.quote_asset)
    ]
    return {asset.asset_id: asset.scale for asset in assets}
