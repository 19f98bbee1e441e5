"""`dex backtest` on the journal of a node that runs: the trades its clients were told."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq

from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from tests.support.command_line import call_dex
from tests.support.node_process import NodeProcess
from tests.support.wire import CALL_SECONDS, OperatorWire, Wire, buy, sell

# Of a market that OperatorWire opens; its tick is 1.
LOT = Decimal("0.00001")


def test_a_journal_gives_the_trades_of_its_node(
    served: NodeProcess, api: Wire, operator: OperatorWire, tmp_path: Path
) -> None:
    market = operator.open_market("BTST")
    maker, taker = operator.trader("BTST", "USDT"), operator.trader("BTST", "USDT")
    api.place(maker, sell(market, 105, 10))
    api.place(maker, sell(market, 103, 7))
    api.place(taker, buy(market, 105, 12))
    # Nobody lacks funds in a backtest of another's stream; in a journal they do.
    poor = api.open_account()
    assert api.batch(poor, buy(market, 105, 1))[0].status == pb.ORDER_STATUS_REJECTED
    request = matching_pb2.ListTradesRequest(market_id=market)
    told = api.matching.ListTrades(request, timeout=CALL_SECONDS).trades
    journal = served.data_dir / "journal"
    done = call_dex("backtest", str(journal), "--output", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["format"] == "journal"
    assert report["refused"]["INSUFFICIENT_FUNDS"] >= 1
    (mine,) = [each for each in report["markets"] if each["market"] == market]
    assert mine["fill_count"] == len(told) == 2
    assert mine["end"]["order_count"] == 1
    rows = pq.read_table(tmp_path / "out" / "fills.parquet").drop(["time"]).to_pydict()
    fills = [
        (rows["trade_sequence"][i], rows["price"][i], rows["quantity"][i] / LOT)
        for i in range(len(rows["market"]))
        if rows["market"][i] == market
    ]
    assert fills == [(each.trade_sequence, each.price_ticks, each.quantity_lots) for each in told]
