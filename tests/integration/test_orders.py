"""Orders through stock grpcio clients: fills, fees, money, retries, batches, streams."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import grpc
import pytest

from dex.accounts.v1 import accounts_pb2
from dex.errors.v1 import errors_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as wire
from tests.support.node_process import NodeProcess
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

ATOMS_PER_TICK_LOT = 1_000
BASE_ATOMS_PER_LOT = 1_000


def fee(*parts: tuple[int, int, int]) -> int:
    """The fee of one order in quote atoms: the exact sum over (ticks, lots, ppm), rounded up."""
    exact = sum(ticks * lots * ATOMS_PER_TICK_LOT * ppm for ticks, lots, ppm in parts)
    return -(-exact // 1_000_000)


def test_fills_fees_and_ledger(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("ORDA")
    maker, taker = operator.trader("ORDA", "USDT"), operator.trader("ORDA", "USDT")
    first = api.place(maker, sell(market, 105, 10, client_order_id=1))
    second = api.place(maker, sell(market, 103, 7))
    assert (first.status, first.client_order_id, first.remaining_lots) == (
        pb.ORDER_STATUS_OPEN,
        1,
        10,
    )
    taken = api.place(taker, buy(market, 105, 20))
    assert taken.status == pb.ORDER_STATUS_PARTIALLY_FILLED
    assert (taken.filled_lots, taken.remaining_lots) == (17, 3)
    assert [(f.trade_sequence, f.price_ticks, f.quantity_lots) for f in taken.fills] == [
        (1, 103, 7),
        (2, 105, 10),
    ]
    # An order pays its exact sum rounded up once, not once a fill.
    first_fee, both_fees = fee((103, 7, 200)), fee((103, 7, 200), (105, 10, 200))
    assert [f.fee_atoms for f in taken.fills] == [first_fee, both_fees - first_fee]
    paid = (103 * 7 + 105 * 10) * ATOMS_PER_TICK_LOT
    maker_fees = fee((103, 7, 100)) + fee((105, 10, 100))
    assert api.balances(maker) == {
        "ORDA": (FUNDS_ATOMS - 17 * BASE_ATOMS_PER_LOT, 0),
        "USDT": (FUNDS_ATOMS + paid - maker_fees, 0),
    }
    available, held = api.balances(taker)["USDT"]
    assert available + held == FUNDS_ATOMS - paid - both_fees
    # The rest of three lots can only be a maker: it holds the notional and that fee.
    rest_fee = fee((103, 7, 200), (105, 10, 200), (105, 3, 100)) - both_fees
    assert held == 3 * 105 * ATOMS_PER_TICK_LOT + rest_fee
    (resting,) = api.account(taker).open_orders
    assert (resting.order_id, resting.price_ticks) == (taken.order_id, 105)
    assert (resting.quantity_lots, resting.filled_lots) == (20, 17)
    book = api.book(market)
    assert [(each.price_ticks, each.quantity_lots) for each in book.bids] == [(105, 3)]
    assert not book.asks

    entries = api.accounts.ListLedgerEntries(
        accounts_pb2.ListLedgerEntriesRequest(account_id=taker.account_id),
        metadata=taker.token(),
    ).entries
    moved = [(e.kind, e.asset_id, e.amount_atoms) for e in entries if e.reference == taken.order_id]
    assert sorted(moved) == sorted(
        [
            (accounts_pb2.LEDGER_ENTRY_KIND_TRADE, "ORDA", 7 * BASE_ATOMS_PER_LOT),
            (accounts_pb2.LEDGER_ENTRY_KIND_TRADE, "USDT", -103 * 7 * ATOMS_PER_TICK_LOT),
            (accounts_pb2.LEDGER_ENTRY_KIND_FEE, "USDT", -first_fee),
            (accounts_pb2.LEDGER_ENTRY_KIND_TRADE, "ORDA", 10 * BASE_ATOMS_PER_LOT),
            (accounts_pb2.LEDGER_ENTRY_KIND_TRADE, "USDT", -105 * 10 * ATOMS_PER_TICK_LOT),
            (accounts_pb2.LEDGER_ENTRY_KIND_FEE, "USDT", first_fee - both_fees),
        ]
    )
    for asset_id, (free, kept) in api.balances(taker).items():
        total = sum(entry.amount_atoms for entry in entries if entry.asset_id == asset_id)
        assert total == free + kept
    assert len({first.order_id, second.order_id, taken.order_id}) == 3


def test_amend_cancel_and_cancel_all(api: Wire, operator: OperatorWire) -> None:
    one, two = operator.open_market("ORDB"), operator.open_market("ORDC")
    trader = operator.trader("ORDB", "ORDC", "USDT")
    placed = api.place(trader, buy(one, 100, 10, client_order_id=5))
    amended = api.orders.AmendOrder(
        pb.AmendOrderRequest(
            envelope=trader.envelope(
                amend=wire.OrderAmend(client_order_id=5, quantity_lots=4, price_ticks=99)
            )
        )
    ).result
    assert (amended.order_id, amended.remaining_lots) == (placed.order_id, 4)
    assert [(b.price_ticks, b.quantity_lots) for b in api.book(one).bids] == [(99, 4)]
    cancelled = api.orders.CancelOrder(
        pb.CancelOrderRequest(
            envelope=trader.envelope(cancel=wire.OrderCancel(order_id=placed.order_id))
        )
    ).result
    assert cancelled.status == pb.ORDER_STATUS_CANCELLED
    assert not api.book(one).bids
    ids = [api.place(trader, buy(market, 50, 1)).order_id for market in (one, two, one, two)]
    in_one = cancel_all(api, trader, one)
    assert [each.order_id for each in in_one] == [ids[0], ids[2]]
    assert [each.order_id for each in cancel_all(api, trader, "")] == [ids[1], ids[3]]
    assert api.balances(trader)["USDT"] == (FUNDS_ATOMS, 0)


def cancel_all(api: Wire, trader: Signer, market_id: str) -> list[pb.OrderResult]:
    envelope = trader.envelope(cancel_all=wire.OrderCancelAll(market_id=market_id))
    return list(api.orders.CancelAll(pb.CancelAllRequest(envelope=envelope)).results)


def test_a_batch_answers_item_by_item(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("ORDD")
    trader = operator.trader("ORDD", "USDT")
    results = api.batch(
        trader,
        buy(market, 10, 5, client_order_id=1),
        buy("NO-SUCH", 10, 5, client_order_id=2),
        wire.OrderAmend(client_order_id=1, quantity_lots=3),
        buy(market, 10, 5, client_order_id=1),
        wire.OrderCancel(client_order_id=1),
        wire.OrderCancel(client_order_id=1),
    )
    assert [r.status for r in results] == [
        pb.ORDER_STATUS_OPEN,
        pb.ORDER_STATUS_REJECTED,
        pb.ORDER_STATUS_OPEN,
        pb.ORDER_STATUS_REJECTED,
        pb.ORDER_STATUS_CANCELLED,
        pb.ORDER_STATUS_REJECTED,
    ]
    assert [(r.rejection.reason, r.rejection.field) for r in results if not r.order_id] == [
        (errors_pb2.ERROR_REASON_UNKNOWN_MARKET, "market_id"),
        (errors_pb2.ERROR_REASON_CLIENT_ORDER_ID_IN_USE, "client_order_id"),
        (errors_pb2.ERROR_REASON_UNKNOWN_ORDER, "client_order_id"),
    ]
    thousand = api.batch(trader, *[buy(market, 1 + n, 1) for n in range(1_000)])
    assert len({r.order_id for r in thousand}) == 1_000
    assert api.account(trader).open_order_count == 1_000
    assert len(cancel_all(api, trader, "")) == 1_000


def test_a_retried_envelope_gets_the_first_result(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("ORDE")
    trader = operator.trader("ORDE", "USDT")
    api.place(operator.trader("ORDE", "USDT"), sell(market, 10, 3))
    request = pb.PlaceOrderRequest(envelope=trader.envelope(place=buy(market, 10, 5)))
    first = api.orders.PlaceOrder(request)
    assert first.result.filled_lots == 3
    cancel_all(api, trader, "")
    assert api.orders.PlaceOrder(request) == first
    assert api.account(trader).open_order_count == 0
    # A refusal is a first result too: money that came later does not change it.
    poor = api.open_account()
    late = pb.PlaceOrderRequest(envelope=poor.envelope(place=buy(market, 10, 5)))
    before = refused(lambda: api.orders.PlaceOrder(late))
    assert before.reason == "INSUFFICIENT_FUNDS"
    operator.fund(poor, "USDT")
    assert refused(lambda: api.orders.PlaceOrder(late)) == before
    assert api.place(poor, buy(market, 10, 5)).status == pb.ORDER_STATUS_OPEN


def test_check_order_says_what_placing_would_do(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("ORDF")
    maker, trader = operator.trader("ORDF", "USDT"), operator.trader("ORDF", "USDT")
    api.batch(maker, sell(market, 10, 3), sell(market, 11, 3))

    def check(order: wire.NewOrder) -> pb.CheckOrderResponse:
        answer: pb.CheckOrderResponse = api.orders.CheckOrder(
            pb.CheckOrderRequest(account_id=trader.account_id, order=order),
            metadata=trader.token(),
        )
        return answer

    order = buy(market, 11, 10)
    said = check(order)
    assert not said.HasField("rejection")
    assert (said.reserve_asset_id, said.fillable_lots) == ("USDT", 6)
    assert said.fillable_notional_atoms == (30 + 33) * ATOMS_PER_TICK_LOT
    assert said.reserve_atoms == 110 * ATOMS_PER_TICK_LOT + fee((11, 10, 200))
    assert said.sequence > 0
    done = api.place(trader, order)
    assert done.filled_lots == said.fillable_lots
    bad = check(buy(market, 11, 10**12))
    assert bad.rejection.reason == errors_pb2.ERROR_REASON_INSUFFICIENT_FUNDS
    unknown = check(buy("NO-SUCH", 11, 10))
    assert unknown.rejection.reason == errors_pb2.ERROR_REASON_UNKNOWN_MARKET


def test_looking_at_an_order_shows_no_new_balance(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("ORDZ")
    trader = operator.trader("USDT")
    before = api.balances(trader)
    question = pb.CheckOrderRequest(account_id=trader.account_id, order=buy(market, 11, 1))
    assert not api.orders.CheckOrder(question, metadata=trader.token()).HasField("rejection")
    assert api.balances(trader) == before, "an answer that a restart takes back"


def stream(api: Wire, envelopes: list[wire.SignedEnvelope | None]) -> list[pb.OrderStreamResponse]:
    """All answers of a stream of envelopes; None is a request without one."""
    requests: Iterator[pb.OrderStreamRequest] = iter(
        [pb.OrderStreamRequest(envelope=envelope) for envelope in envelopes]
    )
    return list(api.orders.OrderStream(requests, timeout=CALL_SECONDS))


def test_an_order_stream_answers_bad_between_good(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("ORDG")
    trader = operator.trader("ORDG", "USDT")
    order = buy(market, 10, 1)
    payloads = [trader.payload(place=order) for _ in range(4)]
    good = [trader.sign(payload.SerializeToString()) for payload in payloads]
    forged = trader.envelope(place=order)
    forged.signature = bytes(64)
    answers = stream(
        api,
        [
            good[0],
            None,
            forged,
            good[1],
            trader.sign(b"\xff\xff no payload"),
            trader.envelope(register_key=wire.KeyRegistration(public_key=bytes(32))),
            good[2],
            trader.envelope(batch=wire.Batch()),
            good[0],
            good[3],
            trader.envelope(cancel_all=wire.OrderCancelAll()),
        ],
    )
    reasons = [errors_pb2.ErrorReason.Name(a.rejection.reason)[13:] for a in answers]
    assert reasons == [
        "UNSPECIFIED",
        "SIGNATURE_INVALID",
        "SIGNATURE_INVALID",
        "UNSPECIFIED",
        "MALFORMED_MESSAGE",
        "ACTION_MISMATCH",
        "UNSPECIFIED",
        "BATCH_SIZE",
        "UNSPECIFIED",
        "UNSPECIFIED",
        "UNSPECIFIED",
    ]
    accepted = [answers[index] for index in (0, 3, 6, 9)]
    assert [a.nonce for a in accepted] == [payload.nonce for payload in payloads]
    assert len({a.results[0].order_id for a in accepted}) == 4
    assert answers[8] == answers[0]
    assert len(answers[10].results) == 4


def test_a_long_stream_keeps_its_order(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("ORDH")
    trader = operator.trader("ORDH", "USDT")
    payloads = [
        trader.payload(batch=batch_of(buy(market, 1 + n % 50, 1), buy(market, 7, 1)))
        if n % 3
        else trader.payload(place=buy(market, 1 + n % 50, 1))
        for n in range(600)
    ]
    answers = stream(api, [trader.sign(payload.SerializeToString()) for payload in payloads])
    assert [a.nonce for a in answers] == [payload.nonce for payload in payloads]
    sequences = [a.applied.sequence for a in answers]
    assert sequences == sorted(set(sequences))
    total = sum(len(a.results) for a in answers)
    assert api.account(trader).open_order_count == total
    assert sum(level.quantity_lots for level in api.book(market).bids) == total


AIO_CLIENT = """
import asyncio, sys
import grpc
from dex.orders.v1 import order_intake_pb2 as pb, order_intake_pb2_grpc as rpc
from dex.orders.v1 import signed_payload_pb2 as wire

