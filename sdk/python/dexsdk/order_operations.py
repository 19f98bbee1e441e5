"""Operations on orders (dex.orders.v1.OrderIntake) and accounts (dex.accounts.v1.Accounts)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import cast

from dex.accounts.v1 import accounts_pb2 as accounts
from dex.orders.v1 import order_intake_pb2 as orders
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import methods
from dexsdk.effects import Operation, ask
from dexsdk.session import Session
from dexsdk.times import NS_PER_SECOND, optional_timestamp
from dexsdk.types import (
    Amend,
    BatchAction,
    Cancel,
    CancelAll,
    DeadMansSwitch,
    KeyScope,
    NewOrder,
    Phased,
    Side,
)


def place_order(session: Session, order: NewOrder) -> Operation[orders.OrderResult]:
    """Places one order and says what became of it; a refusal is a CallerError."""
    signed = session.sign_action(order)
    request = orders.PlaceOrderRequest(envelope=signed.envelope)
    answer = yield from ask(session, methods.PLACE_ORDER, request, signed.expire_time_ns)
    return answer.result


def cancel_order(
    session: Session, *, order_id: str = "", client_order_id: int = 0
) -> Operation[orders.OrderResult]:
    """Cancels one open order, named by either id, and says how it ended."""
    signed = session.sign_action(Cancel(order_id=order_id, client_order_id=client_order_id))
    request = orders.CancelOrderRequest(envelope=signed.envelope)
    answer = yield from ask(session, methods.CANCEL_ORDER, request, signed.expire_time_ns)
    return answer.result


def amend_order(
    session: Session,
    *,
    quantity_lots: int,
    price_ticks: int = 0,
    trigger_price_ticks: int = 0,
    order_id: str = "",
    client_order_id: int = 0,
) -> Operation[orders.OrderResult]:
    """Changes one open order. `quantity_lots` is the new total; a zero price or trigger keeps it.

    A smaller quantity at the same price keeps the place in the queue. Of a pegged order the price
    is its limit. A trigger is for a stop that still waits.
    """
    amend = Amend(
        order_id=order_id,
        client_order_id=client_order_id,
        quantity_lots=quantity_lots,
        price_ticks=price_ticks,
        trigger_price_ticks=trigger_price_ticks,
    )
    signed = session.sign_action(amend)
    request = orders.AmendOrderRequest(envelope=signed.envelope)
    answer = yield from ask(session, methods.AMEND_ORDER, request, signed.expire_time_ns)
    return answer.result


def cancel_all(
    session: Session, market: str | None = None, *, side: Side | None = None
) -> Operation[list[orders.OrderResult]]:
    """Cancels every open order, or those in one market, or of one side: a result each, oldest
    order first."""
    signed = session.sign_action(CancelAll(market, side))
    request = orders.CancelAllRequest(envelope=signed.envelope)
    answer = yield from ask(session, methods.CANCEL_ALL, request, signed.expire_time_ns)
    return list(answer.results)


def set_dead_mans_switch(
    session: Session, timeout_seconds: float
) -> Operation[orders.SetDeadMansSwitchResponse]:
    """Cancels every open order of the account unless this is called again in time.

    `timeout_seconds` is 1 to 86,400, and zero disarms. Every call starts the time anew; so a maker
    calls it every few seconds with a few times as much. Orders in halted markets stay. The switch
    is the exchange's: it works when client, connection or node are gone. `cancel_time` says when.
    """
    switch = DeadMansSwitch(int(timeout_seconds * NS_PER_SECOND))
    signed = session.sign_action(switch)
    request = orders.SetDeadMansSwitchRequest(envelope=signed.envelope)
    return (yield from ask(session, methods.SET_DEAD_MANS_SWITCH, request, signed.expire_time_ns))


def submit_batch(
    session: Session, actions: Sequence[BatchAction], *, phased: bool = False
) -> Operation[list[orders.OrderResult]]:
    """Applies up to 1,000 actions in one piece: a result each; a refused one has `rejection`.

    `phased` applies cancels first, then amends, then post-only orders, then all other orders; the
    results stand in the order of the actions all the same.
    """
    signed = session.sign_action(Phased(actions) if phased else actions)
    request = orders.SubmitBatchRequest(envelope=signed.envelope)
    answer = yield from ask(session, methods.SUBMIT_BATCH, request, signed.expire_time_ns)
    return list(answer.results)


def check_order(
    session: Session, order: NewOrder, *, account_id: str | None = None
) -> Operation[orders.CheckOrderResponse]:
    """Says what an order would do now without placing it; `rejection` when it would be refused."""
    account = session.require_account(account_id)
    request = orders.CheckOrderRequest(account_id=account, order=order.message())
    return (yield from ask(session, methods.CHECK_ORDER, request))


def register_key(
    session: Session,
    public_key: bytes | None = None,
    *,
    scopes: Collection[KeyScope] = (),
    expire_time: int | datetime | None = None,
    label: str = "",
) -> Operation[str]:
    """Opens an account with the client's key, or adds `public_key` to the client's account.

    An added key may do what `scopes` say, until `expire_time` (a datetime or UTC nanoseconds); left
    out, both are the client's key's own. It never gets more than that one has.
    Returns the account id. A newly opened account becomes the client's own when it had none.
    """
    payload = session.payload("" if public_key is None else None)
    payload.register_key.CopyFrom(
        wire.KeyRegistration(
            public_key=public_key or session.require_key().public_bytes,
            scopes=[cast("wire.KeyScope.ValueType", scope) for scope in sorted(scopes)],
            expire_time=optional_timestamp(expire_time),
            label=label,
        )
    )
    signed = session.sign(payload)
    request = accounts.RegisterKeyRequest(envelope=signed.envelope)
    answer = yield from ask(session, methods.REGISTER_KEY, request, signed.expire_time_ns)
    session.account_id = session.account_id or answer.account_id
    return answer.account_id


def revoke_key(
    session: Session, public_key: bytes, *, cancel_all: bool = False
) -> Operation[list[orders.OrderResult]]:
    """Ends a key of the client's account, and with `cancel_all` the account's open orders too.

    Gives the cancelled orders. Without `cancel_all` the orders it placed stay open.
    """
    payload = session.payload()
    payload.revoke_key.CopyFrom(wire.KeyRevocation(public_key=public_key, cancel_all=cancel_all))
    signed = session.sign(payload)
    request = accounts.RevokeKeyRequest(envelope=signed.envelope)
    answer = yield from ask(session, methods.REVOKE_KEY, request, signed.expire_time_ns)
    return list(answer.results)


def list_keys(
    session: Session, account_id: str | None = None
) -> Operation[list[accounts.AccountKey]]:
    """Every key the client's account ever had, the revoked ones too, or another's for an
    operator."""
    request = accounts.ListKeysRequest(account_id=session.require_account(account_id))
    return list((yield from ask(session, methods.LIST_KEYS, request)).keys)


def transfer(
    session: Session, to_account_id: str, asset_id: str, amount_atoms: int
) -> Operation[orders.Applied]:
    """Moves available funds to another account; says where in the journal."""
    payload = session.payload()
    payload.transfer.CopyFrom(
        wire.FundsTransfer(
            to_account_id=to_account_id, asset_id=asset_id, amount_atoms=amount_atoms
        )
    )
    signed = session.sign(payload)
    request = accounts.TransferRequest(envelope=signed.envelope)
    answer = yield from ask(session, methods.TRANSFER, request, signed.expire_time_ns)
    return answer.applied


def get_account(session: Session, account_id: str | None = None) -> Operation[accounts.Account]:
    """Balances, keys and open orders of the client's account, or of another for an operator."""
    request = accounts.GetAccountRequest(account_id=session.require_account(account_id))
    return (yield from ask(session, methods.GET_ACCOUNT, request)).account


