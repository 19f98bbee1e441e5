"""Market data over stock clients: feeds equal lists, resume across a restart, pages that hold."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from dex.accounts.v1 import accounts_pb2
from dex.admin.v1 import admin_pb2
from dex.kline.v1 import kline_query_pb2 as kline_pb
from dex.matching.v1 import matching_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import time_ns_of
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until
from tests.support.wire import (
    CALL_SECONDS,
    OperatorWire,
    Signer,
    Wire,
    answer,
    buy,
    dial,
    sell,
    token,
)

MINUTE_NS = 60 * 10**9


class LocalBook:
    """A book kept from the feed alone; checks that the feed has no gap."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[int, int]] = {"bids": {}, "asks": {}}
        self.sequence = 0

    def apply(self, item: pb.StreamBookResponse) -> None:
        """Take one item of the feed."""
        body: Any = getattr(item, item.WhichOneof("item") or "")
        if item.HasField("snapshot"):
            self.sides = {"bids": {}, "asks": {}}
        else:
            assert body.sequence == self.sequence + 1, "the feed has a gap"
        self.sequence = body.sequence
        for name, side in self.sides.items():
            for level in getattr(body, name):
                side[level.price_ticks] = level.quantity_lots
                if not level.quantity_lots:
                    del side[level.price_ticks]

    def matches(self, book: pb.Book) -> bool:
        """Whether it is the same book."""
        return all(
            [(each.price_ticks, each.quantity_lots) for each in getattr(book, name)]
            == sorted(side.items(), reverse=name == "bids")
            for name, side in self.sides.items()
        )


def churn(api: Wire, traders: list[Signer], market: str, chance: random.Random) -> None:
    """A batch of random orders and cancels, some of which trade."""
    items: list[Any] = []
    for _ in range(chance.randint(1, 8)):
        order = buy if chance.random() < 0.5 else sell
        items.append(
            order(
                market,
                chance.randint(90, 110),
                chance.randint(1, 9),
                client_order_id=chance.randint(1, 30),
            )
        )
        items.append(wire.OrderCancel(client_order_id=chance.randint(1, 30)))
    api.batch(chance.choice(traders), *items)


def test_the_feed_is_the_book(api: Wire, operator: OperatorWire) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    market = operator.open_market("MDA")
    traders = [operator.trader("MDA", "USDT") for _ in range(2)]
    churn(api, traders, market, chance)
    feed = api.matching.StreamBook(pb.StreamBookRequest(market_id=market), timeout=60)
    local, late = LocalBook(), LocalBook()
    local.apply(next(feed))
    assert local.matches(api.book(market))
    for _ in range(40):
        churn(api, traders, market, chance)
        book = api.book(market)
        while local.sequence < book.sequence:
            local.apply(next(feed))
        assert local.sequence == book.sequence
        assert local.matches(book)
    feed.cancel()
    # From the middle: the same deltas to the same book.
    middle = local.sequence // 2
    deltas = api.matching.StreamBook(
        pb.StreamBookRequest(market_id=market, after_sequence=middle), timeout=60
    )
    late.sequence = middle
    while late.sequence < local.sequence:
        late.apply(next(deltas))
    for name, side in late.sides.items():
        assert side.items() <= local.sides[name].items()
    deltas.cancel()


def trades_of(api: Wire, market: str, start: int, count: int) -> list[pb.Trade]:
    """The first trades of a stream."""
    stream = api.matching.StreamTrades(
        pb.StreamTradesRequest(market_id=market, start_sequence=start), timeout=60
    )
    trades: list[pb.Trade] = []
    while len(trades) < count:
        trades.extend(next(stream).trades)
    stream.cancel()
    return trades[:count]


def pages(
    call: Callable[..., Any], request: Any, name: str, metadata: Any = ()
) -> Iterator[list[Any]]:
    """Every page of a list."""
    while True:
        response = call(request, metadata=metadata, timeout=CALL_SECONDS)
        yield list(getattr(response, name))
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token


def flat(lists: Iterable[list[Any]]) -> list[Any]:
    """All pages as one list."""
    return list(itertools.chain.from_iterable(lists))


