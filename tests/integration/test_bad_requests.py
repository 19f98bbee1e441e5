"""Requests that are no orders: malformed, oversized, unknown, empty, out of range, unauthorized."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from dex.accounts.v1 import accounts_pb2
from dex.admin.v1 import admin_pb2
from dex.kline.v1 import kline_query_pb2
from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dexnode.services.binding import SERVED
from tests.support.node_process import NodeProcess
from tests.support.wire import (
    ACCEPTED,
    CALL_SECONDS,
    Metadata,
    OperatorWire,
    Refusal,
    Wire,
    answer,
    refused,
    token,
)

INT64_MAX = 2**63 - 1
INVALID = StatusCode.INVALID_ARGUMENT
NS = 10**9
# Streams and what an empty request is enough for.
NEEDS_NOTHING = {
    "ListMarkets",
    "ListPools",
    "TakeSnapshot",
    "Drain",
    "GetNodeStatus",
    "GetSignedTreeHead",
    "StreamSignedTreeHeads",
    "ListAuditEntries",
}


def raw(api: Wire, path: str, data: bytes, metadata: Metadata = ()) -> Callable[[], object]:
    """A call of exact request bytes; a client of any kind of method."""
    method: Any = api.channel.stream_stream(path)
    return lambda: list(method(iter([data]), metadata=metadata, timeout=CALL_SECONDS))


def _any(value: Any) -> Any:
    """What has no useful types."""
    return value


def methods() -> Iterator[MethodDescriptor]:
    for service in SERVED:
        yield from service.methods


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def test_every_method_refuses_bytes_that_are_no_message(api: Wire, operator: OperatorWire) -> None:
    for method in methods():
        if method.client_streaming:
            continue
        said = answer(raw(api, path_of(method), b"\xff\xff\xff", operator.metadata))
        assert (said.code, said.reason) == (INVALID, "MALFORMED_MESSAGE"), (method.name, said)
    (answered,) = _any(api.channel).stream_stream(
        "/dex.orders.v1.OrderIntake/OrderStream",
        response_deserializer=pb.OrderStreamResponse.FromString,
    )(iter([b"\xff\xff\xff"]), timeout=CALL_SECONDS)
    assert answered.nonce == 0
    assert answered.HasField("rejection")
    assert operator.status().network_id == api.network_id


def test_every_method_survives_an_empty_request(api: Wire, operator: OperatorWire) -> None:
    for method in methods():
        if method.client_streaming or method.name in NEEDS_NOTHING:
            continue
        said = answer(raw(api, path_of(method), b"", operator.metadata))
        assert (said.code, said.reason) == (INVALID, "FIELD_INVALID"), (method.name, said)
        asked = GetMessageClass(method.input_type).DESCRIPTOR
        assert said.field in {*asked.fields_by_name, *asked.oneofs_by_name}
    assert operator.status().network_id == api.network_id


def test_an_oversized_message(api: Wire, operator: OperatorWire) -> None:
    """Refused by its length, before it is read: a bare status without ErrorInfo. grpc.aio refuses
    it below all our code, and a reason that only one backend gives would be no contract."""
    huge = b"\0" * (4 * 1024 * 1024 + 1)
    said = refused(raw(api, "/dex.orders.v1.OrderIntake/PlaceOrder", huge))
    assert said.code is StatusCode.RESOURCE_EXHAUSTED
    said = refused(raw(api, "/dex.orders.v1.OrderIntake/OrderStream", huge))
    assert said.code is StatusCode.RESOURCE_EXHAUSTED
    assert operator.status().network_id == api.network_id


def test_unknown_methods_and_drafted_services(api: Wire) -> None:
    """Nobody's call to refuse with a reason: the server knows no such method, and says so."""
    for path in (
        "/dex.orders.v1.OrderIntake/NoSuch",
        "/no.such.Service/Method",
        "/dex.risk.v1alpha1.Risk/GetMargin",
        "/dex.settlement.v1alpha1.Settlement/GetSwap",
        "/dex.matching.v1alpha1.Matching/RequestQuote",
    ):
        assert refused(raw(api, path, b"")).code is StatusCode.UNIMPLEMENTED, path


# --- operators' requests

Cases = dict[str, tuple[str, Message, StatusCode, str, str]]


