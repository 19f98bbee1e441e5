"""``dex top``: one market live, full screen."""

from __future__ import annotations

from typing import Final

import click
import trio

from dexnode.cli.common import Target, console, print_json, target_options
from dexnode.cli.trio_main import run_trio
from dexnode.top.screen import Screen
from dexnode.top.watcher import Watcher, show_lines, show_screen, stream_json, wait_for_state
from dexsdk import Client, Interval, Tls

INTERVALS: Final = {"auto": None, "1s": Interval.S1, "1m": Interval.M1}
CALL_TIMEOUT_SECONDS: Final = 3.0
# A screen waits for its node as long as someone looks at it.
PATIENCE_SECONDS: Final = 7 * 86_400.0
# The demo's bots open the market a moment after the node is ready.
DEMO_MARKET_PATIENCE_SECONDS: Final = 60.0


@click.command()
@click.argument("market_id", default="BTC-USDC.eth")
@click.option(
    "--interval",
    type=click.Choice(list(INTERVALS)),
    default="auto",
    show_default=True,
    help="Candles to draw. auto: seconds until there are minutes enough.",
)
@target_options
def top(target: Target, market_id: str, interval: str) -> None:
    """Watch a market live: book, trades, candles. Ctrl-C ends it.

    With --json a line per item of the feeds instead; when the output is no terminal,
    a plain line every two seconds.

    \b
      dex top                            the demo's bitcoin market
      dex top ETH-USDC.eth --interval 1s
      dex top --json | jq .trade
    """
    _run(
        target.address,
        target.network_id,
        market_id,
        tls=target.tls,
        interval=INTERVALS[interval],
        as_json=target.as_json,
    )


def watch_market(
    address: str,
    network_id: str,
    market_id: str,
    *,
    addresses: dict[str, str] | None = None,
    note: str = "",
) -> None:
    """The screen of `dex top` until Ctrl-C; waits for a market that is about to be opened.

    `addresses` are shown by name beside the numbers, `note` beside the market's name.
    """
    _run(
        address,
        network_id,
        market_id,
        addresses=addresses,
        note=note,
        patience_seconds=DEMO_MARKET_PATIENCE_SECONDS,
    )


def _run(
    address: str,
    network_id: str,
    market_id: str,
    *,
    tls: Tls | None = None,
    interval: Interval | None = None,
    addresses: dict[str, str] | None = None,
    note: str = "",
    as_json: bool = False,
    patience_seconds: float = 0.0,
) -> None:
    async def main() -> None:
        client = Client(
            address,
            network_id=network_id,
            tls=tls,
            timeout_seconds=CALL_TIMEOUT_SECONDS,
            reconnect_timeout_seconds=PATIENCE_SECONDS,
        )
        async with client:
            state = await wait_for_state(client, market_id, patience_seconds)
            if as_json:
                await stream_json(client, market_id, interval or Interval.M1, print_json)
            screen = Screen(state, interval, addresses or {"gRPC": address}, note)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Watcher(client, state).run)
                if console.is_terminal:
                    nursery.start_soon(show_screen, state, screen, console)
                else:
                    nursery.start_soon(show_lines, state, click.echo)

    try:
        run_trio(main)
    except (KeyboardInterrupt, BrokenPipeError):
        # Ctrl-C is the way to leave a screen, a closed pipe the end of a listing.
        pass
