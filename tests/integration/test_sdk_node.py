"""The Python SDK against a running node: every method once, feeds, pulls, refusals, a crash."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
import trio

from dex.kline.v1 import kline_query_pb2
from dex.matching.v1 import matching_pb2
from dexsdk import (
    Amend,
    CallerError,
    Cancel,
    Client,
    ExternalTrade,
    Interval,
    Key,
    LedgerEntryKind,
    LocalBook,
    Market,
    MarketKind,
    MarketStatus,
    NewOrder,
    OrderStatus,
    OrderType,
    Place,
    Side,
    TimeInForce,
    time_ns_of,
)
from tests.support.node_process import NodeProcess

FUNDS_ATOMS = 10**15
WAIT_SECONDS = 20


def define(base: str) -> Market:
    """A market of the test's own, so that a shared node stays usable for others."""
    return Market.define(
        f"{base}-SDKUSD", base_scale=8, quote_scale=8, tick_size="0.01", lot_size="0.001"
    )


def open_market(node: NodeProcess, base: str) -> Market:
    with node.operator() as operator:
        return operator.admin.create_market(define(base))


def trader(node: NodeProcess, base: str) -> tuple[Key, str]:
    return node.open_account({base: FUNDS_ATOMS, "SDKUSD": FUNDS_ATOMS})


def limit(market: Market, side: Side, price: str, quantity: str, client_id: int = 0) -> NewOrder:
    return NewOrder(
        market.market_id,
        side,
        price_ticks=market.price_ticks(price),
        quantity_lots=market.quantity_lots(quantity),
        client_order_id=client_id,
    )


async def test_an_order_lives_through_every_call(shared_node: NodeProcess) -> None:
    market = open_market(shared_node, "SDKA")
    key, account_id = trader(shared_node, "SDKA")
    async with shared_node.trio_client(key, account_id) as dex:
        order = limit(market, Side.BUY, "100.50", "2", client_id=7)
        check = await dex.check_order(order)
        assert check.reserve_asset_id == "SDKUSD"
        placed = await dex.place_order(order)
        assert placed.status == OrderStatus.OPEN
        assert placed.client_order_id == 7
        book = await dex.get_book(market.market_id)
        assert [(each.price_ticks, each.quantity_lots) for each in book.bids] == [(10_050, 2_000)]
        amended = await dex.amend_order(
            client_order_id=7, quantity_lots=1_000, price_ticks=market.price_ticks("101")
        )
        assert amended.order_id == placed.order_id
        account = await dex.get_account()
        assert [(each.price_ticks, each.quantity_lots) for each in account.open_orders] == [
            (10_100, 1_000)
        ]
        cancelled = await dex.cancel_order(order_id=placed.order_id)
        assert cancelled.status == OrderStatus.CANCELLED
        batch = await dex.submit_batch(
            [
                Place(limit(market, Side.BUY, "90", "1", client_id=1)),
                limit(market, Side.SELL, "110", "1", client_id=2),
                Amend(client_order_id=1, quantity_lots=500),
                Cancel(client_order_id=99),
            ]
        )
        assert [result.status for result in batch] == [
            OrderStatus.OPEN,
            OrderStatus.OPEN,
            OrderStatus.OPEN,
            OrderStatus.REJECTED,
        ]
        assert len(await dex.cancel_all(market.market_id)) == 2
        balances = {each.asset_id: each for each in (await dex.get_account()).balances}
        assert balances["SDKUSD"].available_atoms == FUNDS_ATOMS
        assert balances["SDKUSD"].held_atoms == 0
        found = await dex.get_market(market.market_id)
        assert found.tick_size == market.tick_size


