"""The operator's operations (dex.admin.v1.Admin): an operator key or a client certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from dex.admin.v1 import admin_pb2 as admin
from dex.matching.v1 import matching_pb2 as matching
from dex.orders.v1 import order_intake_pb2 as orders
from dex.orders.v1 import signed_payload_pb2 as wire
from dex.pools.v1 import pools_pb2 as pools
from dexsdk import methods
from dexsdk.effects import Operation, ask, ask_once
from dexsdk.market import Market
from dexsdk.session import Session
from dexsdk.times import NS_PER_SECOND, optional_timestamp
from dexsdk.types import ExternalTrade, MarketStatus, PoolKind, Side

SNAPSHOT_TIMEOUT_SECONDS: Final = 600.0


def create_market(session: Session, market: Market) -> Operation[Market]:
    """Opens a market (see `Market.define`). Repeating it with the same parameters is harmless."""
    request = admin.CreateMarketRequest(market=market.message)
    return Market((yield from ask(session, methods.CREATE_MARKET, request)).market)


def create_pool(
    session: Session, market: str, kind: PoolKind, fee_ppm: int, *, price_ticks: int = 0
) -> Operation[pools.Pool]:
    """Gives a market its pool, for good; repeating it is harmless.

    `fee_ppm` is 100, 500, 3,000 or 10,000; a concentrated pool begins at `price_ticks`.
    """
    request = admin.CreatePoolRequest(
        market_id=market,
        kind=cast("pools.PoolKind.ValueType", kind),
        fee_ppm=fee_ppm,
        price_ticks=price_ticks,
    )
    return (yield from ask(session, methods.CREATE_POOL, request)).pool


def set_market_status(session: Session, market: str, status: MarketStatus) -> Operation[Market]:
    """Opens, halts or closes a market, or begins an auction; see `MarketStatus`.

    Leaving an auction for OPEN or CLOSED uncrosses it first.
    """
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


def set_market_limits(
    session: Session,
    market: str,
    *,
    protection_ticks: int,
    price_band_ppm: int,
    notional_min_atoms: int,
    notional_max_atoms: int,
) -> Operation[Market]:
    """Sets what orders of a market are held against from now on, all four at once; zero for none.

    `protection_ticks` is how far beyond the best opposite price a market order may trade, and
    beyond its trigger a stop: without it the market takes no stops but stop limits.
    `price_band_ppm` is how far from the last price a limit may be.
    """
    request = admin.SetMarketLimitsRequest(
        market_id=market,
        protection_ticks=protection_ticks,
        price_band_ppm=price_band_ppm,
        notional_min_atoms=notional_min_atoms,
        notional_max_atoms=notional_max_atoms,
    )
    return Market((yield from ask(session, methods.SET_MARKET_LIMITS, request)).market)


def set_self_trade_group(session: Session, account_id: str, group: int) -> Operation[None]:
    """Puts an account into a self-trade group, or with zero out of any: accounts of one group are
    one owner to self-trade prevention."""
    request = admin.SetSelfTradeGroupRequest(account_id=account_id, group=group)
    yield from ask(session, methods.SET_SELF_TRADE_GROUP, request)


def cancel_orders(
    session: Session,
    *,
    account_id: str = "",
    market: str = "",
    side: Side | None = None,
    everything: bool = False,
) -> Operation[int]:
    """Cancels open orders of an account, in a market, or both, in halted markets too, and says how
    many. `everything` is for all accounts in all markets."""
    request = admin.CancelOrdersRequest(
        account_id=account_id,
        market_id=market,
        side=cast("wire.Side.ValueType", side or 0),
        everything=everything,
    )
    return (yield from ask(session, methods.CANCEL_ORDERS, request)).cancelled_count


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
