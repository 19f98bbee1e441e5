"""The naive twin of the K-line book: keep the whole log, sort, fold, in plain Python.

Slow on purpose and written from the contract's words alone; imports nothing of the product.
"""

from __future__ import annotations

from typing import NamedTuple

SECOND_NS = 1_000_000_000
LENGTHS_NS = {
    "1s": SECOND_NS,
    "1m": 60 * SECOND_NS,
    "5m": 300 * SECOND_NS,
    "1h": 3_600 * SECOND_NS,
    "1d": 86_400 * SECOND_NS,
}


class Candle(NamedTuple):
    """A candle with the fields of dex.kline.v1.Kline, in the contract's order."""

    open_time_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover: int
    trades: int
    first_trade: int
    last_trade: int
    closed: bool
    version: int
    sequence: int


class Trades(NamedTuple):
    """A command at journal position `sequence` that made trades."""

    sequence: int
    trades: list[tuple[int, int, int, int]]  # time_ns, trade_sequence, price, quantity


class Close(NamedTuple):
    """A command at journal position `sequence` that closes what ended by `time_ns`."""

    sequence: int
    time_ns: int


Log = list[Trades | Close]


def candles(log: Log, length_ns: int, quote_atoms_per_tick_lot: int) -> list[Candle]:
    """All candles of windows of `length_ns` after the log, ascending."""
    windows: dict[int, list[tuple[int, int, int, int]]] = {}
    versions: dict[int, int] = {}
    changed_at: dict[int, int] = {}
    for command in log:
        if isinstance(command, Close):
            for start in windows:
                if versions[start] == 0 and start + length_ns <= command.time_ns:
                    versions[start] = 1
                    changed_at[start] = command.sequence
            continue
        for trade in command.trades:
            start = trade[0] // length_ns * length_ns
            if start not in windows:
                windows[start] = []
                versions[start] = 0
            elif versions[start] > 0 and changed_at[start] != command.sequence:
                versions[start] += 1
            changed_at[start] = command.sequence
            windows[start].append(trade)
    result = []
    for start in sorted(windows):
        trades = sorted(windows[start])
        prices = [price for _, _, price, _ in trades]
        result.append(
            Candle(
                start,
                prices[0],
                max(prices),
                min(prices),
                prices[-1],
                sum(quantity for _, _, _, quantity in trades),
                sum(price * quantity for _, _, price, quantity in trades)
                * quote_atoms_per_tick_lot,
                len(trades),
                trades[0][1],
                trades[-1][1],
                versions[start] > 0,
                versions[start],
                changed_at[start],
            )
        )
    return result
