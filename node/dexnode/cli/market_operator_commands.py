"""``dex market``: what operators do to a market: open it, change it, hold an auction, halt it."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import click

from dexnode.cli.common import DECIMAL, Target, print_json, printable, target_options
from dexsdk import Market, MarketKind, MarketStatus, Side, SyncClient

FEE_PPM: Final = click.IntRange(0, 100_000)
SCALE: Final = click.IntRange(0, 18)
STATUSES: Final = [each.name.lower().replace("_", "-") for each in MarketStatus]
PPM_PER_PERCENT: Final = 10_000


@click.command()
@click.argument("market_id")
@click.option("--tick-size", required=True, help="Smallest price step in quote units.")
@click.option("--lot-size", required=True, help="Smallest size step in base units.")
@click.option(
    "--base-scale", type=SCALE, default=8, show_default=True, help="Decimals of the base asset."
)
@click.option(
    "--quote-scale", type=SCALE, default=8, show_default=True, help="Decimals of the quote asset."
)
@click.option("--maker-fee-ppm", type=FEE_PPM, default=0, show_default=True)
@click.option("--taker-fee-ppm", type=FEE_PPM, default=0, show_default=True)
@click.option("--external", is_flag=True, help="Records trades of another venue, takes no orders.")
@target_options
def create(
    target: Target,
    market_id: str,
    tick_size: str,
    lot_size: str,
    base_scale: int,
    quote_scale: int,
    maker_fee_ppm: int,
    taker_fee_ppm: int,
    external: bool,
) -> None:
    """Open a market named BASE-QUOTE (operators only)."""
    wanted = Market.define(
        market_id,
        base_scale=base_scale,
        quote_scale=quote_scale,
        tick_size=tick_size,
        lot_size=lot_size,
        maker_fee_ppm=maker_fee_ppm,
        taker_fee_ppm=taker_fee_ppm,
        kind=MarketKind.EXTERNAL if external else MarketKind.ORDER_BOOK,
    )
    with target.operator() as client:
        _say(target, client.admin.create_market(wanted))


@click.command()
@click.argument("market_id")
@click.argument("status", type=click.Choice(STATUSES))
@target_options
def status(target: Target, market_id: str, status: str) -> None:
    """Open, halt or close a market, or begin an auction (operators only).

    \b
    open             trading goes on
    cancel-only      orders may be cancelled, nothing else
    halted           nothing but reading
    opening-auction  orders are collected; `open` then trades them at one price
    closing-auction  the same; `closed` ends it
    closed           orders may be cancelled; those for the day have ended

    Leaving an auction for open or closed makes its trades first. `dex market
    auction` shows what they would be.
    """
    with target.operator() as client:
        wanted = MarketStatus[status.upper().replace("-", "_")]
        _say(target, client.admin.set_market_status(market_id, wanted))


@click.command()
@click.argument("market_id")
@click.option("--maker-fee-ppm", type=FEE_PPM, required=True)
@click.option("--taker-fee-ppm", type=FEE_PPM, required=True)
@target_options
def fees(target: Target, market_id: str, maker_fee_ppm: int, taker_fee_ppm: int) -> None:
    """Set the fees of orders placed from now on, in parts per million (operators only)."""
    with target.operator() as client:
        changed = client.admin.set_fees(
            market_id, maker_fee_ppm=maker_fee_ppm, taker_fee_ppm=taker_fee_ppm
        )
        _say(target, changed)


@click.command()
@click.argument("market_id")
@click.option(
    "--protection",
    type=DECIMAL,
    help="How far beyond the best price a market order may trade, and beyond its trigger a stop.",
)
@click.option(
    "--price-band", type=DECIMAL, help="How far from the last price a limit may be, in percent."
)
@click.option("--notional-min", type=DECIMAL, help="Least value of an order, in the quote asset.")
@click.option("--notional-max", type=DECIMAL, help="Greatest value of an order.")
@target_options
def limits(
    target: Target,
    market_id: str,
    protection: Decimal | None,
    price_band: Decimal | None,
    notional_min: Decimal | None,
    notional_max: Decimal | None,
) -> None:
    """Show what orders of a market are held against; with options, set it (operators only).

    What is not given stays; 0 is no limit. Orders that are open already stay as
    they are.

    \b
    Example:
      dex market limits BTC-USDC.eth --protection 250 --price-band 10 --notional-min 5
    """
    given = (protection, price_band, notional_min, notional_max)
    if all(each is None for each in given):
        with target.client(signed=False) as client:
            _say_limits(target, client.get_market(market_id))
        return
    with target.operator() as client:
        _say_limits(target, _set_limits(client, market_id, *given))


def _set_limits(
    client: SyncClient,
    market_id: str,
    protection: Decimal | None,
    price_band: Decimal | None,
    notional_min: Decimal | None,
    notional_max: Decimal | None,
) -> Market:
    market = client.get_market(market_id)
    now = market.message

    def atoms(value: Decimal | None, kept: int) -> int:
        return kept if value is None else market.amount_atoms(market.quote_asset_id, value)

    return client.admin.set_market_limits(
        market_id,
        protection_ticks=(
            now.protection_ticks if protection is None else market.price_ticks(protection)
        ),
        price_band_ppm=now.price_band_ppm if price_band is None else _ppm(price_band),
        notional_min_atoms=atoms(notional_min, now.notional_min_atoms),
        notional_max_atoms=atoms(notional_max, now.notional_max_atoms),
    )


def _ppm(percent: Decimal) -> int:
    ppm = percent * PPM_PER_PERCENT
    if ppm != int(ppm):
        raise click.BadParameter(f"{percent} has more than 4 decimals", param_hint="--price-band")
    return int(ppm)


def _say_limits(target: Target, market: Market) -> None:
    found = market.message
    if target.as_json:
        print_json(found)
        return
    quote = printable(market.quote_asset_id)

    def amount(atoms: int) -> str:
        return f"{market.format_amount(market.quote_asset_id, atoms)} {quote}" if atoms else "none"

    band = Decimal(found.price_band_ppm) / PPM_PER_PERCENT
    protection = market.format_price(found.protection_ticks)
    click.echo(
        f"protection   {protection if found.protection_ticks else 'none'}\n"
        f"price band   {f'{band.normalize():f} %' if band else 'none'}\n"
        f"notional     at least {amount(found.notional_min_atoms)}, "
        f"at most {amount(found.notional_max_atoms)}"
    )


@click.command("cancel-orders")
@click.option("--account", "account_id", default="", help="Only orders of this account.")
@click.option("--market", "market_id", default="", help="Only in this market.")
@click.option("--side", type=click.Choice(["buy", "sell"]), help="Only orders of this side.")
@click.option("--all", "of_all", is_flag=True, help="Of all accounts in all markets.")
@target_options
def cancel_orders(
    target: Target, account_id: str, market_id: str, side: str | None, of_all: bool
) -> None:
    """Cancel open orders of others, in halted markets too (operators only).

    \b
    Examples:
      dex market cancel-orders --account 0000010000000000001000
      dex market cancel-orders --market BTC-USDC.eth --side sell
    """
    if of_all == bool(account_id or market_id):
        raise click.UsageError("give --account or --market, or else --all")
    with target.operator() as client:
        cancelled_count = client.admin.cancel_orders(
            account_id=account_id,
            market=market_id,
            side=None if side is None else Side[side.upper()],
            everything=of_all,
        )
    if target.as_json:
        print_json({"cancelled_count": cancelled_count})
    else:
        click.echo(f"{cancelled_count} orders cancelled")


def _say(target: Target, changed: Market) -> None:
    if target.as_json:
        print_json(changed.message)
    else:
        click.echo(
            f"{printable(changed.market_id)} is {changed.status.name.lower().replace('_', ' ')}"
        )
