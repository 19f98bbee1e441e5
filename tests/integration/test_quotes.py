"""Requests for quotes on a running node: makers, a taker, time, sessions that end, a crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from dex.matching.v1 import quote_pb2 as pb
from dexsdk import CallerError, Client, Key, Market, Side, SyncClient
from tests.support.markets import PLENTY_ATOMS, open_market, rich_account
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until

LOTS = 1_000
BID, ASK = 99_00, 101_00
# Of the market the tests share: atoms of the quote a tick and lot, and of the base a lot.
TICK_LOT_ATOMS, LOT_ATOMS = 10, 1_000
VALUE = LOTS * BID * TICK_LOT_ATOMS
# What a quote of BID and ASK holds at a maker rate of 100 ppm.
HOLDS = {"BTC": LOTS * LOT_ATOMS, "USDC.eth": VALUE + -(-VALUE * 100 // 1_000_000)}


class Party(NamedTuple):
    """An account with money."""

    key: Key
    account_id: str

    def client(self, node: NodeProcess) -> SyncClient:
        return node.client(self.key, self.account_id)

    def held(self, node: NodeProcess) -> dict[str, int]:
        with self.client(node) as dex:
            balances = dex.get_account().balances
            return {b.asset_id: b.held_atoms for b in balances if b.held_atoms}


@pytest.fixture(scope="module")
def market(shared_node: NodeProcess) -> Market:
    return open_market(shared_node)


@pytest.fixture
def parties(shared_node: NodeProcess, market: Market) -> list[Party]:
    """A taker and two makers."""
    return [Party(*rich_account(shared_node)) for _ in range(3)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def until(session: object, kind: str) -> pb.QuoteStreamResponse:
    """The next item of a kind."""
    while True:
        item: pb.QuoteStreamResponse = session.receive()  # type: ignore[attr-defined]
        if item.WhichOneof("item") == kind:
            return item


def test_two_makers_quote_and_the_first_acceptance_takes_one(
    shared_node: NodeProcess, market: Market, parties: list[Party], stack: ExitStack
) -> None:
    taker, one, two = parties
    sessions = []
    for maker in (one, two):
        session = stack.enter_context(
            stack.enter_context(maker.client(shared_node)).quote_session()
        )
        assert until(session, "opened").sequence >= 0
        sessions.append(session)
    dex = stack.enter_context(taker.client(shared_node))
    asked = stack.enter_context(dex.request_quote(market.market_id, LOTS))
    first = next(asked)
    assert (first.sequence, first.HasField("quote")) == (1, False)
    results = []
    for number, session in enumerate(sessions):
        notice = until(session, "request").request
        assert notice.quote_request_id == first.quote_request_id
        assert (notice.quantity_lots, notice.side) == (LOTS, 0)
        session.quote(
            notice.quote_request_id,
            bid_price_ticks=BID - number,
            ask_price_ticks=ASK + number,
            client_quote_id=7,
        )
        results.append(until(session, "result").result.quote)
        assert results[-1].client_quote_id == 7
    seen = [next(asked).quote for _ in range(2)]
    assert [each.quote_id for each in seen] == [each.quote_id for each in results]
    assert [each.client_quote_id for each in seen] == [0, 0]
    assert one.held(shared_node) == HOLDS
    done = dex.accept_quote(seen[0].quote_id, Side.BUY, ASK)
    assert (done.fill.price_ticks, done.fill.quantity_lots) == (ASK, LOTS)
    assert done.fill.trade_sequence == 0
    assert done.quote.status == pb.QUOTE_STATUS_FILLED
    # The stream says how each ended, then ends.
    ends = {item.quote.quote_id: item.quote.status for item in asked}
    assert ends == {
        seen[0].quote_id: pb.QUOTE_STATUS_FILLED,
        seen[1].quote_id: pb.QUOTE_STATUS_CANCELLED,
    }
    assert until(sessions[0], "quote").quote.status == pb.QUOTE_STATUS_FILLED
    assert until(sessions[1], "quote").quote.status == pb.QUOTE_STATUS_CANCELLED
    assert until(sessions[1], "closed").closed.quote_request_id == first.quote_request_id
    assert one.held(shared_node) == two.held(shared_node) == {}
    with pytest.raises(CallerError, match="UNKNOWN_QUOTE"):
        dex.accept_quote(seen[1].quote_id, Side.BUY, ASK + 1)
    assert dex.list_trades(market.market_id) == []
    entries = dex.list_ledger_entries(limit=3)
    assert {entry.reference for entry in entries} == {seen[0].quote_id}
    assert [each.quote_id for each in dex.list_quotes()] == [seen[1].quote_id, seen[0].quote_id]


def test_time_ends_quotes_and_requests(
    shared_node: NodeProcess, market: Market, parties: list[Party], stack: ExitStack
) -> None:
    taker, maker, _ = parties
    session = stack.enter_context(stack.enter_context(maker.client(shared_node)).quote_session())
    dex = stack.enter_context(taker.client(shared_node))
    asked = stack.enter_context(dex.request_quote(market.market_id, LOTS, seconds=3))
    request_id = next(asked).quote_request_id
    session.quote(request_id, bid_price_ticks=BID, ask_price_ticks=ASK, seconds=1)
    quote_id = next(asked).quote.quote_id
    assert next(asked).quote.status == pb.QUOTE_STATUS_EXPIRED
    assert maker.held(shared_node) == {}
    with pytest.raises(CallerError, match="UNKNOWN_QUOTE"):
        dex.accept_quote(quote_id, Side.BUY, ASK)
    assert list(asked) == []
    assert until(session, "closed").closed.quote_request_id == request_id


def test_a_session_that_ends_withdraws_what_it_gave(
    shared_node: NodeProcess, market: Market, parties: list[Party], stack: ExitStack
) -> None:
    taker, leaves, keeps = parties
    dex = stack.enter_context(taker.client(shared_node))
    asked = stack.enter_context(dex.request_quote(market.market_id, LOTS))
    request_id = next(asked).quote_request_id
    for maker, keep in ((leaves, False), (keeps, True)):
        with maker.client(shared_node) as client, client.quote_session(keep_quotes=keep) as session:
            session.quote(request_id, ask_price_ticks=ASK)
            assert until(session, "result").result.HasField("quote")
    states = [next(asked).quote for _ in range(3)]
    gone = [each for each in states if each.status == pb.QUOTE_STATUS_CANCELLED]
    assert [each.maker_account_id for each in gone] == [leaves.account_id]
    wait_until(lambda: leaves.held(shared_node) == {}, "the quote was not withdrawn")
    assert keeps.held(shared_node) == {"BTC": LOTS * LOT_ATOMS}


def test_a_taker_that_leaves_withdraws_its_request(
    shared_node: NodeProcess, market: Market, parties: list[Party], stack: ExitStack
) -> None:
    taker, maker, _ = parties
    session = stack.enter_context(stack.enter_context(maker.client(shared_node)).quote_session())
    with taker.client(shared_node) as dex, dex.request_quote(market.market_id, LOTS) as asked:
        request_id = next(asked).quote_request_id
        session.quote(request_id, bid_price_ticks=BID)
        assert next(asked).HasField("quote")
    while until(session, "closed").closed.quote_request_id != request_id:
        pass
    assert maker.held(shared_node) == {}


def test_a_request_for_one_maker_is_seen_by_nobody_else(
    shared_node: NodeProcess, market: Market, parties: list[Party], stack: ExitStack
) -> None:
    taker, named, other = parties
    dex = stack.enter_context(taker.client(shared_node))
    makers = [named.account_id]
    asked = stack.enter_context(dex.request_quote(market.market_id, LOTS, makers=makers))
    secret = next(asked).quote_request_id
    public = stack.enter_context(dex.request_quote(market.market_id, LOTS))
    known = next(public).quote_request_id
    for maker, sees in ((named, True), (other, False)):
        session = stack.enter_context(
            stack.enter_context(maker.client(shared_node)).quote_session()
        )
        ids = [each.quote_request_id for each in until(session, "opened").opened.requests]
        assert known in ids
        assert (secret in ids) is sees
        session.quote(secret, ask_price_ticks=ASK)
        result = until(session, "result").result
        assert result.HasField("rejection") is not sees
    with other.client(shared_node) as client:
        client._session.account_id = named.account_id
        with client.quote_session() as session, pytest.raises(CallerError, match="PERMISSION"):
            session.receive()


async def test_a_session_resumes_behind_what_it_has_seen(
    shared_node: NodeProcess, market: Market, parties: list[Party]
) -> None:
    taker, maker, _ = parties
    async with (
        Client(
            shared_node.grpc_address,
            network_id=shared_node.network_id,
            key=maker.key,
            account_id=maker.account_id,
        ) as client,
        shared_node.trio_client(taker.key, taker.account_id) as dex,
    ):
        # After zero is from the beginning: something must have been there.
        async with dex.request_quote(market.market_id, LOTS) as asked:
            await anext(asked)
        async with client.quote_session() as session:
            last = (await session.receive()).sequence
        requests = []
        for _ in range(3):
            async with dex.request_quote(market.market_id, LOTS) as asked:
                requests.append((await anext(asked)).quote_request_id)
        async with client.quote_session(after_sequence=last) as session:
            opened = await session.receive()
            assert (opened.sequence, len(opened.opened.requests)) == (last, 0)
            seen: list[str] = []
            while not all(seen.count(request_id) == 2 for request_id in requests):
                item = await session.receive()
                last += 1
                assert item.sequence == last, "the feed left something out"
                notice = item.request if item.HasField("request") else item.closed
                seen.append(notice.quote_request_id)


def test_a_crash_between_quote_and_acceptance_loses_nothing(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node").start()
    try:
        market = open_market(node)
        taker, maker = Party(*rich_account(node)), Party(*rich_account(node))
        with ExitStack() as stack:
            dex = stack.enter_context(taker.client(node))
            asked = stack.enter_context(dex.request_quote(market.market_id, LOTS, seconds=240))
            request_id = next(asked).quote_request_id
            client = stack.enter_context(maker.client(node))
            session = stack.enter_context(client.quote_session())
            session.quote(request_id, bid_price_ticks=BID, ask_price_ticks=ASK, seconds=240)
            quote_id = until(session, "result").result.quote.quote_id
            node.kill()
        node.start()
        assert maker.held(node) == HOLDS
        with taker.client(node) as dex:
            [listed] = dex.list_quotes()
            assert (listed.quote_id, listed.status) == (quote_id, pb.QUOTE_STATUS_OPEN)
            done = dex.accept_quote(quote_id, Side.SELL, BID)
            balances = {b.asset_id: b.available_atoms for b in dex.get_account().balances}
        assert balances == {
            "BTC": PLENTY_ATOMS - LOTS * LOT_ATOMS,
            "USDC.eth": PLENTY_ATOMS + VALUE - done.fill.fee_atoms,
        }
        assert maker.held(node) == {}
        # What the views know comes from the journal again, and nothing else.
        node.kill()
        node.start()
        with maker.client(node) as client:
            assert [each.status for each in client.list_quotes()] == [pb.QUOTE_STATUS_FILLED]
    finally:
        node.kill()
