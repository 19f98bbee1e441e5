"""A market of 50,000 trades behind a FlightSource, and what clients do with a service."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from google.rpc import error_details_pb2, status_pb2
from pyarrow import flight

from dex.flight.v1 import flight_pb2
from dex.kline.v1.kline_query_pb2 import INTERVAL_1S
from dexflight import (
    FlightService,
    MarketInfo,
    UnknownMarketError,
)
from dexkline import Interval, KlineBook, KlineColumns, TradeBlock, TradeColumns

SECOND = 10**9
START_NS = 1_722_816_000 * SECOND
ROWS = 50_000
KEY = bytes(range(32))
MARKET = MarketInfo(
    "BTC-USDC.eth", "BTC", 8, "USDC.eth", 6, 1_000, 7, "0.01", "0.00001", "01002a", {0: "01002a"}
)
SOME = flight_pb2.Query(
    klines=flight_pb2.KlineRows(market_id=MARKET.market_id, interval=INTERVAL_1S)
)


class Books:
    """A FlightSource over one market."""

    def __init__(self) -> None:
        self.book = KlineBook(MARKET.quote_atoms_per_tick_lot)
        self.store = TradeColumns()
        trades = [
            (START_NS + index * SECOND, index + 1, 6_000_000 + index % 97, 1 + index % 13)
            for index in range(ROWS)
        ]
        self.book.add_trades(1, trades)
        self.book.close_until(START_NS + ROWS * SECOND - 1, 2)  # all but the last
        self.store.append_many(
            [(*trade, 1 + trade[1] % 2, trade[1] << 12, (trade[1] << 12) + 1) for trade in trades]
        )

    def markets(self) -> Sequence[MarketInfo]:
        return [MARKET]

    def klines(
        self, market_id: str, interval: Interval, start_ns: int, end_ns: int
    ) -> tuple[MarketInfo, KlineColumns]:
        self.known(market_id)
        return MARKET, self.book.columns(interval, start_ns, end_ns)

    def trades(
        self, market_id: str, start_sequence: int, end_sequence: int
    ) -> tuple[MarketInfo, tuple[TradeBlock, ...]]:
        self.known(market_id)
        return MARKET, self.store.slice(start_sequence, end_sequence)

    def known(self, market_id: str) -> None:
        if market_id != MARKET.market_id:
            raise UnknownMarketError(market_id)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = time.time_ns()

    def __call__(self) -> int:
        return self.now_ns


Start = Callable[..., FlightService]


def connect(service: FlightService, **options: Any) -> flight.FlightClient:
    return flight.FlightClient(f"grpc://127.0.0.1:{service.port}", **options)


def ask(client: flight.FlightClient, query: flight_pb2.Query) -> flight.FlightInfo:
    descriptor = flight.FlightDescriptor.for_command(query.SerializeToString())
    return client.get_flight_info(descriptor, flight.FlightCallOptions(timeout=20))


def pull(client: flight.FlightClient, ticket: flight.Ticket) -> pa.Table:
    return client.do_get(ticket, flight.FlightCallOptions(timeout=20)).read_all()


def klines(
    interval: int, start_ns: int | None = None, end_ns: int | None = None
) -> flight_pb2.Query:
    query = flight_pb2.Query()
    query.klines.market_id = MARKET.market_id
    query.klines.interval = interval  # type: ignore[assignment]
    if start_ns is not None:
        query.klines.start_time.FromNanoseconds(start_ns)
    if end_ns is not None:
        query.klines.end_time.FromNanoseconds(end_ns)
    return query


def trades(start_sequence: int = 0, end_sequence: int = 0) -> flight_pb2.Query:
    rows = flight_pb2.TradeRows(
        market_id=MARKET.market_id, start_sequence=start_sequence, end_sequence=end_sequence
    )
    return flight_pb2.Query(trades=rows)


def why(error: flight.FlightError) -> tuple[int, str, str]:
    """(google.rpc code, reason, field) of a refusal."""
    status = status_pb2.Status.FromString(error.extra_info)
    info = error_details_pb2.ErrorInfo()
    assert len(status.details) == 1
    assert status.details[0].Unpack(info)
    assert info.domain == "triodex"
    assert str(error).startswith(status.message)
    assert "Traceback" not in str(error)
    return status.code, info.reason, info.metadata.get("field", "")
