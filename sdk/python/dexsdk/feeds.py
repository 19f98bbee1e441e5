"""Streams that survive a broken connection: book, trades and K-lines, as effects.

A feed remembers the last sequence it handed out. When the connection breaks it waits, asks again
from there and goes on; when the node no longer holds that sequence (SEQUENCE_GONE) the feed catches
up by what the contract offers for it: a new snapshot, or the past from a list call. Nothing is
handed out twice and nothing is left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar, cast

from google.protobuf.message import Message

from dex.kline.v1 import kline_query_pb2 as kline
from dex.matching.v1 import matching_pb2 as matching
from dex.pools.v1 import pools_pb2 as pools
from dexsdk import methods
from dexsdk.effects import Backoff, Emit, Feed, Open, Read, decode
from dexsdk.errors import CallerError, DexError, Unavailable
from dexsdk.market_operations import list_klines, list_trades
from dexsdk.methods import Method
from dexsdk.session import Session
from dexsdk.times import time_ns_of
from dexsdk.types import Interval

_Message = TypeVar("_Message", bound=Message)
_Item = TypeVar("_Item")

_CATCH_UP_TRADES = 10_000


class _Cursor(ABC, Generic[_Message, _Item]):
    """Where a feed stands: how to ask for more, and what to make of an answer."""

    method: Method[Any, _Message]

    @abstractmethod
    def request(self) -> Message:
        """Asks for what follows the last item."""

    @abstractmethod
    def accept(self, message: _Message) -> Feed[_Item]:
        """Hands out the new items of a message; raises Unavailable to start again."""

    @abstractmethod
    def catch_up(self, error: DexError) -> Feed[_Item]:
        """Makes up for what the node no longer streams, or raises `error`."""


def stream_book(
    session: Session, market: str, after_sequence: int = 0
) -> Feed[matching.StreamBookResponse]:
    """A snapshot, then every change of a book, each with the next sequence (see LocalBook).

    A later snapshot means: forget what you hold. With `after_sequence` the changes after it come
    without a snapshot, as long as the node still has them.
    """
    return _follow(session, _BookCursor(market, after_sequence))


def stream_trades(session: Session, market: str, start_sequence: int = 0) -> Feed[matching.Trade]:
    """Every trade from `start_sequence` on, each once and in order; zero starts now."""
    return _follow(session, _TradeCursor(session, market, start_sequence))


def stream_pool(session: Session, market: str) -> Feed[pools.Pool]:
    """A market's pool as it is, then as it is after changes; those in between may be left out."""
    return _follow(session, _PoolCursor(market))


def stream_klines(
    session: Session, market: str, interval: Interval, after_sequence: int = 0
) -> Feed[kline.Kline]:
    """Every change of a market's K-lines; zero starts with the current one.

    A K-line replaces an earlier one of the same open time. Once one has come, none is left out,
    over any lost connection; a connection lost before that begins anew.
    """
    return _follow(session, _KlineCursor(session, market, interval, after_sequence))


def _follow(session: Session, cursor: _Cursor[_Message, _Item]) -> Feed[_Item]:
    outage: Backoff | None = None
    while True:
        try:
            yield Open(cursor.method.path, (cursor.request().SerializeToString(),), ())
            while True:
                data = yield Read()
                if data is None:
                    raise Unavailable("UNAVAILABLE", "the node ended the stream")
                message = decode(cursor.method, data)
                outage = None
                yield from cursor.accept(message)
        except Unavailable as error:
            outage = outage or Backoff(session, session.now_ns() + session.reconnect_timeout_ns)
            yield outage.after(error)
        except CallerError as error:
            if error.reason != "SEQUENCE_GONE":
                raise
            yield from cursor.catch_up(error)


class _BookCursor(_Cursor[matching.StreamBookResponse, matching.StreamBookResponse]):
    method = methods.STREAM_BOOK

    def __init__(self, market: str, after_sequence: int) -> None:
        self._market = market
        self._sequence = after_sequence

    def request(self) -> matching.StreamBookRequest:
        return matching.StreamBookRequest(market_id=self._market, after_sequence=self._sequence)

    def accept(self, message: matching.StreamBookResponse) -> Feed[matching.StreamBookResponse]:
        if message.HasField("snapshot"):
            self._sequence = message.snapshot.sequence
            yield Emit(message)
        elif message.delta.sequence == self._sequence + 1:
            self._sequence += 1
            yield Emit(message)
        elif message.delta.sequence > self._sequence:
            problem = f"the book feed left out what follows {self._sequence}"
            self._sequence = 0
            raise Unavailable("SEQUENCE_GONE", problem)

    def catch_up(self, error: DexError) -> Feed[matching.StreamBookResponse]:
        if not self._sequence:
            raise error
        self._sequence = 0
        yield from ()


