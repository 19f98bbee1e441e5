"""Replays a journal of commands and prints its hashes, under any Python.

A program of its own, so that other interpreters can run it with nothing but the core and
sortedcontainers on their path; with numpy there the K-lines of its trades are compared too. The
journal is JSON: `commands` is rows of time_ns and the command's canonical bytes in hex.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dexcore.checkpoint import decode_state, encode_state, state_hash
from dexcore.commands import decode_command
from dexcore.events import ExternalTrade, MarketCreated, Ticked, Trade
from dexcore.exchange import Exchange
from dexcore.results import Outcome

Row = tuple[int, str]
EVERY = 250


class Klines:
    """The K-lines of all markets, or nothing where numpy is not."""

    def __init__(self, group: int) -> None:
        self.group = group
        self.books: dict[int, Any] = {}
        try:
            from dexkline import KlineBook
        except ImportError:
            self.kind: Any = None
        else:
            self.kind = KlineBook

    def consume(self, sequence: int, outcome: Outcome, exchange: Exchange) -> None:
        """Take a command's trades in, at most `group` a call, and the passing of time."""
        if self.kind is None:
            return
        trades: dict[int, list[tuple[int, int, int, int]]] = {}
        for event in outcome.events:
            if isinstance(event, MarketCreated):
                spec = exchange.markets[event.market_index].spec
                self.books[event.market_index] = self.kind(spec.quote_atoms_per_tick_lot)
            elif isinstance(event, Trade | ExternalTrade):
                time_ns = event.time_ns if isinstance(event, ExternalTrade) else outcome.time_ns
                row = (time_ns, event.trade_sequence, event.price_ticks, event.quantity_lots)
                trades.setdefault(event.market_index, []).append(row)
            elif isinstance(event, Ticked):
                for book in self.books.values():
                    book.close_until(outcome.time_ns, sequence)
        for index, rows in trades.items():
            for start in range(0, len(rows), self.group):
                self.books[index].add_trades(sequence, rows[start : start + self.group])

    def restart(self) -> None:
        """Go on from checkpoints."""
        for index, book in self.books.items():
            self.books[index] = self.kind.restore(book.checkpoint())

    def digest(self) -> str:
        """A hash of all checkpoints; empty where numpy is not."""
        if self.kind is None:
            return ""
        parts = b"".join(book.checkpoint() for _, book in sorted(self.books.items()))
        return blake2b(parts, digest_size=16).hexdigest()


class Hashes(NamedTuple):
    """What is compared at a sequence."""

    sequence: int
    event_hash: str
    state_hash: str
    klines: str


def replay(rows: Sequence[Row], group: int = 1, restarts: Sequence[int] = ()) -> list[Hashes]:
    """Hashes every EVERY commands and at the end.

    Args:
        rows: time_ns and canonical bytes in hex.
        group: commands decoded before the first of them is applied, and trades in one call.
        restarts: sequences after which everything goes on from a snapshot.
    """
    exchange, klines = Exchange(), Klines(group)
    found: list[Hashes] = []
    for sequence, time_ns, command in _decoded(rows, group):
        outcome = exchange.apply(sequence, time_ns, command)
        klines.consume(sequence, outcome, exchange)
        if sequence in restarts:
            exchange = decode_state(encode_state(exchange))
            klines.restart()
        if sequence % EVERY == 0 or sequence == len(rows):
            state = state_hash(encode_state(exchange))
            found.append(Hashes(sequence, exchange.event_hash.hex(), state, klines.digest()))
    return found


def _decoded(rows: Sequence[Row], group: int) -> Iterator[tuple[int, int, Any]]:
    numbered = iter(enumerate(rows, 1))
    while read := list(islice(numbered, group)):
        yield from [
            (n, time_ns, decode_command(bytes.fromhex(hexed))) for n, (time_ns, hexed) in read
        ]


def main() -> None:
    """Print the hashes as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("journal", type=Path)
    parser.add_argument("--group", type=int, default=1)
    parser.add_argument("--restarts", type=int, nargs="*", default=[])
    options = parser.parse_args()
    rows = json.loads(options.journal.read_text())["commands"]
    print(json.dumps(replay(rows, options.group, options.restarts)))


if __name__ == "__main__":
    main()
