"""Checks a dex.flight.v1.Query by the rules of the contract."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from dex.errors.v1 import errors_pb2
from dex.flight.v1 import flight_pb2
from dexflight.refusal import bad_query
from dexkline import Interval

INT64_MAX = 2**63 - 1
_INVALID = errors_pb2.ERROR_REASON_FIELD_INVALID


class KlineRange(NamedTuple):
    """K-lines that open in [start_ns, end_ns)."""

    market_id: str
    interval: Interval
    start_ns: int
    end_ns: int


class TradeRange(NamedTuple):
    """Trades with trade_sequence in [start_sequence, end_sequence)."""

    market_id: str
    start_sequence: int
    end_sequence: int


def parse(command: bytes) -> flight_pb2.Query:
    """The query of a descriptor's command. Raises a refusal when the bytes are not one."""
    try:
        return flight_pb2.Query.FromString(command)
    except DecodeError:
        reason = errors_pb2.ERROR_REASON_MALFORMED_MESSAGE
        raise bad_query(reason, "", "the command is not a dex.flight.v1.Query") from None


def check(query: flight_pb2.Query) -> KlineRange | TradeRange:
    """The range a query asks for. Raises a refusal that names the field at fault."""
    kind = query.WhichOneof("rows")
    if kind == "klines":
        klines = query.klines
        market_id = _market_id("klines", klines.market_id)
        try:
            interval = Interval(klines.interval)
        except ValueError:
            why = "must be one of the contract's intervals"
            raise bad_query(_INVALID, "klines.interval", why) from None
        start_ns = _time_ns("klines.start_time", klines.start_time)
        end_ns = INT64_MAX
        if klines.HasField("end_time"):
            end_ns = _time_ns("klines.end_time", klines.end_time)
        return KlineRange(market_id, interval, start_ns, end_ns)
    if kind == "trades":
        trades = query.trades
        market_id = _market_id("trades", trades.market_id)
        if trades.start_sequence < 0:
            raise bad_query(_INVALID, "trades.start_sequence", "must not be negative")
        if trades.end_sequence < 0:
            raise bad_query(_INVALID, "trades.end_sequence", "must not be negative")
        return TradeRange(market_id, trades.start_sequence, trades.end_sequence or INT64_MAX)
    raise bad_query(_INVALID, "rows", "klines or trades is required")


def _market_id(kind: str, market_id: str) -> str:
    if not 3 <= len(market_id) <= 32:
        raise bad_query(_INVALID, f"{kind}.market_id", "must have 3 to 32 characters")
    return market_id


def _time_ns(field: str, time: Timestamp) -> int:
    # The range of google.protobuf.Timestamp: years 1 to 9999.
    if not (-62_135_596_800 <= time.seconds <= 253_402_300_799 and 0 <= time.nanos < 10**9):
        raise bad_query(_INVALID, field, "is not a valid timestamp")
    return time.seconds * 10**9 + time.nanos