def market(base: str = "BRA", **more: Any) -> admin_pb2.CreateMarketRequest:
    return admin_pb2.CreateMarketRequest(
        market=matching_pb2.Market(
            **{
                "market_id": f"{base}-USDT",
                "base_asset": matching_pb2.Asset(asset_id=base, scale=8),
                "quote_asset": matching_pb2.Asset(asset_id="USDT", scale=8),
                "quote_atoms_per_tick_lot": 1_000,
                "base_atoms_per_lot": 1_000,
                "kind": matching_pb2.MARKET_KIND_ORDER_BOOK,
                **more,
            }
        )
    )


def asset(name: str, scale: int = 8) -> matching_pb2.Asset:
    return matching_pb2.Asset(asset_id=name, scale=scale)


MARKET_CASES: dict[str, tuple[admin_pb2.CreateMarketRequest, StatusCode, str, str]] = {
    "inexact units": (
        market(base_atoms_per_lot=7),
        *(INVALID, "SCALE_INEXACT", "market.quote_atoms_per_tick_lot"),
    ),
    "zero units": (
        market(base_atoms_per_lot=0),
        *(INVALID, "FIELD_INVALID", "market.base_atoms_per_lot"),
    ),
    "negative units": (
        market(quote_atoms_per_tick_lot=-1),
        *(INVALID, "FIELD_INVALID", "market.quote_atoms_per_tick_lot"),
    ),
    "scale of 19": (
        market(base_asset=asset("BRA", 19)),
        *(INVALID, "FIELD_INVALID", "market.base_asset.scale"),
    ),
    "scale below zero": (
        market(quote_asset=asset("USDT", -1)),
        *(INVALID, "FIELD_INVALID", "market.quote_asset.scale"),
    ),
    "asset of another scale": (
        market(quote_asset=asset("USDT", 6)),
        *(StatusCode.FAILED_PRECONDITION, "ASSET_MISMATCH", "market.quote_asset"),
    ),
    "id of other assets": (
        market(market_id="ABC-USDT"),
        *(INVALID, "FIELD_INVALID", "market.market_id"),
    ),
    "id with a blank": (
        market(market_id="B A-USDT"),
        *(INVALID, "FIELD_INVALID", "market.market_id"),
    ),
    "one asset": (
        market(quote_asset=asset("BRA"), market_id="BRA-BRA"),
        *(INVALID, "FIELD_INVALID", "market.quote_asset.asset_id"),
    ),
    "fee over a tenth": (
        market(maker_fee_ppm=100_001),
        *(INVALID, "FIELD_INVALID", "market.maker_fee_ppm"),
    ),
    "negative fee": (
        market(taker_fee_ppm=-1),
        *(INVALID, "FIELD_INVALID", "market.taker_fee_ppm"),
    ),
    "no kind": (market(kind=0), INVALID, "FIELD_INVALID", "market.kind"),
    "unknown kind": (market(kind=9), INVALID, "FIELD_INVALID", "market.kind"),
    "negative increment": (
        market(price_increment_ticks=-1),
        *(INVALID, "FIELD_INVALID", "market.price_increment_ticks"),
    ),
    "another market of that id": (
        market("BRB", maker_fee_ppm=7),
        *(StatusCode.ALREADY_EXISTS, "MARKET_EXISTS", "market.market_id"),
    ),
}


def test_bad_markets(api: Wire, operator: OperatorWire) -> None:
    operator.call("CreateMarket", market("BRB"))
    wrong = []
    for name, (request, *expected) in MARKET_CASES.items():
        said = answer(operator.call, "CreateMarket", request)
        if [said.code, said.reason, said.field] != expected:
            wrong.append(f"{name}: {said}")
    assert not wrong, "\n".join(wrong)
    # The greatest numbers the contract allows make a market, and orders on it are refused, typed.
    extreme = operator.call(
        "CreateMarket",
        market(
            "BRX",
            quote_atoms_per_tick_lot=INT64_MAX,
            base_atoms_per_lot=1,
            price_ticks_max=INT64_MAX,
            quantity_lots_max=INT64_MAX,
            maker_fee_ppm=100_000,
            taker_fee_ppm=100_000,
        ),
    ).market
    assert extreme.tick_size
    trader = operator.trader("BRX", "USDT")
    check = pb.CheckOrderRequest(account_id=trader.account_id)
    check.order.market_id = extreme.market_id
    check.order.side = check.order.type = check.order.time_in_force = 1  # type: ignore[assignment]
    check.order.price_ticks = check.order.quantity_lots = INT64_MAX
    verdict = api.orders.CheckOrder(check, metadata=trader.token())
    assert verdict.HasField("rejection")


