"""The port through which the service reads K-lines and trades. The node fills it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from dexkline import Interval, KlineColumns, TradeBlock


class MarketInfo(NamedTuple):
    """What a reader needs to know of a market to read its columns.

    Assets and scales are those of dex.matching.v1.Market; sizes are decimals for people.
    """

    market_id: str
    base_asset: str
    base_scale: int
    quote_asset: str
    quote_scale: int
    base_atoms_per_lot: int
    quote_atoms_per_tick_lot: int
    tick_size: str
    lot_size: str
    # Shard and epoch, six hex digits: an order id is this and the order key as 16 hex digits.
    order_id_prefix: str
    # The same for each epoch, by its first order key, where there were several.
    order_id_prefixes: Mapping[int, str]


class UnknownMarketError(LookupError):
    """No such market. Raised by a FlightSource."""


class FlightSource(Protocol):
    """Reads durable market data.

    Thread safety: every method is called from Flight's own threads, several at once, never from
    the Trio thread. An implementation reads the books in the Trio thread
    (`trio.from_thread.run_sync(read, trio_token=token)`) and returns what it read there: the
    columns and blocks of dexkline never change afterwards, so the threads may stream them while
    the books go on.
    """

    def markets(self) -> Sequence[MarketInfo]:
        """All markets, ascending by id."""
        ...

    def klines(
        self, market_id: str, interval: Interval, start_ns: int, end_ns: int
    ) -> tuple[MarketInfo, KlineColumns]:
        """K-lines that open in [start_ns, end_ns). Raises UnknownMarketError."""
        ...

    def trades(
        self, market_id: str, start_sequence: int, end_sequence: int
    ) -> tuple[MarketInfo, tuple[TradeBlock, ...]]:
        """Trades with trade_sequence in [start_sequence, end_sequence). Raises
        UnknownMarketError."""
        ...
