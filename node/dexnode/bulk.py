"""What Arrow Flight reads: the shard's views, handed from the Trio thread to Flight's threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, final

import trio

from dexcore.market import Market
from dexflight.calls import Headers
from dexflight.source import MarketInfo, UnknownMarketError
from dexkline import Interval, KlineColumns, TradeBlock
from dexnode import render
from dexnode.authz import Authorizer
from dexnode.ids import IdFormat
from dexruntime.shard import Shard
from dexruntime.views import MarketView

Result = TypeVar("Result")


@final
class ShardFlightSource:
    """A FlightSource over a running shard; made on the Trio thread, used from others."""

    def __init__(self, shard: Shard, ids: IdFormat) -> None:
        self._shard = shard
        self._ids = ids
        self._token = trio.lowlevel.current_trio_token()

    def markets(self) -> Sequence[MarketInfo]:
        """All markets, ascending by id."""

        def read() -> list[MarketInfo]:
            exchange, views = self._shard.exchange, self._shard.views
            durable = exchange.markets[: len(views.markets)]
            return sorted(self._info(market) for market in durable)

        return self._on_trio(read)

    def klines(
        self, market_id: str, interval: Interval, start_ns: int, end_ns: int
    ) -> tuple[MarketInfo, KlineColumns]:
        """K-lines that open in [start_ns, end_ns)."""

        def read() -> tuple[MarketInfo, KlineColumns]:
            market, view = self._find(market_id)
            return self._info(market), view.klines.columns(interval, start_ns, end_ns)

        return self._on_trio(read)

    def trades(
        self, market_id: str, start_sequence: int, end_sequence: int
    ) -> tuple[MarketInfo, tuple[TradeBlock, ...]]:
        """Trades with trade_sequence in [start_sequence, end_sequence)."""

        def read() -> tuple[MarketInfo, tuple[TradeBlock, ...]]:
            market, view = self._find(market_id)
            return self._info(market), view.trades.slice(start_sequence, end_sequence)

        return self._on_trio(read)

    def check_token(self, authorizer: Authorizer, headers: Headers) -> None:
        """Refuse a caller who shows no access token of a key or an operator that counts now.

        Raises:
            PermissionError: it does not.
        """
        values = [str(value) for value in headers.get("authorization", ())]
        self._on_trio(lambda: authorizer.check_reader(values))

    def _on_trio(self, read: Callable[[], Result]) -> Result:
        return trio.from_thread.run_sync(read, trio_token=self._token)

    def _find(self, market_id: str) -> tuple[Market, MarketView]:
        market = self._shard.exchange.markets_by_id.get(market_id)
        views = self._shard.views.markets
        if market is None or market.index >= len(views):
            raise UnknownMarketError(market_id)
        return market, views[market.index]

    def _info(self, market: Market) -> MarketInfo:
        spec = market.spec
        shown = render.market(market)
        return MarketInfo(
            spec.market_id,
            spec.base_asset_id,
            spec.base_scale,
            spec.quote_asset_id,
            spec.quote_scale,
            spec.base_atoms_per_lot,
            spec.quote_atoms_per_tick_lot,
            shown.tick_size,
            shown.lot_size,
            self._ids.prefix,
            self._ids.prefixes,
        )