def test_trades_klines_and_pages(api: Wire, operator: OperatorWire) -> None:
    market, other = operator.open_market("MDB"), operator.open_market("MDC")
    maker, taker = (operator.trader("MDB", "MDC", "USDT") for _ in range(2))
    api.batch(maker, *[sell(market, 100 + n, 2) for n in range(25)])
    for n in range(25):
        api.batch(taker, buy(market, 100 + n, 1), buy(market, 100 + n, 1))
    streamed = trades_of(api, market, 1, 50)
    assert [trade.trade_sequence for trade in streamed] == list(range(1, 51))
    assert trades_of(api, market, 31, 20) == streamed[30:]

    listing = pb.ListTradesRequest(market_id=market, page_size=7)
    paged = list(pages(api.matching.ListTrades, listing, "trades"))
    assert [len(page) for page in paged] == [7] * 7 + [1]
    assert flat(paged) == streamed

    stream = api.klines.StreamKlines(
        kline_pb.StreamKlinesRequest(market_id=market, interval=kline_pb.INTERVAL_1D), timeout=60
    )
    current = next(stream).klines[-1]
    assert (current.open_ticks, current.high_ticks, current.trade_count) == (100, 124, 50)
    api.place(maker, sell(market, 90, 1))
    api.place(taker, buy(market, 90, 1))
    changed = next(stream).klines[-1]
    assert (changed.low_ticks, changed.close_ticks, changed.trade_count) == (90, 90, 51)
    assert changed.volume_lots == 51
    stream.cancel()
    klines = api.klines.ListKlines(
        kline_pb.ListKlinesRequest(market_id=market, interval=kline_pb.INTERVAL_1D)
    ).klines
    assert klines[-1].turnover_atoms == changed.turnover_atoms

    entries = accounts_pb2.ListLedgerEntriesRequest(account_id=taker.account_id)
    (whole,) = pages(
        api.accounts.ListLedgerEntries, _sized(entries, 1_000), "entries", taker.token()
    )
    small = list(
        pages(api.accounts.ListLedgerEntries, _sized(entries, 7), "entries", taker.token())
    )
    assert flat(small) == whole
    assert len(whole) == 3 + 51 * 3

    placed = api.batch(maker, *[sell(market, 200 + n, 1) for n in range(15)])
    api.place(maker, sell(other, 200, 1))
    asked = accounts_pb2.ListOpenOrdersRequest(account_id=maker.account_id, market_id=market)
    parts = list(pages(api.accounts.ListOpenOrders, _sized(asked, 7), "orders", maker.token()))
    assert [len(part) for part in parts] == [7, 7, 1]
    assert [each.order_id for each in flat(parts)] == [each.order_id for each in placed]
    asked.market_id = ""
    (everywhere,) = pages(api.accounts.ListOpenOrders, asked, "orders", maker.token())
    assert len(everywhere) == 16

    markets = flat(pages(api.matching.ListMarkets, pb.ListMarketsRequest(page_size=3), "markets"))
    names = [each.market_id for each in markets]
    assert names == sorted(names)
    assert {market, other} <= set(names)


def _sized(request: Any, page_size: int) -> Any:
    made = type(request)()
    made.CopyFrom(request)
    made.page_size = page_size
    return made


