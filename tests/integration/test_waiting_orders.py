"""Orders that wait, for a price, a phase or a time, over a real node: one test for each kind."""

from __future__ import annotations

import time
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from dex.accounts.v1 import accounts_pb2
from dex.admin.v1 import admin_pb2
from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as wire
from tests.support.waiting import wait_until
from tests.support.wire import (
    CALL_SECONDS,
    FUNDS_ATOMS,
    OperatorWire,
    Signer,
    Wire,
    batch_of,
    buy,
    refused,
    sell,
)

STOP = {"type": wire.ORDER_TYPE_STOP, "time_in_force": wire.TIME_IN_FORCE_GTC}
PARKED, OPEN = pb.ORDER_STATUS_PARKED, pb.ORDER_STATUS_OPEN


def terms(**said: Any) -> wire.OrderTerms:
    return wire.OrderTerms(**said)


def levels(side: Any) -> list[tuple[int, int]]:
    return [(level.price_ticks, level.quantity_lots) for level in side]


def only_order(api: Wire, trader: Signer) -> accounts_pb2.OpenOrder:
    (order,) = api.account(trader).open_orders
    return order


def set_status(operator: OperatorWire, market: str, status: str) -> None:
    number = matching_pb2.MarketStatus.Value(f"MARKET_STATUS_{status}")
    request = admin_pb2.SetMarketStatusRequest(market_id=market, status=number)
    assert operator.call("SetMarketStatus", request).market.status == number


def open_market(operator: OperatorWire, base: str, protection_ticks: int = 20) -> str:
    """A market whose band is wide enough for stops."""
    market = operator.open_market(base)
    request = admin_pb2.SetMarketLimitsRequest(market_id=market, protection_ticks=protection_ticks)
    operator.call("SetMarketLimits", request)
    return market


def trade(api: Wire, trader: Signer, market: str, price_ticks: int, lots: int = 1) -> None:
    """Make the market's last price, with an account's own orders."""
    batch = api.batch(trader, sell(market, price_ticks, lots), buy(market, price_ticks, lots))
    assert batch[1].filled_lots == lots


def test_a_stop_waits_for_its_trigger(api: Wire, operator: OperatorWire) -> None:
    market = open_market(operator, "STOA")
    maker, trader = operator.trader("STOA", "USDT"), operator.trader("STOA", "USDT")
    trade(api, maker, market, 100)
    api.place(maker, buy(market, 88, 10))
    order = sell(market, 0, 5, **STOP, terms=terms(trigger_price_ticks=90))
    placed = api.place(trader, order)
    assert (placed.status, placed.remaining_lots) == (PARKED, 5)
    shown = only_order(api, trader)
    assert (shown.status, shown.type, shown.price_ticks) == (PARKED, wire.ORDER_TYPE_STOP, 0)
    assert shown.terms.trigger_price_ticks == 90
    assert not api.book(market).asks, "a stop is in the public book"
    said = refused(
        lambda: api.place(trader, sell(market, 0, 5, **STOP, terms=terms(trigger_price_ticks=100)))
    )
    assert (said.reason, said.field) == ("STOP_WOULD_TRIGGER", "trigger_price_ticks")
    trade(api, maker, market, 90)
    assert not api.account(trader).open_orders
    assert api.balances(trader)["STOA"] == (FUNDS_ATOMS - 5 * 1_000, 0)
    assert levels(api.book(market).bids) == [(88, 5)]


