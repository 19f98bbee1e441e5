"""Readers that remember what a node showed them, and ask for it again after it was killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import grpc

from dex.accounts.v1 import accounts_pb2, accounts_pb2_grpc
from dex.kline.v1 import kline_query_pb2 as kline_pb
from dex.kline.v1 import kline_query_pb2_grpc
from dex.matching.v1 import matching_pb2, matching_pb2_grpc
from tests.support.killed_traders import CALL_SECONDS, Trader, check_books
from tests.support.markets import MARKET_ID
from tests.support.node_process import NodeProcess
from tests.support.wire import token

PAUSE_SECONDS: Final = 0.01
_OWN: Final = [("grpc.use_local_subchannel_pool", 1)]


class Witness:
    """One reader of every feed, and of one account."""

    def __init__(self, trader: Trader) -> None:
        self._trader = trader
        self.trades: dict[int, matching_pb2.Trade] = {}
        self.book = matching_pb2.Book()
        self._levels: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.klines: dict[int, kline_pb.Kline] = {}
        self.account = accounts_pb2.Account()
        self.seen = 0

    # --- while the node lives

    def watch(self, node: NodeProcess, stop: threading.Event) -> None:
        """Read everything until told to stop or the node is gone."""
        with grpc.insecure_channel(node.grpc_address, _OWN) as channel:
            threads = [
                threading.Thread(target=_until_gone, args=(read, channel, node, stop))
                for read in (
                    self._read_trades,
                    self._read_book,
                    self._read_klines,
                    self._read_account,
                )
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _read_trades(self, channel: grpc.Channel, _node: NodeProcess) -> Iterator[Any]:
        start = max(self.trades, default=0) + 1
        stream = matching_pb2_grpc.MatchingStub(channel).StreamTrades(
            matching_pb2.StreamTradesRequest(market_id=MARKET_ID, start_sequence=start)
        )
        for answer in stream:
            for trade in answer.trades:
                self.trades[trade.trade_sequence] = trade
            yield stream

    def _read_book(self, channel: grpc.Channel, _node: NodeProcess) -> Iterator[Any]:
        stream = matching_pb2_grpc.MatchingStub(channel).StreamBook(
            matching_pb2.StreamBookRequest(market_id=MARKET_ID)
        )
        for answer in stream:
            change = answer.snapshot if answer.HasField("snapshot") else answer.delta
            if answer.HasField("snapshot"):
                self._levels = ({}, {})
            for side, rows in zip(self._levels, (change.bids, change.asks), strict=True):
                for level in rows:
                    side[level.price_ticks] = level.quantity_lots
                    if not level.quantity_lots:
                        del side[level.price_ticks]
            self.book = _book(change.sequence, *self._levels)
            yield stream

    def _read_klines(self, channel: grpc.Channel, _node: NodeProcess) -> Iterator[Any]:
        stream = kline_query_pb2_grpc.KlineQueryStub(channel).StreamKlines(
            kline_pb.StreamKlinesRequest(market_id=MARKET_ID, interval=kline_pb.INTERVAL_1S)
        )
        for answer in stream:
            for kline in answer.klines:
                self.klines[kline.open_time.ToNanoseconds()] = kline
            yield stream

    def _read_account(self, channel: grpc.Channel, node: NodeProcess) -> Iterator[Any]:
        stub = accounts_pb2_grpc.AccountsStub(channel)
        while True:
            self.account = stub.GetAccount(
                accounts_pb2.GetAccountRequest(account_id=self._trader.account_id),
                metadata=token(self._trader.key, node.network_id),
                timeout=CALL_SECONDS,
            ).account
            threading.Event().wait(PAUSE_SECONDS)
            yield None

    # --- after the restart, before anybody sends anything

    def check(self, channel: grpc.Channel, node: NodeProcess) -> None:
        """Nothing that was seen is denied."""
        trades = {trade.trade_sequence: trade for trade in list_trades(channel)}
        for number, trade in self.trades.items():
            assert trades.get(number) == trade, f"trade {number} was seen and is denied"
        book = get_book(channel)
        assert book.sequence >= self.book.sequence, "the book is older than it was seen"
        if book.sequence == self.book.sequence:
            sides = [
                {row.price_ticks: row.quantity_lots for row in side}
                for side in (book.bids, book.asks)
            ]
            assert _book(book.sequence, *sides) == self.book, "the same book, and other levels"
        klines = {kline.open_time.ToNanoseconds(): kline for kline in list_klines(channel)}
        for open_ns, seen in self.klines.items():
            found = klines.get(open_ns)
            assert found is not None, "a K-line was seen and is denied"
            order = (found.version, found.sequence), (seen.version, seen.sequence)
            assert order[0] >= order[1], "a K-line is older than it was seen"
            assert order[0] != order[1] or found == seen, "the same K-line says something else"
        account = get_account(channel, node, self._trader)
        assert account.sequence >= self.account.sequence, "the account is older than it was seen"
        if account.sequence == self.account.sequence:
            assert account == self.account, "the same account with other balances"
        self.seen += len(self.trades) + len(self.klines)
        self.trades = {number: trades[number] for number in list(self.trades)[-200:]}


def _until_gone(
    read: Callable[[grpc.Channel, NodeProcess], Iterator[Any]],
    channel: grpc.Channel,
    node: NodeProcess,
    stop: threading.Event,
) -> None:
    try:
        for stream in read(channel, node):
            if stop.is_set():
                if stream is not None:
                    stream.cancel()
                return
    except grpc.RpcError:
        return


def _book(sequence: int, bids: dict[int, int], asks: dict[int, int]) -> matching_pb2.Book:
    book = matching_pb2.Book(sequence=sequence)
    for rows, levels in ((book.bids, bids), (book.asks, asks)):
        for price_ticks, quantity_lots in sorted(levels.items()):
            rows.add(price_ticks=price_ticks, quantity_lots=quantity_lots)
    return book


def list_trades(channel: grpc.Channel) -> list[matching_pb2.Trade]:
    """Every trade of the market, page by page."""
    stub = matching_pb2_grpc.MatchingStub(channel)
    request = matching_pb2.ListTradesRequest(market_id=MARKET_ID, page_size=10_000)
    trades: list[matching_pb2.Trade] = []
    while True:
        answer = stub.ListTrades(request, timeout=CALL_SECONDS)
        trades += answer.trades
        if not answer.next_page_token:
            return trades
        request.page_token = answer.next_page_token


def list_klines(channel: grpc.Channel) -> list[kline_pb.Kline]:
    """The newest seconds' K-lines; all of a life of minutes."""
    stub = kline_query_pb2_grpc.KlineQueryStub(channel)
    request = kline_pb.ListKlinesRequest(
        market_id=MARKET_ID, interval=kline_pb.INTERVAL_1S, page_size=10_000
    )
    answer = stub.ListKlines(request, timeout=CALL_SECONDS)
    return list(answer.klines)


def get_book(channel: grpc.Channel) -> matching_pb2.Book:
    """The whole book."""
    request = matching_pb2.GetBookRequest(market_id=MARKET_ID, depth=1_000)
    book: matching_pb2.Book = (
        matching_pb2_grpc.MatchingStub(channel).GetBook(request, timeout=CALL_SECONDS).book
    )
    return book


def get_account(channel: grpc.Channel, node: NodeProcess, trader: Trader) -> accounts_pb2.Account:
    """A trader's account."""
    answer = accounts_pb2_grpc.AccountsStub(channel).GetAccount(
        accounts_pb2.GetAccountRequest(account_id=trader.account_id),
        metadata=token(trader.key, node.network_id),
        timeout=CALL_SECONDS,
    )
    account: accounts_pb2.Account = answer.account
    return account


def check_node(node: NodeProcess, traders: Sequence[Trader]) -> None:
    """What the node shows is what all answers together say."""
    with grpc.insecure_channel(node.grpc_address, _OWN) as channel:
        accounts = {t.account_id: get_account(channel, node, t) for t in traders}
        check_books(traders, list_trades(channel), accounts, get_book(channel))