def booking(kind: type[Any], account_id: str, **more: Any) -> Any:
    return kind(
        **{
            "account_id": account_id,
            "asset_id": "USDT",
            "amount_atoms": 5,
            "reference": f"{account_id}-1",
            **more,
        }
    )


def test_bad_bookings(api: Wire, operator: OperatorWire) -> None:
    operator.open_market("BRC")
    account_id = api.open_account().account_id
    credit, debit = admin_pb2.CreditAccountRequest, admin_pb2.DebitAccountRequest
    operator.call("CreditAccount", booking(credit, account_id))
    state, missing = StatusCode.FAILED_PRECONDITION, StatusCode.NOT_FOUND
    cases: list[tuple[Any, StatusCode, str, str]] = [
        (booking(credit, account_id, amount_atoms=0), INVALID, "FIELD_INVALID", "amount_atoms"),
        (booking(credit, account_id, amount_atoms=-1), INVALID, "FIELD_INVALID", "amount_atoms"),
        (
            booking(credit, account_id, amount_atoms=INT64_MAX, reference="max"),
            *(state, "AMOUNT_OUT_OF_RANGE", "amount_atoms"),
        ),
        (booking(credit, account_id, asset_id="NONE"), missing, "UNKNOWN_ASSET", "asset_id"),
        (booking(credit, "0" * 22), missing, "UNKNOWN_ACCOUNT", "account_id"),
        (booking(credit, "me"), missing, "UNKNOWN_ACCOUNT", "account_id"),
        (
            booking(credit, account_id, amount_atoms=6),
            *(StatusCode.ALREADY_EXISTS, "REFERENCE_REUSED", "reference"),
        ),
        (booking(credit, account_id, reference=""), INVALID, "FIELD_INVALID", "reference"),
        (booking(credit, account_id, reference="r" * 129), INVALID, "FIELD_INVALID", "reference"),
        (
            booking(debit, account_id, amount_atoms=6),
            *(state, "INSUFFICIENT_FUNDS", "amount_atoms"),
        ),
    ]
    for request, *expected in cases:
        name = "CreditAccount" if isinstance(request, credit) else "DebitAccount"
        said = answer(operator.call, name, request)
        assert [said.code, said.reason, said.field] == expected, request


def test_bad_recorded_trades(api: Wire, operator: OperatorWire) -> None:
    external: dict[str, Any] = {
        "kind": matching_pb2.MARKET_KIND_EXTERNAL,
        "market_id": "BR.EXT-USDT",
    }
    market_id = operator.open_market("BRD", **external)
    book = operator.open_market("BRE")

    def record(seconds: int = 1_700_000_000, nanos: int = 0, **more: Any) -> Refusal:
        trade = admin_pb2.ExternalTrade(
            **{
                "external_id": 1,
                "time": Timestamp(seconds=seconds, nanos=nanos),
                "price_ticks": 5,
                "quantity_lots": 5,
                "taker_side": 1,
                **more,
            }
        )
        return answer(
            operator.call,
            "RecordTrades",
            admin_pb2.RecordTradesRequest(market_id=market_id, trades=[trade]),
        )

    def watermark(seconds: int, nanos: int = 0) -> Refusal:
        request = admin_pb2.RecordTradesRequest(market_id=market_id)
        request.watermark_time.seconds, request.watermark_time.nanos = seconds, nanos
        return answer(operator.call, "RecordTrades", request)

    order, ahead = "TRADE_OUT_OF_ORDER", 253_402_300_799
    cases: list[tuple[Refusal, str, str]] = [
        (record(nanos=-1), "FIELD_INVALID", "trades.time"),
        (record(nanos=2 * NS), "FIELD_INVALID", "trades.time"),
        (record(seconds=INT64_MAX), "FIELD_INVALID", "trades.time"),
        (record(seconds=-INT64_MAX), "FIELD_INVALID", "trades.time"),
        (record(seconds=ahead), order, "trades.time"),
        (record(seconds=-1), order, "trades.time"),
        (record(price_ticks=0), "FIELD_INVALID", "trades[0].price_ticks"),
        (record(price_ticks=INT64_MAX), "PRICE_OUT_OF_RANGE", "trades.price_ticks"),
        (record(quantity_lots=INT64_MAX), "QUANTITY_OUT_OF_RANGE", "trades.quantity_lots"),
        (record(taker_side=0), "FIELD_INVALID", "trades[0].taker_side"),
        (record(taker_side=7), "FIELD_INVALID", "trades[0].taker_side"),
        (record(external_id=0), "FIELD_INVALID", "trades[0].external_id"),
        (watermark(ahead), order, "watermark_time"),
        (watermark(INT64_MAX), "FIELD_INVALID", "watermark_time"),
        (watermark(1_700_000_000, -1), "FIELD_INVALID", "watermark_time"),
        (
            answer(operator.call, "RecordTrades", admin_pb2.RecordTradesRequest(market_id=book)),
            *("FIELD_INVALID", "market_id"),
        ),
    ]
    for said, reason, field in cases:
        assert (said.reason, said.field) == (reason, field), said
    assert record() is ACCEPTED
    too_many = admin_pb2.RecordTradesRequest(
        market_id=market_id, trades=[admin_pb2.ExternalTrade()] * 10_001
    )
    said = answer(operator.call, "RecordTrades", too_many)
    assert (said.reason, said.field) == ("FIELD_INVALID", "trades")


