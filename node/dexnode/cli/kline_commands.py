"""``dex kline``: K-lines of a market."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import click

from dexnode.cli.common import Target, print_json, print_table, target_options
from dexsdk import Interval

INTERVALS = {"1s": Interval.S1, "1m": Interval.M1, "5m": Interval.M5, "1h": Interval.H1}
INTERVALS["1d"] = Interval.D1


@click.group()
def kline() -> None:
    """K-lines (candles) of a market."""


@kline.command()
@click.argument("market_id")
@click.argument("interval", type=click.Choice(list(INTERVALS)))
@click.option("--start", type=click.DateTime(), help="First open time, UTC.")
@click.option("--end", type=click.DateTime(), help="Open times before this, UTC.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most this many."
)
@click.option("--flight", is_flag=True, help="Pull over Arrow Flight instead of gRPC.")
@target_options
def get(
    target: Target,
    market_id: str,
    interval: str,
    start: datetime | None,
    end: datetime | None,
    limit: int,
    flight: bool,
) -> None:
    """K-lines of MARKET_ID, oldest first. INTERVAL is 1s, 1m, 5m, 1h or 1d.

    \b
    Example:
      dex kline get BTC-USDC.eth 1m --limit 5
    """
    wanted = INTERVALS[interval]
    start = start and start.replace(tzinfo=UTC)
    end = end and end.replace(tzinfo=UTC)
    with target.client(signed=False) as client:
        market = client.get_market(market_id)
        if flight:
            table = client.pull_klines(market_id, wanted, start, end).slice(0, limit)
            rows = table.to_pylist()
            if target.as_json:
                print_json([{name: str(value) for name, value in row.items()} for row in rows])
            else:
                print_table(table.column_names, [list(row.values()) for row in rows])
            return
        rows = client.list_klines(market_id, wanted, start, end, limit=limit)
    if target.as_json:
        print_json(rows)
        return
    print_table(
        ("open time", "open", "high", "low", "close", "volume", "turnover", "trades", "version"),
        [
            (
                row.open_time.ToJsonString(),
                market.format_price(row.open_ticks),
                market.format_price(row.high_ticks),
                market.format_price(row.low_ticks),
                market.format_price(row.close_ticks),
                market.format_quantity(row.volume_lots),
                Decimal(row.turnover_atoms).scaleb(-market.message.quote_asset.scale),
                row.trade_count,
                row.version if row.closed else "open",
            )
            for row in rows
        ],
    )