def test_a_token_belongs_to_its_query(api: Wire, operator: OperatorWire) -> None:
    market, other = operator.open_market("MDD"), operator.open_market("MDE")
    maker, taker = (operator.trader("MDD", "USDT") for _ in range(2))
    api.batch(maker, *[sell(market, 100, 1) for _ in range(5)])
    api.batch(taker, *[buy(market, 100, 1) for _ in range(5)])
    request = pb.ListTradesRequest(market_id=market, page_size=2)
    page_token = api.matching.ListTrades(request).next_page_token
    request.page_token = page_token
    request.page_size = 3
    assert [t.trade_sequence for t in api.matching.ListTrades(request).trades] == [3, 4, 5]
    flipped = ("A" if page_token[0] != "A" else "B") + page_token[1:]
    wrong = [
        pb.ListTradesRequest(market_id=other, page_token=page_token),
        pb.ListTradesRequest(market_id=market, start_sequence=1, page_token=page_token),
        pb.ListTradesRequest(market_id=market, page_token=flipped),
        pb.ListTradesRequest(market_id=market, page_token=page_token[:-2]),
        pb.ListTradesRequest(market_id=market, page_token="\u00e9"),
    ]
    for bad in wrong:
        said = answer(api.matching.ListTrades, bad)
        assert (said.code, said.reason) == (StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
    said = answer(api.matching.ListMarkets, pb.ListMarketsRequest(page_token=page_token))
    assert said.reason == "PAGE_TOKEN_INVALID"


def test_klines_of_a_recorded_market_page_and_close(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("MDF", kind=pb.MARKET_KIND_EXTERNAL)
    start_ns = 1_700_000_040 * 10**9
    request = admin_pb2.RecordTradesRequest(market_id=market)
    for n in range(60):
        trade = request.trades.add(external_id=n + 1, price_ticks=5 + n, quantity_lots=1)
        trade.taker_side = wire.SIDE_BUY
        trade.time.FromNanoseconds(start_ns + n * MINUTE_NS // 2)
    request.watermark_time.FromNanoseconds(start_ns + 25 * MINUTE_NS)
    operator.call("RecordTrades", request)
    listing = kline_pb.ListKlinesRequest(market_id=market, interval=kline_pb.INTERVAL_1M)
    wait_until(
        lambda: sum(line.closed for line in api.klines.ListKlines(listing).klines) == 25,
        "the close of 25 windows",
    )
    whole = list(api.klines.ListKlines(listing).klines)
    assert [line.open_ticks for line in whole] == [5 + 2 * n for n in range(30)]
    listing.page_size = 4
    assert flat(pages(api.klines.ListKlines, listing, "klines")) == whole
    part = kline_pb.ListKlinesRequest(market_id=market, interval=kline_pb.INTERVAL_1M)
    part.start_time.FromNanoseconds(start_ns + 1)
    part.end_time.FromNanoseconds(start_ns + 3 * MINUTE_NS)
    assert list(api.klines.ListKlines(part).klines) == whole[1:3]


@pytest.mark.parametrize("snapshot", [False, True], ids=["journal", "snapshot"])
def test_feeds_and_tokens_outlive_a_restart(tmp_path: Path, snapshot: bool) -> None:
    node = NodeProcess(tmp_path / "node").start()
    operator_token = token(node.operator_key, node.network_id)
    chance = random.Random(5)
    try:
        with dial(node.grpc_address, node.network_id) as api:
            operator = OperatorWire(api, operator_token)
            market = operator.open_market("MDR")
            traders = [operator.trader("MDR", "USDT") for _ in range(2)]
            for _ in range(20):
                churn(api, traders, market, chance)
            local = LocalBook()
            feed = api.matching.StreamBook(pb.StreamBookRequest(market_id=market), timeout=60)
            local.apply(next(feed))
            if snapshot:
                operator.call("TakeSnapshot", admin_pb2.TakeSnapshotRequest())
            before = last_trade(api, market)
            page_token = api.matching.ListTrades(
                pb.ListTradesRequest(market_id=market, page_size=1)
            ).next_page_token
            klines = klines_of(api, market)
        node.kill()
        node.start()
        with dial(node.grpc_address, node.network_id) as api:
            assert last_trade(api, market) == before
            again = pb.ListTradesRequest(market_id=market, page_size=1, page_token=page_token)
            assert api.matching.ListTrades(again).trades[0].trade_sequence == 2
            assert [line.turnover_atoms for line in klines_of(api, market)] == [
                line.turnover_atoms for line in klines
            ]
            deltas = api.matching.StreamBook(
                pb.StreamBookRequest(market_id=market, after_sequence=local.sequence), timeout=60
            )
            for _ in range(10):
                churn(api, traders, market, chance)
            book = api.book(market)
            while local.sequence < book.sequence:
                local.apply(next(deltas))
            assert local.matches(book)
            # The window ahead of a snapshot is gone, and the answer says where it starts.
            old = api.matching.StreamBook(
                pb.StreamBookRequest(market_id=market, after_sequence=1), timeout=60
            )
            said = answer(next, old)
            if snapshot:
                assert (said.code, said.reason) == (StatusCode.OUT_OF_RANGE, "SEQUENCE_GONE")
                assert int(said.metadata["oldest_sequence"]) > 1
            else:
                assert said.code is StatusCode.OK
            old.cancel()
            assert [t.trade_sequence for t in trades_of(api, market, 1, before)] == list(
                range(1, before + 1)
            )
    finally:
        node.kill()


def last_trade(api: Wire, market: str) -> int:
    """Sequence of the last trade."""
    trades = api.matching.ListTrades(
        pb.ListTradesRequest(market_id=market, page_size=10_000)
    ).trades
    return trades[-1].trade_sequence


def klines_of(api: Wire, market: str) -> list[kline_pb.Kline]:
    """All K-lines of a day."""
    request = kline_pb.ListKlinesRequest(market_id=market, interval=kline_pb.INTERVAL_1D)
    lines = list(api.klines.ListKlines(request).klines)
    assert all(time_ns_of(line.open_time) <= time.time_ns() for line in lines)
    return lines
