"""Swaps at once, on both servers: book, pool and makers' quotes beside each other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from dex.matching.v1 import matching_pb2 as matching
from dex.matching.v1 import quote_pb2 as quotes
from dex.matching.v1 import swap_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import (
    CallerError,
    Client,
    NewOrder,
    PoolKind,
    Side,
    SwapSource,
    SyncClient,
)
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until
from tests.support.wire import OperatorWire, Signer, Wire

# Of these markets: atoms of a tick and lot; the taker fee.
TICK_LOT, FEE_PPM = 1_000, 200
# Pools have so much: 100 quote atoms for a base atom, so 100 ticks.
BASE, QUOTE = 10_000_000, 1_000_000_000


class Place(NamedTuple):
    """A market, and who trades there."""

    served: NodeProcess
    market: str
    maker: Signer
    taker: Signer

    def client(self, signer: Signer) -> SyncClient:
        return self.served.client(signer.key, signer.account_id)


def place_of(served: NodeProcess, operator: OperatorWire, base: str, *, pool: bool) -> Place:
    market = operator.open_market(base, taker_fee_ppm=FEE_PPM)
    maker, taker = (operator.trader(base, "USDT") for _ in range(2))
    place = Place(served, market, maker, taker)
    if pool:
        with served.operator() as dex:
            dex.admin.create_pool(market, PoolKind.CONSTANT_PRODUCT, 3_000)
        with place.client(maker) as dex:
            dex.add_liquidity(market, base_atoms_max=BASE, quote_atoms_max=QUOTE)
    return place


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def in_all(quoted: pb.QuoteSwapResponse, fills: list[tuple[int, int, int]]) -> int:
    """What fills (price, lots, fee) cost or bring."""
    value = sum(price * lots for price, lots, _ in fills) * TICK_LOT
    fees = sum(fee for _, _, fee in fills)
    return value + fees if quoted.side == Side.BUY else value - fees


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_book_and_pool_give_what_was_quoted(
    served: NodeProcess, operator: OperatorWire, stack: ExitStack, side: Side
) -> None:
    place = place_of(served, operator, f"OFR{side.name}", pool=True)
    maker, taker = (stack.enter_context(place.client(who)) for who in (place.maker, place.taker))
    sign = 1 if side == Side.BUY else -1
    # The pool asks 101 and bids 99; the book has a level in its way and one behind.
    for away, lots in ((2, 30), (9, 500)):
        maker.place_order(NewOrder(place.market, Side(3 - side), lots, 100 + sign * away))
    before = {b.asset_id: b.available_atoms for b in taker.get_account().balances}
    quoted = taker.quote_swap(place.market, side, 300)
    order = quoted.order
    assert quoted.better == SwapSource.ORDER
    assert (order.book_lots + order.pool_lots, order.HasField("rejection")) == (300, False)
    assert min(order.book_lots, order.pool_lots) > 0
    assert sign * order.quote_atoms < sign * order.limit_quote_atoms
    assert {b.asset_id: b.available_atoms for b in taker.get_account().balances} == before
    taken = taker.take_swap(quoted)
    fills = [(fill.price_ticks, fill.quantity_lots, fill.fee_atoms) for fill in taken.fills]
    assert taken.source == SwapSource.ORDER
    assert sum(lots for _, lots, _ in fills) == 300
    assert in_all(quoted, fills) == order.quote_atoms
    assert sum(fee for *_, fee in fills) == order.fee_atoms
    assert all(sign * price <= sign * order.limit_price_ticks for price, *_ in fills)
    after = {b.asset_id: b.available_atoms for b in taker.get_account().balances}
    assert after["USDT"] == before["USDT"] - sign * order.quote_atoms


def test_the_better_of_a_quote_and_the_book_is_taken(
    served: NodeProcess, operator: OperatorWire, stack: ExitStack
) -> None:
    place = place_of(served, operator, "BET", pool=False)
    maker, taker = (stack.enter_context(place.client(who)) for who in (place.maker, place.taker))
    maker.place_order(NewOrder(place.market, Side.SELL, 50, 105))
    asked = stack.enter_context(taker.request_quote(place.market, 50))
    request_id = next(asked).quote_request_id
    session = stack.enter_context(maker.quote_session())
    for price_ticks, better in ((106, SwapSource.ORDER), (105, SwapSource.QUOTE)):
        session.quote(request_id, bid_price_ticks=90, ask_price_ticks=price_ticks)
        given = next(asked).quote
        quoted = taker.quote_swap(place.market, Side.BUY, 50)
        assert quoted.better == better
        assert quoted.quote.price_ticks == price_ticks
        assert quoted.quote.quote.quote_id == given.quote_id
    # A quote is on one size, and of one side's price.
    assert not taker.quote_swap(place.market, Side.BUY, 49).HasField("quote")
    sale = taker.quote_swap(place.market, Side.SELL, 50)
    assert sale.better == SwapSource.QUOTE
    assert sale.quote.price_ticks == 90
    assert sale.order.HasField("rejection")
    session.quote(request_id, bid_price_ticks=91, ask_price_ticks=103)
    best = next(asked).quote
    quoted = taker.quote_swap(place.market, Side.BUY, 50)
    taken = taker.swap(place.market, Side.BUY, 50, limit_price_ticks=103)
    assert (taken.source, taken.id) == (SwapSource.QUOTE, best.quote_id)
    [fill] = taken.fills
    paid = in_all(quoted, [(fill.price_ticks, fill.quantity_lots, fill.fee_atoms)])
    assert (paid, fill.fee_atoms) == (quoted.quote.quote_atoms, quoted.quote.fee_atoms)


def test_an_order_goes_no_further_than_it_was_quoted(
    served: NodeProcess, operator: OperatorWire, stack: ExitStack
) -> None:
    place = place_of(served, operator, "LIM", pool=False)
    maker, taker = (stack.enter_context(place.client(who)) for who in (place.maker, place.taker))
    first = maker.place_order(NewOrder(place.market, Side.SELL, 50, 101))
    maker.place_order(NewOrder(place.market, Side.SELL, 50, 109))
    quoted = taker.quote_swap(place.market, Side.BUY, 50)
    assert (quoted.order.limit_price_ticks, quoted.order.book_lots) == (101, 50)
    maker.cancel_order(order_id=first.order_id)
    before = taker.get_account().balances
    with pytest.raises(CallerError, match="FILL_OR_KILL_UNFILLABLE"):
        taker.take_swap(quoted)
    assert list(taker.get_account().balances) == list(before)
    with pytest.raises(CallerError, match="SLIPPAGE"):
        taker.swap(place.market, Side.BUY, 50, limit_price_ticks=108)
    # Nobody sells so much.
    more = taker.quote_swap(place.market, Side.BUY, 51)
    assert (more.better, more.order.book_lots) == (0, 50)
    with pytest.raises(CallerError, match="FILL_OR_KILL_UNFILLABLE"):
        taker.take_swap(more)
    with pytest.raises(CallerError, match="NO_LIQUIDITY"):
        taker.swap(place.market, Side.SELL, 1)


async def test_the_client_on_trio_swaps_and_follows_a_pool(
    served: NodeProcess, operator: OperatorWire
) -> None:
    place = place_of(served, operator, "TRI", pool=True)
    async with Client(
        served.grpc_address,
        network_id=served.network_id,
        key=place.taker.key,
        account_id=place.taker.account_id,
    ) as dex:
        async with dex.stream_pool(place.market) as feed:
            first = await anext(feed)
            assert first == await dex.get_pool(place.market)
            taken = await dex.swap(place.market, Side.SELL, 5)
            assert sum(fill.quantity_lots for fill in taken.fills) == 5
            then = await anext(feed)
            assert then.sequence > first.sequence
            assert then.base_atoms == first.base_atoms + 5 * 1_000
        [pool] = [each for each in await dex.list_pools() if each.market_id == place.market]
        assert pool == then
        with pytest.raises(CallerError, match="PERMISSION_DENIED"):
            await dex.quote_swap(place.market, Side.BUY, 5, account_id=place.maker.account_id)


def test_a_taker_that_cancels_its_call_withdraws_its_request(
    served: NodeProcess, api: Wire, operator: OperatorWire, stack: ExitStack
) -> None:
    place = place_of(served, operator, "CNC", pool=False)
    maker = stack.enter_context(place.client(place.maker))
    session = stack.enter_context(maker.quote_session())
    with place.client(place.taker) as taker:
        with taker.request_quote(place.market, 5, seconds=20) as asked:
            request_id = next(asked).quote_request_id
            session.quote(request_id, ask_price_ticks=100)
            assert next(asked).quote.quote_request_id == request_id
        # The call is cancelled, the connection is there.
        while (closed := session.receive().closed).quote_request_id != request_id:
            pass
        assert time.time_ns() // 10**9 < closed.close_time.seconds, (
            "the request was open until its time"
        )
        assert not [b for b in maker.get_account().balances if b.held_atoms]
    # Also at once, before the request may be durable and before any answer.
    for _ in range(6):
        asked_for = wire.QuoteRequest(market_id=place.market, quantity_lots=5)
        asked_for.close_time.FromSeconds(time.time_ns() // 10**9 + 60)
        envelope = place.taker.envelope(quote_request=asked_for)
        call = api.matching.RequestQuote(quotes.RequestQuoteRequest(envelope=envelope))
        api.matching.ListMarkets(matching.ListMarketsRequest(page_size=1))
        call.cancel()

    def none_open() -> bool:
        with place.client(place.maker) as dex, dex.quote_session() as fresh:
            found = fresh.receive().opened.requests
            return place.market not in {each.market_id for each in found}

    wait_until(none_open, "the end of requests that nobody waits for")
