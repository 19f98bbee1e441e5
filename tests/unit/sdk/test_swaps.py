"""What the SDK signs for a swap, and prices as pool ticks; without a node."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import Message

from dex.matching.v1 import quote_pb2 as quotes
from dex.matching.v1 import swap_pb2 as swaps
from dex.orders.v1 import order_intake_pb2 as orders
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import (
    CallerError,
    Key,
    Market,
    Session,
    Side,
    SwapSource,
    methods,
    pool_tick,
    price_at,
    swap_operations,
)
from dexsdk.effects import Send
from tests.unit.sdk.test_operations import Clock, play

MARKET = "BTC-USDT"


def quoted(better: SwapSource, side: Side = Side.BUY) -> swaps.QuoteSwapResponse:
    """An order to 110 and a quote at 105."""
    found = swaps.QuoteSwapResponse(
        market_id=MARKET,
        side=int(side),  # type: ignore[arg-type]
        quantity_lots=7,
        better=int(better),  # type: ignore[arg-type]
    )
    found.order.limit_price_ticks = 110
    found.quote.price_ticks = 105
    found.quote.quote.quote_id = "q"
    return found


class Node:
    """Answers, and keeps what was signed."""

    def __init__(self, answered: swaps.QuoteSwapResponse) -> None:
        self.answered = answered
        self.asked: list[swaps.QuoteSwapRequest] = []
        self.signed: list[wire.Payload] = []

    def answer(self, effect: Any) -> Message:
        assert isinstance(effect, Send)
        if effect.path == methods.QUOTE_SWAP.path:
            self.asked.append(swaps.QuoteSwapRequest.FromString(effect.request))
            return self.answered
        request: Any = orders.PlaceOrderRequest.FromString(effect.request)
        payload = wire.Payload.FromString(request.envelope.payload)
        self.signed.append(payload)
        by_quote = effect.path == methods.ACCEPT_QUOTE.path
        assert payload.WhichOneof("action") == ("quote_acceptance" if by_quote else "place")
        return quotes.AcceptQuoteResponse() if by_quote else orders.PlaceOrderResponse()


@pytest.fixture
def session() -> Session:
    return Session("triodex-test", Key(bytes(32)), "0000010000000000002001")


def test_a_swap_signs_one_message_and_it_is_what_was_quoted(session: Session) -> None:
    node = Node(quoted(SwapSource.ORDER))
    taken, _ = play(swap_operations.swap(session, MARKET, Side.BUY, 7), Clock(), node.answer)
    assert taken.source == SwapSource.ORDER
    [payload] = node.signed
    order = payload.place
    assert (order.price_ticks, order.quantity_lots) == (110, 7), "not the limit that was quoted"
    assert order.time_in_force == wire.TIME_IN_FORCE_FOK
    assert order.market_id == MARKET
    assert order.side == Side.BUY
    node = Node(quoted(SwapSource.QUOTE))
    taken, _ = play(swap_operations.swap(session, MARKET, Side.BUY, 7), Clock(), node.answer)
    assert (taken.source, taken.id) == (SwapSource.QUOTE, "q")
    [payload] = node.signed
    accepted = payload.quote_acceptance
    assert (accepted.quote_id, accepted.price_ticks) == ("q", 105)
    assert accepted.side == Side.BUY


def test_what_nobody_trades_is_not_sent(session: Session) -> None:
    answered = quoted(SwapSource.ORDER)
    answered.better = swaps.SWAP_SOURCE_UNSPECIFIED
    answered.order.rejection.reason = 87  # type: ignore[assignment]
    node = Node(answered)
    with pytest.raises(CallerError, match="NO_LIQUIDITY"):
        play(swap_operations.swap(session, MARKET, Side.BUY, 7), Clock(), node.answer)
    assert node.signed == []


@pytest.mark.parametrize("better", SwapSource)
@pytest.mark.parametrize("side", Side)
def test_a_limit_of_ones_own_is_kept(session: Session, better: SwapSource, side: Side) -> None:
    worst = 110 if better == SwapSource.ORDER else 105
    beyond = worst - 1 if side == Side.BUY else worst + 1
    for limit, sent in ((worst, 1), (beyond, 0)):
        node = Node(quoted(better, side))
        program = swap_operations.swap(session, MARKET, side, 7, limit_price_ticks=limit)
        if sent:
            play(program, Clock(), node.answer)
        else:
            with pytest.raises(CallerError, match="SLIPPAGE"):
                play(program, Clock(), node.answer)
        assert len(node.signed) == sent


def test_prices_and_pool_ticks() -> None:
    # 8 and 6 decimals: a price of one is 0.01 quote atoms for a base atom.
    market = Market.define(
        "BTC-USDT", base_scale=8, quote_scale=6, tick_size="0.01", lot_size="0.01"
    )
    assert pool_tick(market, "100") == 0
    assert pool_tick(market, "100.01") == 1, "a price that is a tick is that tick"
    assert (pool_tick(market, "100.005"), pool_tick(market, "100.005", up=True)) == (0, 1)
    assert (pool_tick(market, "99", 60), pool_tick(market, "99", 60, up=True)) == (-120, -60)
    assert price_at(market, 0) == 100
    assert price_at(market, 1) == Decimal("100.01")
    chance = random.Random(5)
    for _ in range(50):
        tick = chance.randint(-200_000, 200_000)
        price = price_at(market, tick)
        # Shown prices are rounded, and far closer to their tick than to another.
        assert pool_tick(market, price * Decimal("1.00004")) == tick
        assert pool_tick(market, price * Decimal("0.99996"), up=True) == tick
    for wrong in ("0", "-1", "NaN", "1e50", "1e-50"):
        with pytest.raises(CallerError, match="FIELD_INVALID"):
            pool_tick(market, wrong)
