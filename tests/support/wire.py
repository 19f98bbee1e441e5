"""The contract as a stranger uses it: generated stubs, stock grpcio, no SDK but its key."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from dex.accounts.v1 import accounts_pb2, accounts_pb2_grpc
from dex.admin.v1 import admin_pb2, admin_pb2_grpc
from dex.auth.v1 import auth_pb2
from dex.kline.v1 import kline_query_pb2_grpc
from dex.matching.v1 import matching_pb2, matching_pb2_grpc
from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import order_intake_pb2_grpc
from dex.orders.v1 import signed_payload_pb2 as wire
from dex.pools.v1 import pools_pb2_grpc
from dexsdk import Key

EXPIRY_SECONDS = 290
CALL_SECONDS = 20.0
FUNDS_ATOMS = 10**15
NS = 10**9

Metadata = tuple[tuple[str, str], ...]


def token(key: Key, network_id: str, seconds: int = 600) -> Metadata:
    """The authorization metadata of an access token (dex.auth.v1)."""
    grant = auth_pb2.AccessGrant(network_id=network_id)
    grant.expire_time.FromSeconds(int(time.time_ns() // NS) + seconds)
    data = grant.SerializeToString()
    signed = auth_pb2.AccessToken(
        grant=data, signature=key.sign(b"triodex.access.v1\0" + data), public_key=key.public_bytes
    )
    text = base64.urlsafe_b64encode(signed.SerializeToString()).rstrip(b"=").decode()
    return (("authorization", f"Dex {text}"),)


class Refusal(NamedTuple):
    """What a refused call said."""

    code: grpc.StatusCode
    reason: str
    field: str
    metadata: Mapping[str, str]
    message: str


def refusal_of(error: Any) -> Refusal:
    """The parts of a stock client's error; checks the shape the contract promises."""
    status = rpc_status.from_call(error)
    if status is None:
        return Refusal(error.code(), "", "", {}, error.details() or "")
    infos = [detail for detail in status.details if detail.Is(ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1, status
    info = ErrorInfo()
    infos[0].Unpack(info)
    assert info.domain == "triodex"
    metadata = dict(info.metadata)
    return Refusal(error.code(), info.reason, metadata.get("field", ""), metadata, status.message)


ACCEPTED = Refusal(grpc.StatusCode.OK, "", "", {}, "")


def answer(call: Callable[..., object], *arguments: Any, **more: Any) -> Refusal:
    """How a call was refused; ACCEPTED when it was not."""
    try:
        call(*arguments, **more)
    except grpc.RpcError as error:
        return refusal_of(error)
    return ACCEPTED


def refused(call: Callable[[], object]) -> Refusal:
    """Run a call that must be refused."""
    said = answer(call)
    assert said is not ACCEPTED, "the call was not refused"
    return said


def new_order(
    market_id: str,
    price_ticks: int,
    quantity_lots: int,
    **more: Any,
) -> wire.NewOrder:
    """A limit GTC order unless `more` says otherwise; market orders are IOC."""
    is_market = more.get("type") == wire.ORDER_TYPE_MARKET
    return wire.NewOrder(
        **{
            "market_id": market_id,
            "type": wire.ORDER_TYPE_LIMIT,
            "time_in_force": wire.TIME_IN_FORCE_IOC if is_market else wire.TIME_IN_FORCE_GTC,
            "price_ticks": price_ticks,
            "quantity_lots": quantity_lots,
            **more,
        }
    )


def buy(market_id: str, price_ticks: int, quantity_lots: int, **more: Any) -> wire.NewOrder:
    """A buy order."""
    return new_order(market_id, price_ticks, quantity_lots, **{"side": wire.SIDE_BUY, **more})


def sell(market_id: str, price_ticks: int, quantity_lots: int, **more: Any) -> wire.NewOrder:
    """A sell order."""
    return new_order(market_id, price_ticks, quantity_lots, **{"side": wire.SIDE_SELL, **more})


def batch_of(*items: wire.NewOrder | wire.OrderCancel | wire.OrderAmend) -> wire.Batch:
    """A batch."""
    batch = wire.Batch()
    for item in items:
        if isinstance(item, wire.NewOrder):
            batch.items.add(place=item)
        elif isinstance(item, wire.OrderCancel):
            batch.items.add(cancel=item)
        else:
            batch.items.add(amend=item)
    return batch


@dataclass
class Signer:
    """One key, its account, and the payloads it signs."""

    network_id: str
    key: Key = field(default_factory=Key.generate)
    account_id: str = ""
    _nonces: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def payload(self, **parts: Any) -> wire.Payload:
        """A payload with a fresh nonce and a good expiry; `parts` add and override."""
        payload = wire.Payload(
            network_id=self.network_id, account_id=self.account_id, nonce=next(self._nonces)
        )
        payload.expire_time.FromSeconds(time.time_ns() // NS + EXPIRY_SECONDS)
        payload.MergeFrom(wire.Payload(**parts))
        return payload

    def sign(self, data: bytes) -> wire.SignedEnvelope:
        """An envelope over exact bytes."""
        return wire.SignedEnvelope(
            payload=data,
            signature=self.key.sign(b"triodex.payload.v1\0" + data),
            public_key=self.key.public_bytes,
        )

    def envelope(self, **parts: Any) -> wire.SignedEnvelope:
        """A signed payload."""
        return self.sign(self.payload(**parts).SerializeToString())

    def token(self) -> Metadata:
        """This key's access token."""
        return token(self.key, self.network_id)


class Wire:
    """Stubs of every served service on one channel."""

    def __init__(self, channel: grpc.Channel, network_id: str) -> None:
        self.channel = channel
        self.network_id = network_id
        self.orders = order_intake_pb2_grpc.OrderIntakeStub(channel)
        self.matching = matching_pb2_grpc.MatchingStub(channel)
        self.pools = pools_pb2_grpc.PoolsStub(channel)
        self.klines = kline_query_pb2_grpc.KlineQueryStub(channel)
        self.accounts = accounts_pb2_grpc.AccountsStub(channel)
        self.admin = admin_pb2_grpc.AdminStub(channel)

    # --- what tests do all the time

    def open_account(self) -> Signer:
        """A registered key."""
        signer = Signer(self.network_id)
        registration = wire.KeyRegistration(public_key=signer.key.public_bytes)
        answer = self.accounts.RegisterKey(
            accounts_pb2.RegisterKeyRequest(envelope=signer.envelope(register_key=registration)),
            timeout=CALL_SECONDS,
        )
        signer.account_id = answer.account_id
        return signer

    def place(self, signer: Signer, order: wire.NewOrder) -> orders_pb.OrderResult:
        """Place one order."""
        request = orders_pb.PlaceOrderRequest(envelope=signer.envelope(place=order))
        result: orders_pb.OrderResult = self.orders.PlaceOrder(request, timeout=CALL_SECONDS).result
        return result

    def batch(self, signer: Signer, *items: Any) -> list[orders_pb.OrderResult]:
        """Submit a batch."""
        request = orders_pb.SubmitBatchRequest(envelope=signer.envelope(batch=batch_of(*items)))
        return list(self.orders.SubmitBatch(request, timeout=CALL_SECONDS).results)

    def book(self, market_id: str, depth: int = 1000) -> matching_pb2.Book:
        """The book."""
        request = matching_pb2.GetBookRequest(market_id=market_id, depth=depth)
        book: matching_pb2.Book = self.matching.GetBook(request, timeout=CALL_SECONDS).book
        return book

    def account(self, signer: Signer) -> accounts_pb2.Account:
        """The signer's own account."""
        answer = self.accounts.GetAccount(
            accounts_pb2.GetAccountRequest(account_id=signer.account_id),
            metadata=signer.token(),
            timeout=CALL_SECONDS,
        )
        account: accounts_pb2.Account = answer.account
        return account

    def balances(self, signer: Signer) -> dict[str, tuple[int, int]]:
        """(available, held) by asset."""
        return {
            each.asset_id: (each.available_atoms, each.held_atoms)
            for each in self.account(signer).balances
        }


class OperatorWire:
    """The operator's calls, with a token."""

    def __init__(self, wire_: Wire, metadata: Metadata) -> None:
        self.wire = wire_
        self.metadata = metadata

    def call(self, method: str, request: Message) -> Any:
        """Any method of Admin."""
        return getattr(self.wire.admin, method)(
            request, metadata=self.metadata, timeout=CALL_SECONDS
        )

    def status(self) -> admin_pb2.GetNodeStatusResponse:
        """GetNodeStatus."""
        answer: admin_pb2.GetNodeStatusResponse = self.call(
            "GetNodeStatus", admin_pb2.GetNodeStatusRequest()
        )
        return answer

    def open_market(self, base: str, quote: str = "USDT", **more: Any) -> str:
        """A market: one tick times one lot is one atom, scales 8, fees 100 and 200 ppm."""
        market = matching_pb2.Market(
            **{
                "market_id": f"{base}-{quote}",
                "base_asset": matching_pb2.Asset(asset_id=base, scale=8),
                "quote_asset": matching_pb2.Asset(asset_id=quote, scale=8),
                "quote_atoms_per_tick_lot": 1_000,
                "base_atoms_per_lot": 1_000,
                "maker_fee_ppm": 100,
                "taker_fee_ppm": 200,
                "kind": matching_pb2.MARKET_KIND_ORDER_BOOK,
                **more,
            }
        )
        answer = self.call("CreateMarket", admin_pb2.CreateMarketRequest(market=market))
        market_id: str = answer.market.market_id
        return market_id

    def fund(self, signer: Signer, *asset_ids: str, atoms: int = FUNDS_ATOMS) -> None:
        """Book money for an account."""
        for asset_id in asset_ids:
            request = admin_pb2.CreditAccountRequest(
                account_id=signer.account_id,
                asset_id=asset_id,
                amount_atoms=atoms,
                reference=f"{signer.account_id}-{asset_id}-{time.monotonic_ns()}",
            )
            self.call("CreditAccount", request)

    def trader(self, *asset_ids: str) -> Signer:
        """A new account with money."""
        signer = self.wire.open_account()
        self.fund(signer, *asset_ids)
        return signer


@contextmanager
def dial(
    address: str, network_id: str, credentials: grpc.ChannelCredentials | None = None
) -> Iterator[Wire]:
    """A stock grpcio channel that shares no connection with others."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    if credentials is None:
        channel = grpc.insecure_channel(address, options)
    else:
        channel = grpc.secure_channel(address, credentials, options)
    with channel:
        yield Wire(channel, network_id)
