"""An order book kept up to date from a `stream_book` feed."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import final

from dex.matching.v1 import matching_pb2 as wire
from dexsdk.errors import PeerError


@final
class LocalBook:
    """Both sides of one market's book. Feed it every item of `stream_book`, in order."""

    __slots__ = ("_asks", "_bids", "indicative", "sequence")

    sequence: int
    """Sequence of the market's book feed this state includes; zero before the first snapshot."""
    indicative: wire.IndicativeUncross | None
    """What the market's auction would give now; None while there is none. The sides of the book may
    cross until it ends."""

    def __init__(self) -> None:
        self.sequence = 0
        self.indicative = None
        # Keys are prices to buy negated, so that both sides are best first ascending.
        self._bids = _Levels(-1)
        self._asks = _Levels(1)

    def apply(self, item: wire.StreamBookResponse) -> None:
        """Takes a snapshot or a delta; PeerError (SEQUENCE_GONE) for a delta out of turn."""
        if item.HasField("snapshot"):
            self._bids.replace(item.snapshot.bids)
            self._asks.replace(item.snapshot.asks)
            self.sequence = item.snapshot.sequence
            self.indicative = _indicative(item.snapshot)
            return
        delta = item.delta
        if delta.sequence != self.sequence + 1:
            problem = f"the book is at {self.sequence} and got {delta.sequence}"
            raise PeerError("SEQUENCE_GONE", problem, field="sequence")
        self._bids.update(delta.bids)
        self._asks.update(delta.asks)
        self.sequence = delta.sequence
        self.indicative = _indicative(delta)

    def best_bid(self) -> tuple[int, int] | None:
        """Highest price to buy as (price_ticks, quantity_lots)."""
        return next(iter(self._bids.best(1)), None)

    def best_ask(self) -> tuple[int, int] | None:
        """Lowest price to sell as (price_ticks, quantity_lots)."""
        return next(iter(self._asks.best(1)), None)

    def bids(self, depth: int | None = None) -> list[tuple[int, int]]:
        """Buy levels as (price_ticks, quantity_lots), highest price first."""
        return self._bids.best(depth)

    def asks(self, depth: int | None = None) -> list[tuple[int, int]]:
        """Sell levels as (price_ticks, quantity_lots), lowest price first."""
        return self._asks.best(depth)


def _indicative(state: wire.Book | wire.BookDelta) -> wire.IndicativeUncross | None:
    return state.indicative if state.HasField("indicative") else None


class _Levels:
    __slots__ = ("_keys", "_quantities", "_sign")

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._keys: list[int] = []
        self._quantities: dict[int, int] = {}

    def replace(self, levels: Iterable[wire.BookLevel]) -> None:
        self._quantities = {self._sign * each.price_ticks: each.quantity_lots for each in levels}
        self._keys = sorted(self._quantities)

    def update(self, levels: Iterable[wire.BookLevel]) -> None:
        for level in levels:
            key = self._sign * level.price_ticks
            if level.quantity_lots:
                if key not in self._quantities:
                    insort(self._keys, key)
                self._quantities[key] = level.quantity_lots
            elif self._quantities.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]

    def best(self, depth: int | None) -> list[tuple[int, int]]:
        return [(self._sign * key, self._quantities[key]) for key in self._keys[:depth]]
