"""From a signed envelope to a command: verify, parse, check, translate.

What can be refused without the journal is refused here, so that strangers cannot
fill it: signature, network, expiry, an unknown account or key, the wrong action.
What depends on the state is refused again by the core, in journal order. The
signature is checked off the loop, first, on the exact bytes.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple, final

from google.protobuf.message import DecodeError

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore.accounts import MANAGE_KEYS, TRADE, TRANSFER, Key
from dexcore.commands import DIGEST_BYTES, Command
from dexcore.limits import EXPIRY_AHEAD_NS_MAX
from dexcore.reasons import Reason, Refused
from dexcore.results import Outcome
from dexcore.session_commands import CountersignSession, SessionOrders
from dexnode.admission import Admission, cost_of, say_standing
from dexnode.errors import refuse, refuse_field
from dexnode.ids import IdFormat
from dexnode.order_items import check_size
from dexnode.rate_limit import Standing
from dexnode.settings import LimitSettings
from dexnode.times import time_ns_of
from dexnode.translation import Head, Translation
from dexrpc import CallContext, Peer, RpcError
from dexruntime.clock import ClockNs
from dexruntime.journal import JournalFull
from dexruntime.promise import Promise
from dexruntime.sequencer import DrainingError, QueueFull
from dexruntime.shard import Shard
from dexruntime.verifier import VerifierFull
from dexsdk.mac_session import HASH_BYTES, payload_hash
from dexsdk.signing import payload_signing_bytes

PAYLOAD_BYTES_MAX: Final = 65_536
ACCOUNTS_KNOWN_MAX: Final = 65_536
# What the key that signs must be allowed; everything else is trading.
SCOPES: Final = {"transfer": TRANSFER, "register_key": MANAGE_KEYS, "revoke_key": MANAGE_KEYS}

_new: Final = tuple.__new__


class Signed(NamedTuple):
    """An envelope whose signature is right and whose payload is for us and still good."""

    payload: payload_pb.Payload
    action: str
    account_key: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    # The payload as it was signed, and what is journaled beside its command.
    data: bytes
    envelope: bytes


def head_of(signed: Signed) -> Head:
    """What every signed command begins with."""
    nonce = signed.payload.nonce
    return signed.account_key, nonce, signed.expire_time_ns, signed.digest, signed.public_key


@final
class Intake:
    """Takes signed envelopes for one shard."""

    def __init__(
        self,
        shard: Shard,
        ids: IdFormat,
        clock_ns: ClockNs,
        admission: Admission | None = None,
    ) -> None:
        self._shard = shard
        self.admission = admission or Admission(LimitSettings())
        self._ids = ids
        self._clock_ns = clock_ns
        self._network_id = shard.identity.network_id
        # Account keys by id, of accounts that have shown to be there.
        self._account_keys: dict[str, int] = {}
        self._translation = Translation(ids, shard.exchange.markets_by_id)
        self.items = self._translation.items

    # --- a call with one envelope

    async def run(
        self, envelope: payload_pb.SignedEnvelope, action: str, ctx: CallContext | None = None
    ) -> Outcome:
        """Check one envelope, charge its signer, apply its command, return the durable outcome.
        The call's trailers say what is left of the budget.

        Raises:
            RpcError: it was refused.
        """
        return await accepted(await self.take(envelope, action, ctx))

    async def take(
        self, envelope: payload_pb.SignedEnvelope, action: str, ctx: CallContext | None = None
    ) -> Promise[Outcome]:
        """The same as far as its command is queued.

        Raises:
            RpcError: it was refused, and nothing is queued.
        """
        peer = Peer("nowhere", is_tls=False) if ctx is None else ctx.peer
        verdict = self.verify(envelope, peer)
        signed = self.check(envelope, await verdict.wait())
        if signed.action != action:
            raise refuse(
                errors_pb2.ERROR_REASON_ACTION_MISMATCH,
                f"the payload holds {signed.action}, this method performs {action}",
                field=f"envelope.payload.{signed.action}",
            )
        standing = self.charge(signed, peer)
        if ctx is not None:
            say_standing(ctx, standing)
        return self.submit(signed)

    def verify(self, envelope: payload_pb.SignedEnvelope, peer: Peer) -> Promise[bool]:
        """Start checking the envelope's signature.

        Raises:
            RpcError: it was refused unverified: the key has run dry and is known on this
                connection, or too many signatures wait.
        """
        data, public_key = envelope.payload, envelope.public_key
        if self.admission.is_short(peer, public_key):
            self._check_short(peer, public_key, data)
        try:
            return self._shard.verifier.enqueue(
                payload_signing_bytes(data), envelope.signature, public_key
            )
        except VerifierFull:
            raise self._overloaded() from None

    def _check_short(self, peer: Peer, public_key: bytes, data: bytes) -> None:
        try:
            payload = payload_pb.Payload.FromString(data)
        except DecodeError:
            return
        action = payload.WhichOneof("action")
        if action is not None:
            self.admission.check_unverified(peer, public_key, cost_of(payload, action))

    def check(self, envelope: payload_pb.SignedEnvelope, verified: bool) -> Signed:
        """Check everything about an envelope that needs no journal.

        Raises:
            RpcError: it was refused.
        """
        if not verified:
            raise refuse(errors_pb2.ERROR_REASON_SIGNATURE_INVALID, field="envelope.signature")
        # Each reading of a field of bytes is a copy.
        data, public_key = envelope.payload, envelope.public_key
        return self.check_payload(data, public_key, envelope.SerializeToString())

    def check_payload(self, data: bytes, public_key: bytes, envelope: bytes = b"") -> Signed:
        """Check everything about a payload that this key answers for, and that needs no journal.

        Raises:
            RpcError: it was refused.
        """
        if len(data) > PAYLOAD_BYTES_MAX:
            raise refuse(errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE, field="envelope.payload")
        try:
            payload = payload_pb.Payload.FromString(data)
        except DecodeError:
            raise refuse(
                errors_pb2.ERROR_REASON_MALFORMED_MESSAGE,
                "the payload is not a valid dex.orders.v1.Payload",
                field="envelope.payload",
            ) from None
        action = payload.WhichOneof("action")
        if action is None:
            raise refuse_field("action", "must be set")
        if payload.network_id != self._network_id:
            raise refuse(
                errors_pb2.ERROR_REASON_NETWORK_MISMATCH,
                f"the payload is for another network than {self._network_id}",
                field="network_id",
            )
        if payload.nonce <= 0:
            raise refuse_field("nonce", "must be positive")
        now_ns = self._clock_ns()
        expire_time_ns = self._check_expiry(payload, now_ns)
        digest = blake2b(data, digest_size=DIGEST_BYTES).digest()
        account_key = self._check_signer(payload, action, public_key, digest, now_ns)
        # Half the price of Signed(...).
        values = (payload, action, account_key, expire_time_ns, digest, public_key, data, envelope)
        return _new(Signed, values)

    def charge(self, signed: Signed, peer: Peer) -> Standing | None:
        """Charge a checked envelope to its account and key; opening an account is charged to the
        connection and the node. Returns what is left.

        Raises:
            RpcError: nothing was charged: the budget is used up, or the node takes nothing.
        """
        if self._shard.sequencer.is_full:
            raise self._overloaded()
        if not signed.account_key:
            return self.admission.charge_opening(peer)
        if signed.action == "batch":
            # More than a budget ever holds is no matter of patience.
            check_size(signed.payload.batch)
        cost = cost_of(signed.payload, signed.action)
        return self.admission.charge_signed(peer, signed.account_key, signed.public_key, cost)

    def _overloaded(self) -> RpcError:
        return refuse(
            errors_pb2.ERROR_REASON_OVERLOADED,
            retry_delay_ns=self._shard.sequencer.retry_delay_ns,
        )

    def submit(self, signed: Signed) -> Promise[Outcome]:
        """Queue the command of a checked envelope.

        Raises:
            RpcError: the node takes nothing at the moment, or a field is wrong.
        """
        command = self._translation.command(head_of(signed), signed.payload, signed.action)
        return self.submit_command(command, signed.envelope)

    def submit_in_session(
        self, signed: Signed, session_key: int, number: int, skipped: bytes, envelope: bytes
    ) -> Promise[Outcome]:
        """Queue the orders of a checked payload that its session answers for.

        Raises:
            RpcError: the node takes nothing at the moment, or a field is wrong.
        """
        orders = self._translation.orders(head_of(signed), signed.payload, signed.action)
        hash_ = payload_hash(signed.data)
        command = SessionOrders(session_key, number, hash_, skipped, orders)
        return self.submit_command(command, envelope)

    def countersign(self, signed: Signed, session_key: int, skipped: bytes) -> Promise[Outcome]:
        """Queue a checked countersignature.

        Raises:
            RpcError: the node takes nothing at the moment, or a field is wrong.
        """
        said = signed.payload.session_countersignature
        if len(said.running_hash) != HASH_BYTES:
            raise refuse_field("session_countersignature.running_hash", "must be 32 bytes")
        number, hash_ = said.order_number, said.running_hash
        command = CountersignSession(*head_of(signed), session_key, number, hash_, skipped)
        return self.submit_command(command, signed.envelope)

    def submit_command(self, command: Command, envelope: bytes) -> Promise[Outcome]:
        """Queue any command.

        Raises:
            RpcError: the node takes nothing at the moment.
        """
        try:
            return self._shard.sequencer.submit(command, envelope)
        except QueueFull:
            raise self._overloaded() from None
        except DrainingError:
            raise refuse(errors_pb2.ERROR_REASON_NODE_DRAINING) from None

    async def apply(self, command: Command, envelope: bytes) -> Outcome:
        """Apply an operator's command and return its durable outcome.

        `envelope` is the serialized OperatorCall that is journaled beside it.

        Raises:
            RpcError: it was refused.
        """
        return await accepted(self.submit_command(command, envelope))

    # --- checks

    def _check_expiry(self, payload: payload_pb.Payload, now_ns: int) -> int:
        if not payload.HasField("expire_time"):
            raise refuse_field("expire_time", "must be set")
        expire_time_ns = time_ns_of(payload.expire_time, "expire_time")
        if expire_time_ns <= now_ns:
            raise refuse(errors_pb2.ERROR_REASON_PAYLOAD_EXPIRED, field="expire_time")
        if expire_time_ns > now_ns + EXPIRY_AHEAD_NS_MAX:
            raise refuse(errors_pb2.ERROR_REASON_EXPIRY_TOO_FAR, field="expire_time")
        return expire_time_ns

    def _check_signer(
        self,
        payload: payload_pb.Payload,
        action: str,
        public_key: bytes,
        digest: bytes,
        now_ns: int,
    ) -> int:
        account_id = payload.account_id
        account_key = self._account_keys.get(account_id)
        if account_key is None:
            if not account_id:
                if action != "register_key":
                    raise refuse_field("account_id", "must be set")
                return 0
            account_key = self._ids.key_of(account_id)
            if account_key is None:
                raise refuse(errors_pb2.ERROR_REASON_UNKNOWN_ACCOUNT, field="account_id")
        exchange = self._shard.exchange
        try:
            key = exchange.accounts.key_of(account_key, public_key)
        except Refused as refused:
            # A stranger's copy of what was answered is no retry.
            raise refuse(refused.reason, field=refused.field) from None
        self._remember(account_id, account_key)
        try:
            key.check_may(SCOPES.get(action, TRADE), now_ns)
        except Refused as refused:
            if exchange.nonces.is_answered(account_key, payload.nonce, digest):
                # The core has the first answer to what is sent again, whatever became of the key.
                return account_key
            # What is not durable yet may still be lost: the core says it, in journal order.
            if refused.reason != Reason.KEY_REVOKED or self._is_durably_revoked(key):
                raise refuse(refused.reason, field=refused.field) from None
        return account_key

    def _remember(self, account_id: str, account_key: int) -> None:
        known = self._account_keys
        if account_id not in known:
            if len(known) >= ACCOUNTS_KNOWN_MAX:
                known.clear()
            known[account_id] = account_key

    def _is_durably_revoked(self, key: Key) -> bool:
        return key.revoke_sequence <= self._shard.sequencer.durable_sequence


async def accepted(promise: Promise[Outcome]) -> Outcome:
    """Wait for a durable outcome that is no refusal.

    Raises:
        RpcError: it is one, or the journal takes nothing.
    """
    await promise.wait_done()
    outcome = result_of(promise)
    if outcome.reason != Reason.NONE:
        raise refuse(outcome.reason, field=outcome.field or None)
    return outcome


def result_of(promise: Promise[Outcome]) -> Outcome:
    """The outcome of a promise that is done.

    Raises:
        RpcError: the journal takes nothing.
    """
    try:
        return promise.result()
    except JournalFull as full:
        is_full = full.reason == "no space"
        message = f"the journal's disk is {'full' if is_full else 'behind'}"
        raise refuse(errors_pb2.ERROR_REASON_OVERLOADED, message) from None