def test_a_stop_limit_is_amended_and_then_rests(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("STLA")
    maker, trader = operator.trader("STLA", "USDT"), operator.trader("STLA", "USDT")
    trade(api, maker, market, 100)
    said = refused(
        lambda: api.place(trader, sell(market, 0, 5, **STOP, terms=terms(trigger_price_ticks=90)))
    )
    assert said.reason == "PROTECTION_REQUIRED"
    order = buy(
        market,
        112,
        5,
        type=wire.ORDER_TYPE_STOP_LIMIT,
        client_order_id=8,
        terms=terms(trigger_price_ticks=110),
    )
    assert api.place(trader, order).status == PARKED
    amend = wire.OrderAmend(client_order_id=8, quantity_lots=4, trigger_price_ticks=105)
    request = pb.AmendOrderRequest(envelope=trader.envelope(amend=amend))
    assert api.orders.AmendOrder(request, timeout=CALL_SECONDS).result.status == PARKED
    shown = only_order(api, trader)
    assert (shown.price_ticks, shown.quantity_lots, shown.terms.trigger_price_ticks) == (
        112,
        4,
        105,
    )
    trade(api, maker, market, 105)
    shown = only_order(api, trader)
    assert (shown.status, shown.price_ticks) == (OPEN, 112)
    assert levels(api.book(market).bids) == [(112, 4)]


def test_a_trailing_stop_follows_the_price(api: Wire, operator: OperatorWire) -> None:
    market = open_market(operator, "TRLA")
    maker, trader = operator.trader("TRLA", "USDT"), operator.trader("TRLA", "USDT")
    order = sell(market, 0, 5, type=wire.ORDER_TYPE_TRAILING_STOP, terms=terms(trail_ticks=10))
    assert refused(lambda: api.place(trader, order)).reason == "NO_REFERENCE_PRICE"
    trade(api, maker, market, 100)
    assert api.place(trader, order).status == PARKED
    assert only_order(api, trader).terms.trigger_price_ticks == 90
    trade(api, maker, market, 120)
    assert only_order(api, trader).terms.trigger_price_ticks == 110
    trade(api, maker, market, 111)
    assert only_order(api, trader).status == PARKED
    api.place(maker, buy(market, 105, 5))
    trade(api, maker, market, 110)
    assert not api.account(trader).open_orders


def test_an_account_sees_the_trigger_of_a_trailing_stop_move(
    api: Wire, operator: OperatorWire
) -> None:
    market = operator.open_market("TRLB")
    trader, other = operator.trader("TRLB", "USDT"), operator.trader("TRLB", "USDT")
    limits = admin_pb2.SetMarketLimitsRequest(market_id=market, protection_ticks=20)
    operator.call("SetMarketLimits", limits)
    api.place(other, sell(market, 100, 1))
    api.place(other, buy(market, 100, 1))
    stop = sell(market, 0, 5, type=wire.ORDER_TYPE_TRAILING_STOP)
    stop.terms.trail_ticks = 7
    assert api.place(trader, stop).status == pb.ORDER_STATUS_PARKED
    for price, trigger in ((100, 93), (110, 103), (105, 103)):
        api.place(other, sell(market, price, 1))
        api.place(other, buy(market, price, 1))
        [mine] = api.account(trader).open_orders
        assert mine.terms.trigger_price_ticks == trigger, "the trigger that is shown stands still"
        assert mine.price_ticks == 0, "a stop has no limit"
    api.place(other, buy(market, 90, 5))
    api.place(other, sell(market, 103, 1))
    api.place(other, buy(market, 103, 1))
    assert not api.account(trader).open_orders, "it did not trigger"


def test_one_cancels_the_other(api: Wire, operator: OperatorWire) -> None:
    market = open_market(operator, "OCOA")
    maker, trader = operator.trader("OCOA", "USDT"), operator.trader("OCOA", "USDT")
    trade(api, maker, market, 100)
    limit = sell(market, 120, 5)
    stop = sell(market, 0, 5, **STOP, terms=terms(trigger_price_ticks=90, oco=True))
    said = refused(lambda: api.place(trader, stop))
    assert (said.reason, said.field) == ("OCO_BROKEN", "oco")
    first, second = api.batch(trader, limit, stop)
    assert (first.status, second.status) == (OPEN, PARKED)
    assert api.balances(trader)["OCOA"] == (FUNDS_ATOMS - 5_000, 5_000), "a pair holds twice"
    shown = {order.order_id: order.oco_order_id for order in api.account(trader).open_orders}
    assert shown == {first.order_id: second.order_id, second.order_id: first.order_id}
    api.place(maker, buy(market, 120, 1))
    assert [order.order_id for order in api.account(trader).open_orders] == [first.order_id]


def test_a_pegged_order_follows_the_book(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("PEGA")
    maker, trader = operator.trader("PEGA", "USDT"), operator.trader("PEGA", "USDT")
    order = buy(
        market,
        97,
        5,
        type=wire.ORDER_TYPE_PEGGED,
        terms=terms(peg=wire.PEG_REFERENCE_PRIMARY, peg_offset_ticks=-2),
    )
    assert api.place(trader, order).status == PARKED
    shown = only_order(api, trader)
    assert (shown.status, shown.price_ticks, shown.limit_price_ticks) == (PARKED, 0, 97)
    api.place(maker, buy(market, 90, 1))
    shown = only_order(api, trader)
    assert (shown.status, shown.price_ticks) == (OPEN, 88)
    assert (shown.terms.peg, shown.terms.peg_offset_ticks) == (wire.PEG_REFERENCE_PRIMARY, -2)
    api.place(maker, buy(market, 110, 1))
    assert levels(api.book(market).bids) == [(110, 1), (97, 5), (90, 1)]


def test_an_opening_auction(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("AUCA")
    traders = [operator.trader("AUCA", "USDT") for _ in range(2)]
    set_status(operator, market, "OPENING_AUCTION")
    feed = api.matching.StreamBook(matching_pb2.StreamBookRequest(market_id=market))
    assert next(feed).snapshot.indicative == matching_pb2.IndicativeUncross()
    at_open = {"time_in_force": wire.TIME_IN_FORCE_AT_OPEN}
    said = refused(
        lambda: api.place(traders[0], buy(market, 1, 1, time_in_force=wire.TIME_IN_FORCE_IOC))
    )
    assert said.reason == "TIME_IN_FORCE_INVALID"
    api.place(traders[0], buy(market, 105, 10, **at_open))
    assert next(feed).delta.HasField("indicative")
    api.batch(
        traders[1],
        sell(market, 95, 4, terms=terms(display_lots=1)),
        sell(market, 100, 3),
        sell(market, 110, 9, **at_open),
    )
    expected = matching_pb2.IndicativeUncross(price_ticks=105, quantity_lots=7, surplus_lots=3)
    book = api.book(market)
    assert levels(book.bids) == [(105, 10)]
    assert levels(book.asks) == [(95, 1), (100, 3), (110, 9)], "a crossed book is not shown"
    # Most lots trade from 100 up, and each price there leaves as many over: the lowest.
    expected.price_ticks = 100
    assert book.indicative == expected
    assert next(feed).delta.indicative == expected
    set_status(operator, market, "OPEN")
    (first, second) = api.matching.ListTrades(
        matching_pb2.ListTradesRequest(market_id=market)
    ).trades
    assert {first.price_ticks, second.price_ticks} == {100}
    assert first.quantity_lots + second.quantity_lots == 7
    after = next(feed).delta
    assert not after.HasField("indicative")
    book = api.book(market)
    assert not book.HasField("indicative")
    assert (levels(book.bids), levels(book.asks)) == ([], []), "what the auction leaves expires"
    feed.cancel()


def test_at_the_close(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("CLOA")
    buyer, seller = operator.trader("CLOA", "USDT"), operator.trader("CLOA", "USDT")
    at_close = {"time_in_force": wire.TIME_IN_FORCE_AT_CLOSE}
    assert api.place(buyer, buy(market, 100, 5, **at_close)).status == PARKED
    day = api.place(buyer, buy(market, 50, 5, time_in_force=wire.TIME_IN_FORCE_DAY))
    assert levels(api.book(market).bids) == [(50, 5)]
    set_status(operator, market, "CLOSING_AUCTION")
    assert levels(api.book(market).bids) == [(100, 5), (50, 5)]
    api.place(seller, sell(market, 100, 3))
    set_status(operator, market, "CLOSED")
    assert not api.account(buyer).open_orders, f"{day.order_id} outlives the day"
    assert api.balances(buyer)["CLOA"] == (FUNDS_ATOMS + 3 * 1_000, 0)
    assert refused(lambda: api.place(buyer, buy(market, 1, 1))).reason == "MARKET_NOT_OPEN"


def test_an_order_ends_at_its_time(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("GTDA")
    trader = operator.trader("GTDA", "USDT")

    def until(time_ns: int) -> wire.NewOrder:
        expire_time = Timestamp()
        expire_time.FromNanoseconds(time_ns)
        gtd = wire.TIME_IN_FORCE_GTD
        return buy(market, 10, 1, time_in_force=gtd, terms=terms(expire_time=expire_time))

    said = refused(lambda: api.place(trader, until(time.time_ns() - 10**9)))
    assert (said.reason, said.field) == ("FIELD_INVALID", "expire_time")
    far = until(time.time_ns() + 3_600 * 10**9)
    api.place(trader, far)
    assert only_order(api, trader).terms.expire_time == far.terms.expire_time
    api.place(trader, until(time.time_ns() + 10**9))
    wait_until(lambda: len(api.account(trader).open_orders) == 1, "the end of an order")


def test_a_dead_mans_switch(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("DMSA")
    trader, other = operator.trader("DMSA", "USDT"), operator.trader("DMSA", "USDT")

    def set_switch(nanos: int) -> pb.SetDeadMansSwitchResponse:
        timeout = Duration()
        timeout.FromNanoseconds(nanos)
        switch = wire.DeadMansSwitch(timeout=timeout)
        envelope = trader.envelope(dead_mans_switch=switch)
        request = pb.SetDeadMansSwitchRequest(envelope=envelope)
        answer: pb.SetDeadMansSwitchResponse = api.orders.SetDeadMansSwitch(
            request, timeout=CALL_SECONDS
        )
        # A retry is told the same.
        assert api.orders.SetDeadMansSwitch(request, timeout=CALL_SECONDS) == answer
        return answer

    said = refused(lambda: set_switch(10**9 - 1))
    assert (said.reason, said.field) == ("FIELD_INVALID", "timeout")
    api.place(trader, buy(market, 10, 1))
    api.place(other, buy(market, 10, 1))
    answer = set_switch(60 * 10**9)
    applied_ns = answer.applied.apply_time.ToNanoseconds()
    assert answer.cancel_time.ToNanoseconds() == applied_ns + 60 * 10**9
    assert api.account(trader).dead_mans_switch_time == answer.cancel_time
    assert not set_switch(0).HasField("cancel_time")
    assert not api.account(trader).HasField("dead_mans_switch_time")
    assert len(api.account(trader).open_orders) == 1
    # On a stream, as a maker sets it.
    switch = wire.DeadMansSwitch(timeout=Duration(seconds=1))
    envelope = trader.envelope(dead_mans_switch=switch)
    (streamed,) = api.orders.OrderStream(
        iter([pb.OrderStreamRequest(envelope=envelope)]), timeout=CALL_SECONDS
    )
    assert streamed.applied.sequence
    wait_until(lambda: not api.account(trader).open_orders, "the cancel of a dead man's switch")
    assert len(api.account(other).open_orders) == 1


def test_a_phased_batch_holds_a_pair_together(api: Wire, operator: OperatorWire) -> None:
    market = open_market(operator, "PHOA")
    maker, trader = operator.trader("PHOA", "USDT"), operator.trader("PHOA", "USDT")
    trade(api, maker, market, 100)
    batch = batch_of(
        sell(market, 120, 5),
        sell(market, 0, 5, **STOP, terms=terms(trigger_price_ticks=90, oco=True)),
        sell(market, 130, 5, post_only=True),
    )
    batch.phased = True
    request = pb.SubmitBatchRequest(envelope=trader.envelope(batch=batch))
    results = api.orders.SubmitBatch(request, timeout=CALL_SECONDS).results
    assert [each.status for each in results] == [OPEN, PARKED, OPEN]
