"""Follows a market's streams on Trio and shows what came, as a screen, lines, or JSON."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import trio
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.live import Live

from dexnode.top import text
from dexnode.top.screen import Screen
from dexnode.top.state import DAY_NS, MarketState
from dexsdk import CallerError, Client, DexError, Interval, Unavailable

FRAME_SECONDS: Final = 0.15
HEARTBEAT_SECONDS: Final = 1.0
LINE_SECONDS: Final = 2.0
TRADES_AT_START: Final = 100
SECONDS_AT_START_NS: Final = 300 * 1_000_000_000

Print = Callable[[Any], object]


class Watcher:
    """Keeps the state of one market current over one client until cancelled."""

    def __init__(self, client: Client, state: MarketState) -> None:
        self._client = client
        self._market_id = state.market.market_id
        self.state = state

    async def run(self) -> None:
        """Follow book, trades and candles; a node that is away is waited for."""
        async with trio.open_nursery() as nursery:
            for follow in (self._book, self._trades, self._heartbeat):
                nursery.start_soon(self._keep, follow)
            for interval in (Interval.S1, Interval.M1):
                nursery.start_soon(self._keep, self._klines, interval)

    async def _keep(self, follow: Any, *arguments: object) -> None:
        while True:
            try:
                await follow(*arguments)
            except Unavailable:
                self.state.set_connected(False)
            except CallerError as error:
                if error.reason != "SEQUENCE_GONE":
                    raise
                # Away for longer than the node remembers: start from now.
                self.state.trades.clear()
            await trio.sleep(HEARTBEAT_SECONDS)

    async def _book(self) -> None:
        async with self._client.stream_book(self._market_id) as feed:
            async for item in feed:
                self.state.take_book(item)

    async def _trades(self) -> None:
        start = self.state.trades[-1].trade_sequence + 1 if self.state.trades else 0
        async with self._client.stream_trades(self._market_id, start) as feed:
            async for trade in feed:
                self.state.take_trade(trade)

    async def _klines(self, interval: Interval) -> None:
        async with self._client.stream_klines(self._market_id, interval) as feed:
            # Listed after the stream is asked for, so that nothing falls between the two.
            for line in await self._past(interval):
                self.state.take_kline(interval, line)
            async for line in feed:
                self.state.take_kline(interval, line)

    async def _past(self, interval: Interval) -> list[Any]:
        back_ns = DAY_NS if interval == Interval.M1 else SECONDS_AT_START_NS
        start_ns = time.time_ns() - back_ns
        return await self._client.list_klines(self._market_id, interval, start_ns)

    async def _heartbeat(self) -> None:
        """The streams come back by themselves and say nothing of it; a small call does."""
        while True:
            await self._client.get_book(self._market_id, 1)
            self.state.set_connected(True)
            await trio.sleep(HEARTBEAT_SECONDS)


async def show_screen(state: MarketState, screen: Screen, console: Console) -> None:
    """Draw a frame whenever something changed, a few times a second at most."""
    drawn: tuple[int, int, int] | None = None
    with Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
        while True:
            now_ns = time.time_ns()
            size = console.size
            key = (size.width, size.height, now_ns // 1_000_000_000)
            if state.changed or key != drawn:
                state.changed, drawn = False, key
                live.update(screen.frame(size.width, size.height, now_ns), refresh=True)
            await trio.sleep(FRAME_SECONDS)


async def show_lines(state: MarketState, say: Print) -> None:
    """One plain line now and then, for a log or a pipe."""
    while True:
        await trio.sleep(LINE_SECONDS)
        say(plain_line(state, time.time_ns()))


def plain_line(state: MarketState, time_ns: int) -> str:
    """The market in one line."""
    market, day = state.market, state.day()
    parts = [text.clock(time_ns), market.market_id]
    if not state.connected:
        parts.append("reconnecting")
    for name, quote in (("bid", state.book.best_bid()), ("ask", state.book.best_ask())):
        parts += [name, market.format_price(quote[0]) if quote else "-"]
    if day is not None:
        parts += ["last", market.format_price(day.last_ticks), text.percent(day.change_ppm())]
        parts += ["volume", market.format_quantity(day.volume_lots)]
    return " ".join(parts)


async def stream_json(client: Client, market_id: str, interval: Interval, say: Print) -> None:
    """Every item of the three feeds as it comes: {"book": ...}, {"trade": ...}, {"kline": ...}."""

    async def follow(name: str, feed: Any) -> None:
        async with feed:
            async for item in feed:
                say({name: MessageToDict(item, preserving_proto_field_name=True)})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, "book", client.stream_book(market_id))
        nursery.start_soon(follow, "trade", client.stream_trades(market_id))
        nursery.start_soon(follow, "kline", client.stream_klines(market_id, interval))


async def first_state(client: Client, market_id: str) -> MarketState:
    """The market and its newest trades; raises CallerError when there is no such market."""
    state = MarketState(await client.get_market(market_id))
    newest = await client.list_klines(market_id, Interval.D1)
    if newest:
        start = max(1, newest[-1].last_trade_sequence - TRADES_AT_START)
        for trade in await client.list_trades(market_id, start_sequence=start):
            state.take_trade(trade)
    return state


async def wait_for_state(client: Client, market_id: str, patience_seconds: float) -> MarketState:
    """`first_state`, waiting for a market that is about to be opened."""
    deadline = trio.current_time() + patience_seconds
    while True:
        try:
            return await first_state(client, market_id)
        except DexError as error:
            if error.reason != "UNKNOWN_MARKET" or trio.current_time() > deadline:
                raise
        await trio.sleep(FRAME_SECONDS)