async def test_feeds_pulls_and_lists_agree(shared_node: NodeProcess) -> None:
    market = open_market(shared_node, "SDKB")
    maker, taker = trader(shared_node, "SDKB"), trader(shared_node, "SDKB")
    local = LocalBook()
    seen: list[matching_pb2.Trade] = []
    lines: list[kline_query_pb2.Kline] = []

    async with (
        shared_node.trio_client(*maker) as dex,
        shared_node.trio_client(*taker) as other,
        dex.stream_book(market.market_id) as books,
        dex.stream_trades(market.market_id, 1) as trades,
        dex.stream_klines(market.market_id, Interval.D1) as klines,
    ):
        with trio.fail_after(WAIT_SECONDS):
            local.apply(await anext(books))
            await dex.submit_batch(
                [limit(market, Side.SELL, str(100 + step), "1") for step in range(5)]
            )
            for step in range(3):
                result = await other.place_order(limit(market, Side.BUY, str(100 + step), "1"))
                assert result.status == OrderStatus.FILLED
            while len(local.asks()) != 2 or local.best_ask() != (10_300, 1_000):
                local.apply(await anext(books))
            while len(seen) < 3:
                seen.append(await anext(trades))
            while not lines or lines[-1].trade_count < 3:
                lines.append(await anext(klines))
        book = await dex.get_book(market.market_id)
        assert local.asks() == [(each.price_ticks, each.quantity_lots) for each in book.asks]
        assert local.sequence == book.sequence
        assert seen == await dex.list_trades(market.market_id)
        assert [trade.price_ticks for trade in seen] == [10_000, 10_100, 10_200]
        (listed,) = await dex.list_klines(market.market_id, Interval.D1)
        assert listed == lines[-1]
        assert (listed.open_ticks, listed.close_ticks) == (10_000, 10_200)
        # Flight answers from the same durable state as the list calls.
        table = await dex.pull_trades(market.market_id)
        assert table.column("trade_sequence").to_pylist() == [1, 2, 3]
        assert table.column("price_ticks").to_pylist() == [10_000, 10_100, 10_200]
        table = await dex.pull_klines(market.market_id, Interval.D1)
        assert table.column("close_ticks").to_pylist() == [10_200]
        assert [str(each) for each in table.column("turnover_atoms")] == [listed.turnover_atoms]
        kinds = {entry.kind for entry in await other.list_ledger_entries()}
        assert {LedgerEntryKind.DEPOSIT, LedgerEntryKind.TRADE} <= {*map(LedgerEntryKind, kinds)}


async def test_an_order_stream_answers_in_order(shared_node: NodeProcess) -> None:
    market = open_market(shared_node, "SDKC")
    key, account_id = trader(shared_node, "SDKC")
    async with (
        shared_node.trio_client(key, account_id) as dex,
        dex.order_stream(window=16) as stream,
        trio.open_nursery() as nursery,
    ):
        nonces: list[int] = []

        async def send_all() -> None:
            for step in range(40):
                order = limit(market, Side.BUY, str(10 + step), "0.001")
                nonces.append(await stream.send([order, order] if step % 2 else order))

        nursery.start_soon(send_all)
        with trio.fail_after(WAIT_SECONDS):
            answers = [await stream.receive() for _ in range(40)]
        assert [answer.nonce for answer in answers] == nonces
        assert [len(answer.results) for answer in answers] == [1, 2] * 20
        await stream.send(limit(market, Side.BUY, "1000000", "1000000"))
        refused = await stream.receive()
        rejection = refused.rejection if refused.HasField("rejection") else None
        reasons = [rejection] if rejection else [each.rejection for each in refused.results]
        assert reasons
        assert all(each.reason for each in reasons)
        assert len(await dex.cancel_all()) == 60


def test_the_operators_methods(shared_node: NodeProcess) -> None:
    market = open_market(shared_node, "SDKD")
    key, account_id = trader(shared_node, "SDKD")
    _, other_id = shared_node.open_account()
    with shared_node.operator() as operator, shared_node.client(key, account_id) as dex:
        halted = operator.admin.set_market_status(market.market_id, MarketStatus.HALTED)
        assert halted.status is MarketStatus.HALTED
        with pytest.raises(CallerError, match="MARKET_NOT_OPEN"):
            dex.place_order(limit(market, Side.BUY, "1", "1"))
        operator.admin.set_market_status(market.market_id, MarketStatus.OPEN)
        fees = operator.admin.set_fees(market.market_id, maker_fee_ppm=5, taker_fee_ppm=9)
        assert (fees.message.maker_fee_ppm, fees.message.taker_fee_ppm) == (5, 9)
        assert dex.transfer(other_id, "SDKUSD", 1_000).sequence > 0
        operator.admin.debit_account(other_id, "SDKUSD", 400, f"out-{other_id}")
        balance = operator.get_account(other_id).balances[0]
        assert (balance.asset_id, balance.available_atoms) == ("SDKUSD", 600)
        status = operator.admin.get_node_status()
        assert status.network_id == shared_node.network_id
        assert operator.admin.take_snapshot().sequence >= status.durable_sequence
        with pytest.raises(CallerError, match="PERMISSION_DENIED"):
            dex.admin.get_node_status()
        with pytest.raises(CallerError, match="PERMISSION_DENIED"):
            dex.get_account(other_id)
        second = Key.generate()
        assert dex.register_key(second.public_bytes) == account_id
        with shared_node.client(second, account_id) as again:
            assert len(again.get_account().public_keys) == 2


