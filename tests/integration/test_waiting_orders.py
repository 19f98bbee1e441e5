"""Orders that wait, and call auctions, over a real node."""

from __future__ import annotations

from dex.admin.v1 import admin_pb2
from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as wire
from tests.support.wire import OperatorWire, Wire, buy, sell


def test_an_account_sees_the_trigger_of_a_trailing_stop_move(
    api: Wire, operator: OperatorWire
) -> None:
    market = operator.open_market("TRLA")
    trader, other = operator.trader("TRLA", "USDT"), operator.trader("TRLA", "USDT")
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


def test_an_auction_trades_at_one_price_when_it_ends(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("AUCA")
    buyer, seller = operator.trader("AUCA", "USDT"), operator.trader("AUCA", "USDT")

    def phase(status: matching_pb2.MarketStatus.ValueType) -> None:
        request = admin_pb2.SetMarketStatusRequest(market_id=market, status=status)
        operator.call("SetMarketStatus", request)

    phase(matching_pb2.MARKET_STATUS_OPENING_AUCTION)
    api.place(buyer, buy(market, 105, 5))
    api.place(buyer, buy(market, 104, 5, time_in_force=wire.TIME_IN_FORCE_AT_OPEN))
    assert api.place(seller, sell(market, 100, 7)).filled_lots == 0
    phase(matching_pb2.MARKET_STATUS_OPEN)
    assert not api.account(buyer).open_orders
    assert not api.account(seller).open_orders
    request = matching_pb2.ListTradesRequest(market_id=market, page_size=10)
    trades = api.matching.ListTrades(request, timeout=10).trades
    assert sorted((each.price_ticks, each.quantity_lots) for each in trades) == [(100, 2), (100, 5)]
