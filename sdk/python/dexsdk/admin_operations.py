"""The operator's operations (dex.admin.v1.Admin): an operator key or a client certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from dex.admin.v1 import admin_pb2 as admin
from dex.matching.v1 import matching_pb2 as matching
from dex.orders.v1 import order_intake_pb2 as orders
from dexsdk import methods
from dexsdk.effects import Operation, ask, ask_once
from dexsdk.market import Market
from dexsdk.session import Session
from dexsdk.times import NS_PER_SECOND, optional_timestamp
from dexsdk.types import ExternalTrade, MarketStatus

SNAPSHOT_TIMEOUT_SECONDS: Final = 600.0


def create_market(session: Session, market: Market) -> Operation[Market]:
    """Opens a market (see `Market.define`). Repeating it with the same parameters is harmless."""
    request = admin.CreateMarketRequest(market=market.message)
    return Market((yield from ask(session, methods.CREATE_MARKET, request)).market)


def set_market_status(session: Session, market: str, status: MarketStatus) -> Operation[Market]:
    """Opens a market, closes it to new orders, or halts it."""
    request = admin.SetMarketStatusRequest(
        market_id=market, status=cast("matching.MarketStatus.ValueType", status)
    )
    return Market((yield from ask(session, methods.SET_MARKET_STATUS, request)).market)


def set_fees(
    session: Session, market: str, *, maker_fee_ppm: int, taker_fee_ppm: int
) -> Operation[Market]:
    """Sets the fees of orders placed from now on, in parts per million of the notional."""
    request = admin.SetFeesRequest(
        market_id=market, maker_fee_ppm=maker_fee_ppm, taker_fee_ppm=taker_fee_ppm
    )
    return Market((yield from ask(session, methods.SET_FEES, request)).market)


def credit_account(
    session: Session, account_id: str, asset_id: str, amount_atoms: int, reference: str
) -> Operation[orders.Applied]:
    """Books money that came in, once per `reference`."""
    request = admin.CreditAccountRequest(
        account_id=account_id, asset_id=asset_id, amount_atoms=amount_atoms, reference=reference
    )
    return (yield from ask(session, methods.CREDIT_ACCOUNT, request)).applied


def debit_account(
    session: Session, account_id: str, asset_id: str, amount_atoms: int, reference: str
) -> Operation[orders.Applied]:
    """Books money that went out, once per `reference`."""
    request = admin.DebitAccountRequest(
        account_id=account_id, asset_id=asset_id, amount_atoms=amount_atoms, reference=reference
    )
    return (yield from ask(session, methods.DEBIT_ACCOUNT, request)).applied


def record_trades(
    session: Session,
    market: str,
    trades: Sequence[ExternalTrade],
    watermark_time_ns: int | None = None,
) -> Operation[admin.RecordTradesResponse]:
    """Records up to 10,000 trades of an external market; those recorded before are skipped.

    No trade before `watermark_time_ns` will follow: windows that end by it may close.
    """
    request = admin.RecordTradesRequest(
        market_id=market,
        trades=[trade.message() for trade in trades],
        watermark_time=optional_timestamp(watermark_time_ns),
    )
    return (yield from ask(session, methods.RECORD_TRADES, request))


def take_snapshot(
    session: Session, *, timeout_seconds: float = SNAPSHOT_TIMEOUT_SECONDS
) -> Operation[admin.TakeSnapshotResponse]:
    """Writes a snapshot up to the current journal position and waits for it.

    The node replays its journal for it, which takes minutes when the last snapshot is old; so the
    client's own timeout does not apply, and nothing is sent twice.
    """
    timeout_ns = int(timeout_seconds * NS_PER_SECOND)
    request = admin.TakeSnapshotRequest()
    return (yield from ask_once(session, methods.TAKE_SNAPSHOT, request, timeout_ns))


def drain(session: Session) -> Operation[None]:
    """Asks the node to stop: it takes nothing new, lets calls end, and exits."""
    yield from ask(session, methods.DRAIN, admin.DrainRequest())


def get_node_status(session: Session) -> Operation[admin.GetNodeStatusResponse]:
    """What the node is and does."""
    return (yield from ask(session, methods.GET_NODE_STATUS, admin.GetNodeStatusRequest()))