class _TradeCursor(_Cursor[matching.StreamTradesResponse, matching.Trade]):
    method = methods.STREAM_TRADES

    def __init__(self, session: Session, market: str, start_sequence: int) -> None:
        self._session = session
        self._market = market
        self._next = start_sequence

    def request(self) -> matching.StreamTradesRequest:
        return matching.StreamTradesRequest(market_id=self._market, start_sequence=self._next)

    def accept(self, message: matching.StreamTradesResponse) -> Feed[matching.Trade]:
        for trade in message.trades:
            if self._next and trade.trade_sequence > self._next:
                problem = f"the trade feed left out {self._next}"
                yield from self.catch_up(Unavailable("SEQUENCE_GONE", problem))
            if not self._next or trade.trade_sequence == self._next:
                self._next = trade.trade_sequence + 1
                yield Emit(trade)

    def catch_up(self, error: DexError) -> Feed[matching.Trade]:
        if not self._next:
            raise error
        past = yield from list_trades(
            self._session, self._market, start_sequence=self._next, limit=_CATCH_UP_TRADES
        )
        if not past or past[0].trade_sequence != self._next:
            raise error
        for trade in past:
            self._next = trade.trade_sequence + 1
            yield Emit(trade)


class _PoolCursor(_Cursor[pools.StreamPoolResponse, pools.Pool]):
    method = methods.STREAM_POOL

    def __init__(self, market: str) -> None:
        self._market = market
        self._sequence = 0

    def request(self) -> pools.StreamPoolRequest:
        return pools.StreamPoolRequest(market_id=self._market)

    def accept(self, message: pools.StreamPoolResponse) -> Feed[pools.Pool]:
        if message.pool.sequence > self._sequence:
            self._sequence = message.pool.sequence
            yield Emit(message.pool)

    def catch_up(self, error: DexError) -> Feed[pools.Pool]:
        yield from ()
        raise error


class _KlineCursor(_Cursor[kline.StreamKlinesResponse, kline.Kline]):
    method = methods.STREAM_KLINES

    def __init__(
        self, session: Session, market: str, interval: Interval, after_sequence: int
    ) -> None:
        self._session = session
        self._market = market
        self._interval = interval
        self._sequence = after_sequence
        self._last_open_ns: int | None = None
        self._behind = False
        self._listed: dict[int, tuple[int, int]] = {}

    def request(self) -> kline.StreamKlinesRequest:
        return kline.StreamKlinesRequest(
            market_id=self._market,
            interval=cast("kline.Interval.ValueType", self._interval),
            after_sequence=self._sequence,
        )

    def accept(self, message: kline.StreamKlinesResponse) -> Feed[kline.Kline]:
        if self._sequence and message.sequence != self._sequence + 1:
            if message.sequence <= self._sequence:
                return
            self._sequence, self._behind = 0, True
            raise Unavailable("SEQUENCE_GONE", "the K-line feed left a sequence out")
        if self._behind:
            # Listed after the stream was open, so that no change falls between the two.
            yield from self._list()
        self._sequence = message.sequence
        for each in message.klines:
            open_ns = time_ns_of(each.open_time)
            if (each.version, each.sequence) > self._listed.get(open_ns, (-1, -1)):
                self._last_open_ns = max(open_ns, self._last_open_ns or 0)
                yield Emit(each)

    def catch_up(self, error: DexError) -> Feed[kline.Kline]:
        if not self._sequence:
            raise error
        self._sequence, self._behind = 0, True
        yield from ()

    def _list(self) -> Feed[kline.Kline]:
        if self._last_open_ns is not None:
            past = yield from list_klines(
                self._session, self._market, self._interval, self._last_open_ns
            )
            self._listed = {
                time_ns_of(each.open_time): (each.version, each.sequence) for each in past
            }
            for each in past:
                self._last_open_ns = time_ns_of(each.open_time)
                yield Emit(each)
        self._behind = False
