"""One subscriber for every feed of a market: ``python -m tests.bench.subscribers PLAN``.

A process of its own on the SDK, as any consumer would be. It prints "ready" once every stream has
been opened, reads until SIGTERM, and prints the items it got by feed as JSON.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import trio

from dexsdk import Client, Interval

INTERVALS: Final = {
    "klines_1s": Interval.S1,
    "klines_1m": Interval.M1,
    "klines_5m": Interval.M5,
    "klines_1h": Interval.H1,
    "klines_1d": Interval.D1,
}
FEEDS: Final = ("book", "trades", *INTERVALS)


async def follow(
    name: str, opened: AbstractAsyncContextManager[AsyncIterator[Any]], counts: dict[str, int]
) -> None:
    """Count what a feed brings."""
    async with opened as items:
        async for _ in items:
            counts[name] += 1


async def run(address: str, network_id: str, market_id: str) -> None:
    """Subscribe, count, report."""
    counts = dict.fromkeys(FEEDS, 0)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with Client(address, network_id=network_id) as client, trio.open_nursery() as nursery:
            nursery.start_soon(follow, "book", client.stream_book(market_id), counts)
            nursery.start_soon(follow, "trades", client.stream_trades(market_id), counts)
            for name, interval in INTERVALS.items():
                opened = client.stream_klines(market_id, interval)
                nursery.start_soon(follow, name, opened, counts)
            async for _ in signals:
                nursery.cancel_scope.cancel()
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    trio.run(run, sys.argv[1], sys.argv[2], sys.argv[3])