async def main(address, path):
    envelopes = [
        wire.SignedEnvelope.FromString(bytes.fromhex(line)) for line in open(path).read().split()
    ]
    async with grpc.aio.insecure_channel(address) as channel:
        stub = rpc.OrderIntakeStub(channel)
        calls = [stub.PlaceOrder(pb.PlaceOrderRequest(envelope=e)) for e in envelopes[:20]]
        unary = [(await call).result.order_id for call in calls]
        stream = stub.OrderStream()
        for envelope in envelopes[20:]:
            await stream.write(pb.OrderStreamRequest(envelope=envelope))
        await stream.done_writing()
        streamed = [answer.results[0].order_id async for answer in stream]
        assert await stream.code() == grpc.StatusCode.OK
    print("\\n".join(unary + streamed))

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_stock_aio_client_in_another_process(
    served: NodeProcess,
    api: Wire,
    operator: OperatorWire,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    market = operator.open_market("ORDI")
    trader = operator.trader("ORDI", "USDT")
    envelopes = [trader.envelope(place=buy(market, 5, 1)) for _ in range(40)]
    path = tmp_path_factory.mktemp("aio") / "envelopes"
    path.write_text("\n".join(each.SerializeToString().hex() for each in envelopes))
    done = subprocess.run(
        [sys.executable, "-c", AIO_CLIENT, served.grpc_address, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    shown = {order.order_id for order in api.account(trader).open_orders}
    assert set(done.stdout.split()) == shown
    assert len(shown) == 40


def test_a_deadline_ends_a_silent_stream_alone(api: Wire, operator: OperatorWire) -> None:
    market = operator.open_market("ORDJ")
    trader = operator.trader("ORDJ", "USDT")
    over = threading.Event()

    def silence() -> Iterator[pb.OrderStreamRequest]:
        over.wait(CALL_SECONDS)
        yield from ()

    refusal = refused(lambda: list(api.orders.OrderStream(silence(), timeout=0.2)))
    over.set()
    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert api.place(trader, buy(market, 5, 1)).status == pb.ORDER_STATUS_OPEN