def list_open_orders(
    session: Session,
    market: str | None = None,
    *,
    account_id: str | None = None,
    limit: int | None = None,
) -> Operation[list[accounts.OpenOrder]]:
    """Open orders of the client's account, oldest first, in all markets or in one; at most `limit`.

    Pages are of different moments: an order that ends meanwhile may be missing.
    """
    found: list[accounts.OpenOrder] = []
    request = accounts.ListOpenOrdersRequest(
        account_id=session.require_account(account_id),
        market_id=market or "",
        page_size=page_size(limit, 1_000),
    )
    while True:
        page = yield from ask(session, methods.LIST_OPEN_ORDERS, request)
        found += page.orders
        request.page_token = page.next_page_token
        if not request.page_token or (limit is not None and len(found) >= limit):
            return found[:limit]


def list_ledger_entries(
    session: Session, account_id: str | None = None, *, limit: int | None = None
) -> Operation[list[accounts.LedgerEntry]]:
    """Movements of an account's money, newest first; at most `limit`, all that are at hand."""
    entries: list[accounts.LedgerEntry] = []
    request = accounts.ListLedgerEntriesRequest(
        account_id=session.require_account(account_id), page_size=page_size(limit, 1_000)
    )
    while True:
        page = yield from ask(session, methods.LIST_LEDGER_ENTRIES, request)
        entries += page.entries
        request.page_token = page.next_page_token
        if not request.page_token or (limit is not None and len(entries) >= limit):
            return entries[:limit]


def page_size(limit: int | None, page_size_max: int) -> int:
    """How many to ask for in one page when `limit` are wanted in all."""
    return page_size_max if limit is None else max(1, min(limit, page_size_max))
