"""Bulk pulls over Arrow Flight (dex.flight.v1.Query); the columns: docs/reference/flight.md."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, cast

from dex.flight.v1 import flight_pb2 as flight
from dex.kline.v1 import kline_query_pb2 as kline
from dexsdk.effects import Backoff, Operation, Pull
from dexsdk.errors import Unavailable
from dexsdk.session import Session
from dexsdk.times import optional_timestamp
from dexsdk.types import Interval

if TYPE_CHECKING:
    import pyarrow as pa


def pull_klines(
    session: Session,
    market: str,
    interval: Interval,
    start: int | datetime | None = None,
    end: int | datetime | None = None,
) -> Operation[pa.Table]:
    """K-lines that open in [start, end) as one Arrow table, ascending by open time."""
    rows = flight.KlineRows(
        market_id=market,
        interval=cast("kline.Interval.ValueType", interval),
        start_time=optional_timestamp(start),
        end_time=optional_timestamp(end),
    )
    return (yield from _pull(session, flight.Query(klines=rows)))


def pull_trades(
    session: Session, market: str, start_sequence: int = 0, end_sequence: int = 0
) -> Operation[pa.Table]:
    """Trades in [start_sequence, end_sequence) as one Arrow table; zero leaves a side open."""
    rows = flight.TradeRows(
        market_id=market, start_sequence=start_sequence, end_sequence=end_sequence
    )
    return (yield from _pull(session, flight.Query(trades=rows)))


def _pull(session: Session, query: flight.Query) -> Operation[pa.Table]:
    backoff = Backoff(session, session.now_ns() + session.timeout_ns)
    while True:
        try:
            return (yield Pull(query, session.authorization()))
        except Unavailable as error:
            yield backoff.after(error)