def test_bad_queries(api: Wire, operator: OperatorWire) -> None:
    name = operator.open_market("BRF")
    klines: Any = kline_query_pb2.ListKlinesRequest
    book, trades = matching_pb2.GetBookRequest, matching_pb2.ListTradesRequest
    bad_time = Timestamp(seconds=1, nanos=2 * NS)
    cases: list[tuple[Any, Message, str, str]] = [
        (api.klines.ListKlines, klines(market_id=name), "FIELD_INVALID", "interval"),
        (api.klines.ListKlines, klines(market_id=name, interval=9), "FIELD_INVALID", "interval"),
        (
            api.klines.ListKlines,
            klines(market_id=name, interval=1, start_time=bad_time),
            *("FIELD_INVALID", "start_time"),
        ),
        (
            api.klines.ListKlines,
            klines(market_id=name, interval=1, end_time=Timestamp(seconds=1, nanos=-1)),
            *("FIELD_INVALID", "end_time"),
        ),
        (
            api.klines.ListKlines,
            klines(market_id=name, interval=1, end_time=Timestamp(seconds=INT64_MAX)),
            *("FIELD_INVALID", "end_time"),
        ),
        (
            api.klines.ListKlines,
            klines(market_id=name, interval=1, page_size=10_001),
            *("FIELD_INVALID", "page_size"),
        ),
        (
            api.klines.ListKlines,
            klines(market_id=name, interval=1, page_token="x"),
            *("PAGE_TOKEN_INVALID", "page_token"),
        ),
        (api.matching.GetBook, book(market_id="NO-SUCH"), "UNKNOWN_MARKET", "market_id"),
        (api.matching.GetBook, book(market_id=name, depth=-1), "FIELD_INVALID", "depth"),
        (api.matching.GetBook, book(market_id=name, depth=1_001), "FIELD_INVALID", "depth"),
        (
            api.matching.ListTrades,
            trades(market_id=name, start_sequence=-1),
            *("FIELD_INVALID", "start_sequence"),
        ),
    ]
    for method, request, reason, field in cases:
        said = answer(method, request)
        assert (said.reason, said.field) == (reason, field), (request, said)
    # The ends of what a Timestamp may say are fine.
    whole = klines(market_id=name, interval=kline_query_pb2.INTERVAL_1D)
    whole.start_time.seconds, whole.end_time.seconds = -62_135_596_800, 253_402_300_799
    assert not api.klines.ListKlines(whole).klines
    far = trades(market_id=name, start_sequence=INT64_MAX)
    assert not api.matching.ListTrades(far).trades


