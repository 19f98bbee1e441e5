"""``dex market``: markets, books, recorded streams."""

from __future__ import annotations

from pathlib import Path

import click

from dexnode.cli.common import Target, print_json, print_table, target_options
from dexnode.cli.market_operator_commands import cancel_orders, create, fees, limits, status
from dexnode.cli.trio_main import run_trio
from dexsdk import LocalBook, Market, MarketKind


@click.group()
def market() -> None:
    """List and watch markets; create and rule them; import and replay recorded streams."""


for command in (create, status, limits, fees, cancel_orders):
    market.add_command(command)


@market.command("list")
@target_options
def list_markets(target: Target) -> None:
    """All markets, with their units and fees."""
    with target.client(signed=False) as client:
        markets = client.list_markets()
    if target.as_json:
        print_json([found.message for found in markets])
        return
    print_table(
        ("market", "kind", "status", "tick", "lot", "maker fee", "taker fee"),
        [
            (
                found.market_id,
                MarketKind(found.message.kind).name.lower().replace("_", " "),
                found.status.name.lower().replace("_", " "),
                found.message.tick_size,
                found.message.lot_size,
                f"{found.message.maker_fee_ppm} ppm",
                f"{found.message.taker_fee_ppm} ppm",
            )
            for found in markets
        ],
    )


@market.command()
@click.argument("market_id")
@click.option(
    "--depth", type=click.IntRange(1, 1_000), default=10, show_default=True, help="Levels per side."
)
@target_options
def book(target: Target, market_id: str, depth: int) -> None:
    """The best levels of a book, once."""
    with target.client(signed=False) as client:
        found = client.get_market(market_id)
        levels = client.get_book(market_id, depth)
    if target.as_json:
        print_json(levels)
        return
    for side in (reversed(levels.asks), levels.bids):
        print_table(
            ("price", "quantity"),
            [
                (found.format_price(level.price_ticks), found.format_quantity(level.quantity_lots))
                for level in side
            ],
        )


@market.command()
@click.argument("market_id")
@target_options
def auction(target: Target, market_id: str) -> None:
    """What a market's auction would give if it ended now: one price, and how much trades at it."""
    with target.client(signed=False) as client:
        found = client.get_market(market_id)
        levels = client.get_book(market_id, 1)
    if target.as_json:
        print_json(levels)
    elif not levels.HasField("indicative"):
        click.echo(f"no auction: the market is {found.status.name.lower().replace('_', ' ')}")
    elif not levels.indicative.price_ticks:
        click.echo("nothing would trade")
    else:
        given = levels.indicative
        over = found.format_quantity(abs(given.surplus_lots))
        side = "buy" if given.surplus_lots > 0 else "sell"
        click.echo(
            f"{found.format_quantity(given.quantity_lots)} would trade at "
            f"{found.format_price(given.price_ticks)}"
            + (f", {over} more to {side} there" if given.surplus_lots else "")
        )


@market.command()
@click.argument("market_id")
@target_options
def watch(target: Target, market_id: str) -> None:
    """Follow a book: a line for every change of the best prices, until Ctrl-C.

    For a full screen use dex top.
    """
    with target.client(signed=False) as client:
        found = client.get_market(market_id)
        local = LocalBook()
        shown = None
        with client.stream_book(market_id) as feed:
            for item in feed:
                local.apply(item)
                best = (local.best_bid(), local.best_ask())
                if target.as_json:
                    print_json(item)
                elif best != shown:
                    click.echo("   ".join(_quote(found, quote) for quote in best))
                shown = best


def _quote(found: Market, quote: tuple[int, int] | None) -> str:
    if quote is None:
        return "-"
    return f"{found.format_quantity(quote[1])} @ {found.format_price(quote[0])}"


@market.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--market", "market_id", help="Name of the market.  [default: by the stream]")
@click.option("--tick-size", help="Of a new market.  [default: the recording's decimals]")
@click.option("--lot-size", help="Of a new market.  [default: the recording's decimals]")
@target_options
def import_file(
    target: Target, file: Path, market_id: str | None, tick_size: str | None, lot_size: str | None
) -> None:
    """Record the trades of a Binance spot stream as an external market (operators only).

    FILE holds a line per message, "<local time, ns> <stream message>", plain or
    gzipped. K-lines of the market are then exactly those of the recorded trades.
    Importing a file again records nothing twice.
    """
    from dexnode.recorded.importer import import_stream
    from dexnode.recorded.survey import Grid

    report = run_trio(import_stream, target, file, market_id, Grid(tick_size, lot_size))
    if target.as_json:
        print_json(report._asdict())
    else:
        click.echo(
            f"{report.market_id}: {report.recorded_count} trades recorded, "
            f"{report.skipped_count} known before, {report.first_time} to {report.last_time}"
        )


@market.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--market", "market_id", help="Name of the market.  [default: by the stream]")
@click.option("--tick-size", help="Of a new market.  [default: the recording's decimals]")
@click.option("--lot-size", help="Of a new market.  [default: the recording's decimals]")
@click.option("--speed", default=0.0, help="1: as recorded, 10: ten times faster, 0: flat out.")
@target_options
def replay(
    target: Target,
    file: Path,
    market_id: str | None,
    tick_size: str | None,
    lot_size: str | None,
    speed: float,
) -> None:
    """Drive our own book with a recorded Binance spot stream (operators only).

    Book updates become resting orders of a liquidity account, trades become takers.
    The summary says how far fills differ from the recording and how many orders had
    to be made up where a trade hit liquidity the recording does not show.
    """
    from dexnode.recorded.replayer import replay_stream
    from dexnode.recorded.summary import print_summary
    from dexnode.recorded.survey import Grid

    report = run_trio(replay_stream, target, file, market_id, speed, Grid(tick_size, lot_size))
    if target.as_json:
        print_json(report)
    else:
        print_summary(report)
    if not report["balanced"]:
        raise click.ClickException("the books do not balance")
