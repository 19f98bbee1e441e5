"""What orders may say beyond price and size, over a real node: one test for each."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from dex.accounts.v1 import accounts_pb2
from dex.admin.v1 import admin_pb2
from dex.errors.v1 import errors_pb2
from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as wire
from tests.support.node_process import NodeProcess
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

STP = wire.SelfTradePrevention


def terms(**said: Any) -> wire.OrderTerms:
    return wire.OrderTerms(**said)


def levels(side: Any) -> list[tuple[int, int]]:
    return [(level.price_ticks, level.quantity_lots) for level in side]


def cancelled(api: Wire, trader: Signer, **named: Any) -> list[str]:
    envelope = trader.envelope(cancel_all=wire.OrderCancelAll(**named))
    answer = api.orders.CancelAll(pb.CancelAllRequest(envelope=envelope), timeout=CALL_SECONDS)
    return [each.order_id for each in answer.results]


def open_orders(api: Wire, trader: Signer) -> list[accounts_pb2.OpenOrder]:
    return list(api.account(trader).open_orders)


def limits(operator: OperatorWire, market: str, **set_: int) -> matching_pb2.Market:
    request = admin_pb2.SetMarketLimitsRequest(market_id=market, **set_)
    answer: matching_pb2.Market = operator.call("SetMarketLimits", request).market
    return answer


def test_an_iceberg_shows_its_tip_to_the_public(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("ICEA")
    maker, taker = operator.trader("ICEA", "USDT"), operator.trader("ICEA", "USDT")
    feed = api.matching.StreamBook(matching_pb2.StreamBookRequest(market_id=market))
    assert not next(feed).snapshot.asks
    hidden = api.place(maker, sell(market, 100, 10, terms=terms(display_lots=3)))
    assert (hidden.status, hidden.remaining_lots) == (pb.ORDER_STATUS_OPEN, 10)
    assert levels(api.book(market).asks) == [(100, 3)], "the public sees hidden lots"
    assert levels(next(feed).delta.asks) == [(100, 3)], "the public sees hidden lots"
    (mine,) = open_orders(api, maker)
    assert (mine.quantity_lots, mine.terms.display_lots) == (10, 3)
    assert mine.type == wire.ORDER_TYPE_LIMIT

    taken = api.place(taker, buy(market, 100, 5, time_in_force=wire.TIME_IN_FORCE_IOC))
    assert taken.filled_lots == 5, "hidden lots do not trade"
    assert levels(api.book(market).asks) == [(100, 1)]
    assert levels(next(feed).delta.asks) == [(100, 1)]
    feed.cancel()


def test_post_only_slides_or_is_refused(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("SLDA")
    trader = operator.trader("SLDA", "USDT")
    api.place(trader, sell(market, 100, 5))
    said = refused(lambda: api.place(trader, buy(market, 101, 5, post_only=True)))
    assert (said.reason, said.field) == ("POST_ONLY_WOULD_TAKE", "post_only")
    slid = api.place(trader, buy(market, 101, 5, post_only=True, terms=terms(slide=True)))
    assert slid.status == pb.ORDER_STATUS_OPEN
    assert levels(api.book(market).bids) == [(99, 5)]
    said = refused(lambda: api.place(trader, buy(market, 99, 5, terms=terms(slide=True))))
    assert (said.reason, said.field) == ("FIELD_INVALID", "slide")


def test_a_minimum_quantity(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("MINA")
    trader = operator.trader("MINA", "USDT")
    api.place(trader, sell(market, 100, 5))
    said = refused(lambda: api.place(trader, buy(market, 100, 8, terms=terms(min_lots=6))))
    assert (said.reason, said.field) == ("MIN_QUANTITY_UNFILLABLE", "min_lots")
    taken = api.place(trader, buy(market, 100, 8, terms=terms(min_lots=5)))
    assert (taken.filled_lots, taken.remaining_lots) == (5, 3)


def test_self_trade_prevention_of_an_account_and_of_a_group(
    api: Wire, operator: OperatorWire
) -> None:
    market = operator.open_market("STPA")
    one, other = operator.trader("STPA", "USDT"), operator.trader("STPA", "USDT")
    newest = terms(self_trade_prevention=STP.Value("SELF_TRADE_PREVENTION_CANCEL_NEWEST"))
    oldest = terms(self_trade_prevention=STP.Value("SELF_TRADE_PREVENTION_CANCEL_OLDEST"))
    resting = api.place(one, sell(market, 100, 5))
    mine = api.place(one, buy(market, 100, 2, terms=newest))
    assert (mine.status, mine.filled_lots) == (pb.ORDER_STATUS_CANCELLED, 0)
    assert api.place(other, buy(market, 100, 2, terms=newest)).filled_lots == 2
    for trader in (one, other):
        request = admin_pb2.SetSelfTradeGroupRequest(account_id=trader.account_id, group=7)
        operator.call("SetSelfTradeGroup", request)
    assert api.account(other).self_trade_group == 7
    theirs = api.place(other, buy(market, 100, 2, terms=oldest))
    assert (theirs.status, theirs.filled_lots) == (pb.ORDER_STATUS_OPEN, 0)
    assert resting.order_id not in {each.order_id for each in open_orders(api, one)}


def test_limits_of_a_market(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("LIMA")
    trader, other = operator.trader("LIMA", "USDT"), operator.trader("LIMA", "USDT")
    said = refused(lambda: limits(operator, market, price_band_ppm=1_000_001))
    assert (said.reason, said.field) == ("FIELD_INVALID", "price_band_ppm")
    changed = limits(
        operator,
        market,
        protection_ticks=5,
        price_band_ppm=100_000,
        notional_min_atoms=1_000_000,
        notional_max_atoms=10_000_000,
    )
    assert (changed.protection_ticks, changed.price_band_ppm) == (5, 100_000)
    (listed,) = [
        each
        for each in api.matching.ListMarkets(
            matching_pb2.ListMarketsRequest(page_size=1_000)
        ).markets
        if each.market_id == market
    ]
    assert listed == changed
    said = refused(lambda: api.place(trader, buy(market, 100, 9)))
    assert (said.reason, said.field) == ("NOTIONAL_OUT_OF_RANGE", "quantity_lots")
    api.batch(trader, *[sell(market, price, 10) for price in (100, 105, 106)])
    crossing = buy(market, 0, 30, type=wire.ORDER_TYPE_MARKET)
    swept = api.place(other, crossing)
    assert (swept.status, swept.filled_lots) == (pb.ORDER_STATUS_EXPIRED, 20)
    said = refused(lambda: api.place(trader, buy(market, 94, 50)))
    assert (said.reason, said.field) == ("PRICE_OUT_OF_BAND", "price_ticks")
    (now,) = [
        each
        for each in api.matching.ListMarkets(
            matching_pb2.ListMarketsRequest(page_size=1_000)
        ).markets
        if each.market_id == market
    ]
    assert now.last_price_ticks == 105


def test_a_phased_batch(api: Wire, operator: OperatorWire) -> None:
    """A quote is moved through where it was: the cancel comes first, wherever it stands."""
    market = operator.open_market("PHSA")
    trader = operator.trader("PHSA", "USDT")
    api.place(trader, sell(market, 100, 5, client_order_id=1))
    batch = batch_of(
        sell(market, 105, 5, post_only=True, client_order_id=2),
        buy(market, 101, 5, post_only=True, client_order_id=3),
        wire.OrderCancel(client_order_id=1),
    )
    batch.phased = True
    answer = api.orders.SubmitBatch(
        pb.SubmitBatchRequest(envelope=trader.envelope(batch=batch)), timeout=CALL_SECONDS
    )
    assert [(each.client_order_id, each.status) for each in answer.results] == [
        (2, pb.ORDER_STATUS_OPEN),
        (3, pb.ORDER_STATUS_OPEN),
        (1, pb.ORDER_STATUS_CANCELLED),
    ]


def test_cancels_of_one_side(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("SIDA")
    trader = operator.trader("SIDA", "USDT")
    bid, ask = (api.place(trader, each(market, 100 + at, 5)) for each, at in ((buy, 0), (sell, 9)))
    assert cancelled(api, trader, side=wire.SIDE_SELL) == [ask.order_id]
    assert [each.order_id for each in open_orders(api, trader)] == [bid.order_id]


def test_an_operator_cancels_in_a_halted_market(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("HLTA")
    traders = [operator.trader("HLTA", "USDT") for _ in range(2)]
    for trader in traders:
        api.batch(trader, buy(market, 90, 5), sell(market, 100, 5))
    halt = admin_pb2.SetMarketStatusRequest(
        market_id=market, status=matching_pb2.MARKET_STATUS_HALTED
    )
    operator.call("SetMarketStatus", halt)
    assert not cancelled(api, traders[0])

    def cancel(**named: Any) -> int:
        answer = operator.call("CancelOrders", admin_pb2.CancelOrdersRequest(**named))
        count: int = answer.cancelled_count
        return count

    assert cancel(account_id=traders[0].account_id, market_id=market, side=wire.SIDE_BUY) == 1
    assert cancel(market_id=market) == 3
    assert not any(open_orders(api, trader) for trader in traders)
    assert api.balances(traders[0])["USDT"] == (FUNDS_ATOMS, 0)
    # An empty request is a mistake, not the end of every order.
    for named in ({}, {"side": wire.SIDE_BUY}, {"market_id": market, "everything": True}):
        assert refused(partial(cancel, **named)).field == "everything"
    said = refused(lambda: cancel(account_id="0" * 22))
    assert (said.reason, said.field) == ("UNKNOWN_ACCOUNT", "account_id")


def test_orders_end_with_the_session_that_asked_for_it(api: Wire, operator: OperatorWire) -> None:
    """By its last word, and by a client that goes away in the middle."""
    market = operator.open_market("DISA")
    trader = operator.trader("DISA", "USDT")

    def request(price_ticks: int, **more: Any) -> pb.OrderStreamRequest:
        envelope = trader.envelope(place=buy(market, price_ticks, 1))
        return pb.OrderStreamRequest(envelope=envelope, **more)

    asked = [request(10, cancel_on_disconnect=True), request(11)]
    answers = list(api.orders.OrderStream(iter(asked), timeout=CALL_SECONDS))
    assert [answer.results[0].status for answer in answers] == [pb.ORDER_STATUS_OPEN] * 2
    wait_until(lambda: not open_orders(api, trader), "the end of orders after a last word")

    stays = threading.Event()

    def session() -> Iterator[pb.OrderStreamRequest]:
        yield request(12, cancel_on_disconnect=True)
        stays.wait(CALL_SECONDS)

    call = api.orders.OrderStream(session(), timeout=CALL_SECONDS)
    assert next(call).results[0].status == pb.ORDER_STATUS_OPEN
    assert len(open_orders(api, trader)) == 1
    call.cancel()
    stays.set()
    wait_until(lambda: not open_orders(api, trader), "the end of orders of a cancelled call")
    # Who did not ask keeps them.
    list(api.orders.OrderStream(iter([request(13)]), timeout=CALL_SECONDS))
    assert len(open_orders(api, trader)) == 1


CLIENT = """
import sys
from dexsdk import Key, NewOrder, Side, SyncClient
address, network_id, key, account_id, market = sys.argv[1:]
client = SyncClient(address, network_id=network_id, key=Key.load(key), account_id=account_id)
with client, client.order_stream(cancel_on_disconnect=True) as stream:
    stream.send(NewOrder(market, Side.BUY, 1, 10))
    print(stream.receive().results[0].status, flush=True)
    sys.stdin.read()
