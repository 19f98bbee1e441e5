"""What a signed payload says, as a command of the exchange.

The node's intake makes commands here, and an audit makes them again from what was journaled beside
them: the two must be of the same code, or an honest node looks like a liar.
"""

from __future__ import annotations

from typing import Final, final

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore.commands import (
    Command,
    OrderCommand,
    RegisterKey,
    RevokeKey,
    SetDeadMansSwitch,
    Transfer,
)
from dexcore.limits import is_control
from dexcore.market import Market
from dexnode.errors import refuse, refuse_field
from dexnode.ids import IdFormat
from dexnode.order_items import OrderItems
from dexnode.pool_intake import POOL_ACTIONS, PoolIntake
from dexnode.quote_intake import QUOTE_ACTIONS, QuoteIntake
from dexnode.times import duration_ns_of, time_ns_of

ORDER_ACTIONS: Final = frozenset({"place", "cancel", "amend", "cancel_all", "batch"})
_KEY_SCOPES: Final = frozenset(payload_pb.KeyScope.values()) - {0}
# What every signed command begins with: account, nonce, expiry, digest, public key.
Head = tuple[int, int, int, bytes, bytes]


@final
class Translation:
    """Translates for one shard."""

    def __init__(self, ids: IdFormat, markets: dict[str, Market]) -> None:
        """`markets` by id, as the exchange has them at any time."""
        self._ids = ids
        self.items: Final = OrderItems(ids, markets)
        self._quotes = QuoteIntake(ids, markets)
        self._pools = PoolIntake(markets)

    def command(self, head: Head, payload: payload_pb.Payload, action: str) -> Command:
        """The command of any action but those of sessions, whose streams make them.

        Raises:
            RpcError: it names nothing, or a field is wrong.
        """
        if action in ORDER_ACTIONS:
            return self.orders(head, payload, action)
        if action in QUOTE_ACTIONS:
            return self._quotes.command(head, action, getattr(payload, action))
        if action in POOL_ACTIONS:
            return self._pools.command(head, action, getattr(payload, action))
        if action == "dead_mans_switch":
            timeout = payload.dead_mans_switch.timeout
            timeout_ns = duration_ns_of(timeout, "dead_mans_switch.timeout")
            return SetDeadMansSwitch(*head, timeout_ns)
        if action == "register_key":
            return self._register_key(head, payload.register_key)
        if action == "revoke_key":
            revoked = payload.revoke_key
            _check_public_key(revoked.public_key, "revoke_key.public_key")
            return RevokeKey(*head, revoked.public_key, int(revoked.cancel_all))
        transfer = payload.transfer
        to_key = self._ids.key_of(transfer.to_account_id)
        if to_key is None:
            raise refuse(errors_pb2.ERROR_REASON_UNKNOWN_ACCOUNT, field="transfer.to_account_id")
        return Transfer(*head, to_key, transfer.asset_id, transfer.amount_atoms)

    def orders(self, head: Head, payload: payload_pb.Payload, action: str) -> OrderCommand:
        """The command of one of ORDER_ACTIONS.

        Raises:
            RpcError: as for any.
        """
        terms: list[bytes] = []
        if action != "batch":
            items = self.items.pack(action, getattr(payload, action), terms)
            return OrderCommand(*head, items, b"".join(terms))
        batch = payload.batch
        items = self.items.pack_batch(batch, terms)
        return OrderCommand(*head, items, b"".join(terms), int(batch.phased))

    def _register_key(self, head: Head, added: payload_pb.KeyRegistration) -> RegisterKey:
        _check_public_key(added.public_key, "register_key.public_key")
        scopes = 0
        for scope in added.scopes:
            if scope not in _KEY_SCOPES:
                raise refuse_field("register_key.scopes", "must be scopes of the contract")
            scopes |= 1 << (scope - 1)
        expire_time_ns = 0
        if added.HasField("expire_time"):
            expire_time_ns = time_ns_of(added.expire_time, "register_key.expire_time")
            if expire_time_ns <= 0:
                raise refuse_field("register_key.expire_time", "must be ahead")
        if any(map(is_control, added.label)):
            # The exchange refuses it too; here it costs no record and says why.
            raise refuse_field("register_key.label", "must have no control characters")
        return RegisterKey(*head, added.public_key, scopes, expire_time_ns, added.label)


def _check_public_key(public_key: bytes, field: str) -> None:
    if len(public_key) != 32:
        raise refuse_field(field, "must be 32 bytes")