def test_recorded_trades_become_klines(shared_node: NodeProcess) -> None:
    minute_ns = 60_000_000_000
    market = Market.define(
        "SDKE-SDKUSD",
        base_scale=8,
        quote_scale=8,
        tick_size="0.01",
        lot_size="0.001",
        kind=MarketKind.EXTERNAL,
    )
    start_ns = 1_700_000_040_000_000_000
    trades = [
        ExternalTrade(each + 1, start_ns + each * minute_ns // 2, 100 + each, 5, Side.SELL)
        for each in range(4)
    ]
    with shared_node.operator() as operator:
        operator.admin.create_market(market)
        first = operator.admin.record_trades(market.market_id, trades[:3])
        again = operator.admin.record_trades(market.market_id, trades, start_ns + 2 * minute_ns)
        assert (first.recorded_count, first.skipped_count) == (3, 0)
        assert (again.recorded_count, again.skipped_count) == (1, 3)
        deadline = time.monotonic() + WAIT_SECONDS
        lines: list[kline_query_pb2.Kline] = []
        while not all(each.closed for each in lines) or not lines:  # a clock tick closes them
            assert time.monotonic() < deadline
            lines = operator.list_klines(market.market_id, Interval.M1, start_ns)
    shown = [(time_ns_of(each.open_time), each.open_ticks, each.closed) for each in lines]
    assert shown == [(start_ns, 100, True), (start_ns + minute_ns, 102, True)]


def test_refusals_name_reason_and_field(shared_node: NodeProcess) -> None:
    market = open_market(shared_node, "SDKF")
    key, account_id = trader(shared_node, "SDKF")
    good = limit(market, Side.BUY, "1", "1")
    cases = {
        ("QUANTITY_OUT_OF_RANGE", "quantity_lots"): NewOrder(market.market_id, Side.BUY, 0, 1),
        ("UNKNOWN_MARKET", "market_id"): NewOrder("NO-SUCH", Side.BUY, 1, 1),
        ("INSUFFICIENT_FUNDS", None): limit(market, Side.BUY, "1000000", "1000000"),
        ("NO_LIQUIDITY", None): NewOrder(
            market.market_id,
            Side.BUY,
            1,
            type=OrderType.MARKET,
            time_in_force=TimeInForce.IOC,
        ),
    }
    with shared_node.client(key, account_id) as dex:
        for (reason, field), order in cases.items():
            with pytest.raises(CallerError) as caught:
                dex.place_order(order)
            assert caught.value.reason == reason
            assert field is None or (caught.value.field or "").endswith(field)
    with (
        shared_node.client(Key.generate(), account_id) as stranger,
        pytest.raises(CallerError, match="UNKNOWN_KEY"),
    ):
        stranger.place_order(good)
    with shared_node.client(key, account_id) as dex:
        dex._session.network_id = "another"
        with pytest.raises(CallerError, match="NETWORK_MISMATCH"):
            dex.place_order(good)


async def test_orders_and_feeds_outlive_a_crash(tmp_path: Path) -> None:
    """kill -9: the retried order applies once and the feed goes on where it was."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    node = NodeProcess(tmp_path / "node", settings=[f"grpc.port={port}"]).start()
    try:
        market = open_market(node, "SDKG")
        key, account_id = trader(node, "SDKG")
        async with Client(
            node.grpc_address,
            network_id=node.network_id,
            key=key,
            account_id=account_id,
            timeout_seconds=25,
        ) as dex:
            await crash_between_orders(node, dex, market)
    finally:
        node.kill()


async def crash_between_orders(node: NodeProcess, dex: Client, market: Market) -> None:
    local = LocalBook()
    async with (
        dex.stream_book(market.market_id) as books,
        dex.order_stream() as stream,
        trio.open_nursery() as nursery,
    ):
        local.apply(await anext(books))
        await stream.send(limit(market, Side.BUY, "1", "1"))
        await stream.receive()
        node.kill()
        await stream.send(limit(market, Side.BUY, "2", "1"))
        nursery.start_soon(dex.place_order, limit(market, Side.BUY, "3", "1"))
        await trio.to_thread.run_sync(node.start)
        with trio.fail_after(WAIT_SECONDS):
            answer = await stream.receive()
            assert answer.results[0].status == OrderStatus.OPEN
            while len(local.bids()) < 3:
                local.apply(await anext(books))
    assert local.bids() == [(300, 1_000), (200, 1_000), (100, 1_000)]
    assert (await dex.get_account()).open_order_count == 3