"""


def test_orders_end_with_a_client_that_is_killed(
    served: NodeProcess, api: Wire, operator: OperatorWire, tmp_path: Path
) -> None:
    market = operator.open_market("DISB")
    trader = operator.trader("DISB", "USDT")
    trader.key.save(tmp_path / "key")
    client = subprocess.Popen(
        [
            *(sys.executable, "-c", CLIENT, served.grpc_address, served.network_id),
            *(str(tmp_path / "key"), trader.account_id, market),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with client:
        assert client.stdout is not None
        assert client.stdout.readline() == f"{pb.ORDER_STATUS_OPEN}\n"
        assert len(open_orders(api, trader)) == 1
        client.kill()
    wait_until(lambda: not open_orders(api, trader), "the end of orders of a killed client")


@pytest.mark.parametrize(
    ("more", "said", "reason", "field"),
    [
        ({}, {"display_lots": 11}, "FIELD_INVALID", "display_lots"),
        ({}, {"min_lots": 11}, "FIELD_INVALID", "min_lots"),
        ({}, {"trigger_price_ticks": 5}, "FIELD_INVALID", "trigger_price_ticks"),
        ({}, {"trail_ticks": 5}, "FIELD_INVALID", "trail_ticks"),
        ({}, {"peg": wire.PEG_REFERENCE_PRIMARY}, "FIELD_INVALID", "peg"),
        ({}, {"peg_offset_ticks": -5}, "FIELD_INVALID", "peg_offset_ticks"),
        ({}, {"expire_time": Timestamp(seconds=2**32)}, "FIELD_INVALID", "expire_time"),
        ({}, {"slide": True}, "FIELD_INVALID", "slide"),
        (
            {"time_in_force": wire.TIME_IN_FORCE_FOK},
            {"display_lots": 3},
            "TIME_IN_FORCE_INVALID",
            "time_in_force",
        ),
    ],
)
def test_what_makes_no_sense_is_named(
    api: Wire,
    operator: OperatorWire,
    more: dict[str, Any],
    said: dict[str, Any],
    reason: str,
    field: str,
) -> None:
    market = operator.open_market("BADA")
    trader = operator.trader("BADA", "USDT")
    order = buy(market, 100, 10, **more, terms=terms(**said))
    answer = refused(lambda: api.place(trader, order))
    assert (answer.reason, answer.field) == (reason, field)
    assert answer.message.startswith(field)
    (result,) = api.batch(trader, order)
    assert (errors_pb2.ErrorReason.Name(result.rejection.reason)[13:], result.rejection.field) == (
        reason,
        field,
    )
    dry = api.orders.CheckOrder(
        pb.CheckOrderRequest(account_id=trader.account_id, order=order), metadata=trader.token()
    )
    assert dry.rejection.field == field