def test_streams_refuse_what_they_cannot_resume(api: Wire, operator: OperatorWire) -> None:
    name = operator.open_market("BRG")
    book: Any = matching_pb2.StreamBookRequest
    klines: Any = kline_query_pb2.StreamKlinesRequest
    trades = matching_pb2.StreamTradesRequest
    for call in (
        lambda: next(api.matching.StreamBook(book(market_id=name, after_sequence=9))),
        lambda: next(api.matching.StreamBook(book(market_id=name, after_sequence=INT64_MAX))),
        lambda: next(api.matching.StreamTrades(trades(market_id=name, start_sequence=9))),
        lambda: next(api.klines.StreamKlines(klines(market_id=name, interval=1, after_sequence=9))),
    ):
        said = refused(call)
        assert (said.code, said.reason) == (StatusCode.OUT_OF_RANGE, "SEQUENCE_GONE")
        assert said.metadata["oldest_sequence"] == "1"
    said = refused(lambda: next(api.matching.StreamBook(book(market_id="NO-SUCH"))))
    assert (said.code, said.reason) == (StatusCode.NOT_FOUND, "UNKNOWN_MARKET")
    said = refused(lambda: next(api.matching.StreamBook(book(market_id=name, after_sequence=-1))))
    assert (said.reason, said.field) == ("FIELD_INVALID", "after_sequence")


# --- who may do what


def tampered(metadata: Metadata) -> Metadata:
    ((key, value),) = metadata
    return ((key, value[:-8] + ("A" if value[-8] != "A" else "B") + value[-7:]),)


@pytest.mark.parametrize(
    "method", ["CreateMarket", "SetMarketStatus", "SetFees", "CreditAccount", "DebitAccount",
               "RecordTrades", "TakeSnapshot", "Drain", "GetNodeStatus"]
)  # fmt: skip
def test_operators_methods_are_operators(
    served: NodeProcess, api: Wire, operator: OperatorWire, method: str
) -> None:
    account, network_id = api.open_account(), served.network_id
    stranger = api.open_account()
    call = getattr(api.admin, method)
    request = getattr(admin_pb2, f"{method}Request")()
    who, denied = StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED
    other_key = token(served.operator_key, "another-network")
    cases: list[tuple[Metadata, StatusCode, str]] = [
        ((), who, "UNAUTHENTICATED"),
        (account.token(), denied, "PERMISSION_DENIED"),
        (stranger.token(), denied, "PERMISSION_DENIED"),
        (token(served.operator_key, network_id, seconds=-1), who, "TOKEN_EXPIRED"),
        (token(served.operator_key, network_id, seconds=4_000), who, "TOKEN_INVALID"),
        (other_key, who, "TOKEN_INVALID"),
        (tampered(operator.metadata), who, "TOKEN_INVALID"),
        ((("authorization", "Bearer x"),), who, "TOKEN_INVALID"),
        ((("authorization", "Dex !!!"),), who, "TOKEN_INVALID"),
        (operator.metadata + account.token(), who, "TOKEN_INVALID"),
    ]
    # A request that is not even read: who may not call learns nothing of what is wrong with it.
    for metadata, code, reason in cases:
        said = answer(call, request, metadata=metadata)
        assert (said.code, said.reason) == (code, reason), said
    assert served.running


def test_accounts_are_their_owners(api: Wire, operator: OperatorWire) -> None:
    mine, other = api.open_account(), api.open_account()
    get = accounts_pb2.GetAccountRequest(account_id=other.account_id)
    entries = accounts_pb2.ListLedgerEntriesRequest(account_id=other.account_id)
    resting = accounts_pb2.ListOpenOrdersRequest(account_id=other.account_id)
    order = pb.CheckOrderRequest(account_id=other.account_id)
    order.order.market_id = "BR-USDT"
    order.order.side = order.order.type = order.order.time_in_force = 1  # type: ignore[assignment]
    order.order.quantity_lots = 1
    calls: list[tuple[Any, Message]] = [
        (api.accounts.GetAccount, get),
        (api.accounts.ListLedgerEntries, entries),
        (api.accounts.ListOpenOrders, resting),
        (api.orders.CheckOrder, order),
    ]
    for call, request in calls:
        said = answer(call, request, metadata=mine.token())
        assert (said.reason, said.field) == ("PERMISSION_DENIED", "account_id")
        assert answer(call, request).reason == "UNAUTHENTICATED"
        nobody = tampered(mine.token())
        assert answer(call, request, metadata=nobody).reason == "TOKEN_INVALID"
        assert answer(call, request, metadata=other.token()) is ACCEPTED
        assert answer(call, request, metadata=operator.metadata) is ACCEPTED
    unknown = accounts_pb2.GetAccountRequest(account_id="0" * 22)
    assert answer(api.accounts.GetAccount, unknown, metadata=mine.token()).reason == (
        "PERMISSION_DENIED"
    )
    said = answer(api.accounts.GetAccount, unknown, metadata=operator.metadata)
    assert (said.code, said.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_ACCOUNT")
