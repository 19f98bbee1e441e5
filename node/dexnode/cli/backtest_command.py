"""``dex backtest``: recorded streams through the matching engine."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import click

from dexnode.backtest.files import FORMATS
from dexnode.backtest.model import DECIMALS, UNIT, Grid
from dexnode.backtest.runner import Wanted, run_backtest
from dexnode.backtest.summary import print_summary
from dexnode.cli.common import DECIMAL, json_option, print_json


@click.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    help="What FILE is.  [default: by what it begins with]",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write fills, closes and the top of the book to, as Parquet.",
)
@click.option(
    "--tick-size",
    type=DECIMAL,
    default="0.000000001",
    show_default=True,
    help="Prices off it are refused.",
)
@click.option(
    "--lot-size",
    type=DECIMAL,
    default="0.000000001",
    show_default=True,
    help="Sizes off it are refused.",
)
@click.option(
    "--protection",
    type=DECIMAL,
    default="0",
    help="Price band of market orders and stops; stops need one.  [default: none]",
)
@json_option
def backtest(
    files: tuple[Path, ...],
    format_name: str | None,
    output: Path | None,
    tick_size: Decimal,
    lot_size: Decimal,
    protection: Decimal,
    as_json: bool,
) -> None:
    """Run recorded streams through the matching engine, as fast as it goes.

    It is the engine of the node itself, without a ledger: who trades can always pay, and there
    are no fees. No node has to run. Several FILEs are one stream, in the order given.

    \b
    FILE is one of, plain or packed by gzip or Zstandard:
      orders     CSV, a row per command; the header names the columns
                 time_ns,account,action,order_id,side,price,quantity
                 1,7,place,1,buy,99.5,2
                 2,8,place,1,sell,99.5,1
                 3,7,amend,1,,99.4,2
                 4,7,cancel,1,,,
      databento  market by order (MBO): .dbn, .dbn.zst, or CSV
      binance    a line per message: local time in ns, a blank, the message of
                 <symbol>@depth or <symbol>@trade; levels become orders
      journal    a folder, <data_dir>/journal of a node, with its ledger and fees

    \b
    Examples:
      dex backtest orders.csv
      dex backtest glbx-mdp3-20240617.mbo.dbn.zst --output results
      dex backtest build/demo/journal --json

    What a format means as commands, and what it cannot say, is in docs/reference/backtest.md.
    """
    wanted = Wanted(
        files,
        format_name or "",
        output,
        Grid(
            _units("--tick-size", tick_size, 1),
            _units("--lot-size", lot_size, 1),
            _units("--protection", protection, 0),
        ),
        shows_progress=not as_json,
    )
    report = run_backtest(wanted)
    if as_json:
        print_json(report)
    else:
        print_summary(report)


def _units(option: str, size: Decimal, least: int) -> int:
    units = size * UNIT
    if units != int(units) or units < least:
        above = "above zero with" if least else "a number of"
        raise click.UsageError(f"{option} {size:f} is not {above} at most {DECIMALS} decimals")
    return int(units)
