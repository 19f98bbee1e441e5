"""What every call of one client shares: who it is, how long it tries, and its clock and dice.

Pure but for the clock and the randomness, which are handed in, so that tests choose them.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast

from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk.errors import CallerError, checked_fields
from dexsdk.keys import Key
from dexsdk.signing import access_token, authorization_header, sign_payload
from dexsdk.times import NS_PER_SECOND, timestamp_of
from dexsdk.types import (
    Action,
    BatchAction,
    Cancel,
    CancelAll,
    DeadMansSwitch,
    NewOrder,
    Phased,
    Place,
)

PAYLOAD_LIFETIME_NS: Final = 30 * NS_PER_SECOND
TOKEN_LIFETIME_NS: Final = 600 * NS_PER_SECOND
_TOKEN_RENEW_NS: Final = 60 * NS_PER_SECOND

Metadata: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed payload and what its sender needs to remember of it."""

    envelope: wire.SignedEnvelope
    nonce: int
    expire_time_ns: int


def _random_nonce() -> int:
    return secrets.randbits(63) or 1


@dataclass(slots=True)
class Session:
    """Identity and limits of one client."""

    network_id: str
    key: Key | None = None
    account_id: str = ""
    timeout_ns: int = 10 * NS_PER_SECOND
    payload_lifetime_ns: int = PAYLOAD_LIFETIME_NS
    reconnect_timeout_ns: int = 60 * NS_PER_SECOND
    now_ns: Callable[[], int] = time.time_ns
    next_nonce: Callable[[], int] = _random_nonce
    uniform: Callable[[], float] = random.random
    _authorization: Metadata = ()
    _token_expire_ns: int = field(default=0)

    def payload(self, account_id: str | None = None) -> wire.Payload:
        """A payload without an action: network, account, a fresh nonce and the expiry."""
        return wire.Payload(
            network_id=self.network_id,
            account_id=self.require_account(None) if account_id is None else account_id,
            nonce=self.next_nonce(),
            expire_time=timestamp_of(self.now_ns() + self.payload_lifetime_ns),
        )

    def sign(self, payload: wire.Payload) -> Signed:
        """Signs a finished payload with the client's key."""
        expire = payload.expire_time
        return Signed(
            sign_payload(self.require_key(), payload.SerializeToString()),
            payload.nonce,
            expire.seconds * NS_PER_SECOND + expire.nanos,
        )

    def sign_action(self, action: Action | Sequence[BatchAction]) -> Signed:
        """Signs one action, or a list of actions as one batch."""
        return self.sign(self.payload_of(action))

    def payload_of(self, action: Action | Sequence[BatchAction]) -> wire.Payload:
        """A payload with one action, or with a list of actions as one batch."""
        payload = self.payload()
        with checked_fields():
            fill_action(payload, action)
        return payload

    def authorization(self) -> Metadata:
        """Metadata with a fresh access token; empty without a key (mTLS may stand for it)."""
        if self.key is None:
            return ()
        now_ns = self.now_ns()
        if now_ns + _TOKEN_RENEW_NS > self._token_expire_ns:
            self._token_expire_ns = now_ns + TOKEN_LIFETIME_NS
            token = access_token(self.key, self.network_id, self._token_expire_ns)
            self._authorization = (("authorization", authorization_header(token)),)
        return self._authorization

    def require_key(self) -> Key:
        """The client's key, or CallerError."""
        if self.key is None:
            raise CallerError("UNAUTHENTICATED", "this call needs Client(key=...)", field="key")
        return self.key

    def require_account(self, account_id: str | None) -> str:
        """The account named, else the client's own, or CallerError."""
        account_id = account_id or self.account_id
        if not account_id:
            message = "this call needs Client(account_id=...) or register_key()"
            raise CallerError("UNKNOWN_ACCOUNT", message, field="account_id")
        return account_id


def fill_action(payload: wire.Payload, action: Action | Sequence[BatchAction]) -> None:
    """Puts the action, or a list of actions as a batch, into a payload."""
    if isinstance(action, Sequence):
        payload.batch.SetInParent()
        for item in action:
            _fill_item(payload.batch.items.add(), item)
    elif isinstance(action, Phased):
        fill_action(payload, action.actions)
        payload.batch.phased = True
    elif isinstance(action, CancelAll):
        payload.cancel_all.CopyFrom(
            wire.OrderCancelAll(
                market_id=action.market or "",
                side=cast("wire.Side.ValueType", action.side or 0),
            )
        )
    elif isinstance(action, DeadMansSwitch):
        payload.dead_mans_switch.timeout.FromNanoseconds(action.timeout_ns)
    else:
        _fill_item(payload, action)


def _fill_item(target: wire.Payload | wire.BatchItem, action: BatchAction) -> None:
    if isinstance(action, NewOrder):
        target.place.CopyFrom(action.message())
    elif isinstance(action, Place):
        target.place.CopyFrom(action.order.message())
    elif isinstance(action, Cancel):
        target.cancel.CopyFrom(
            wire.OrderCancel(order_id=action.order_id, client_order_id=action.client_order_id)
        )
    else:
        target.amend.CopyFrom(
            wire.OrderAmend(
                order_id=action.order_id,
                client_order_id=action.client_order_id,
                quantity_lots=action.quantity_lots,
                price_ticks=action.price_ticks,
                trigger_price_ticks=action.trigger_price_ticks,
            )
        )
