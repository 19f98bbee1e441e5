"""Whether each signed command of a journal is what its client signed, offline.

Theory of operation. A node may journal one thing and keep the envelope of another beside it: every
checksum, head and replay is right then, and the client is robbed. So the payload in each envelope
is translated once more, with the code of the node's intake, and the whole command must come out.
What ids of markets mean follows from the journal itself: an exchange of our own applies it beside.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple, final

from google.protobuf.message import DecodeError

from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore.commands import DIGEST_BYTES, RULES_1, BeginEpoch, Command, CreateMarket, OrderCommand
from dexcore.exchange import Exchange, SignedCommand
from dexcore.items import items_of_rules_1
from dexcore.market import Market
from dexcore.results import Outcome
from dexcore.session_commands import CountersignSession, OpenSession, SessionOrders
from dexnode.ids import IdFormat
from dexnode.times import time_ns_of
from dexnode.translation import ORDER_ACTIONS, Head, Translation
from dexrpc import RpcError
from dexruntime.journal import Identity, Record
from dexruntime.records import command_of
from dexsdk.keys import verify
from dexsdk.mac_session import payload_hash
from dexsdk.signing import payload_signing_bytes

# A command may have been made before a market that is created ahead of it in the journal.
QUEUED_NS_MAX: Final = 10 * 10**9


class Checked(NamedTuple):
    """A record that was applied. ``problem`` is empty when its client signed for just this; what
    no client signs never has one."""

    command: Command
    outcome: Outcome
    is_signed: bool
    problem: str


@final
class EnvelopeCheck:
    """Follows a journal from its first record on."""

    def __init__(self, identity: Identity) -> None:
        """``identity`` as the journal's first segment has it."""
        self.exchange = Exchange()
        self._identity = identity
        self._young: dict[str, int] = {}
        self._ids = IdFormat(identity.shard, identity.epoch)
        self._translation = Translation(self._ids, self.exchange.markets_by_id)

    def take(self, record: Record) -> Checked:
        """Check the next record and apply it.

        Raises:
            CommandUnreadable: this release does not know the command.
            InvariantError: it contradicts the books.
        """
        command = command_of(record)
        is_signed = isinstance(command, SignedCommand | SessionOrders)
        problem = ""
        if is_signed:
            try:
                problem = self._problem(command, record)
            except DecodeError:
                problem = "the envelope cannot be read"
            except RpcError as error:
                problem = f"no node takes what the payload says: {error.message}"
        outcome = self.exchange.apply(record.sequence, record.time_ns, command)
        if isinstance(command, CreateMarket):
            self._young[command.spec.market_id] = record.time_ns
        elif isinstance(command, BeginEpoch):
            shard, epoch = self._identity.shard, self._identity.epoch
            self._ids = IdFormat(shard, epoch, self.exchange.epochs)
            self._translation = Translation(self._ids, self.exchange.markets_by_id)
        return Checked(command, outcome, is_signed, problem)

    def _problem(self, command: Command, record: Record) -> str:
        if isinstance(command, SessionOrders):
            order = orders_pb.SessionOrder.FromString(record.envelope)
            data, public_key = order.payload, self._key_of(command)
            if order.session_id != self._ids.format(command.session_key) or (
                order.order_number != command.order_number
            ):
                return "the envelope is another order than the command says"
            if payload_hash(data) != command.payload_hash:
                return "the payload is not the one the command was made of"
            command = command.orders
        else:
            signed = payload_pb.SignedEnvelope.FromString(record.envelope)
            data, public_key = signed.payload, signed.public_key
            if not verify(public_key, payload_signing_bytes(data), signed.signature):
                return "the envelope's signature does not verify"
        payload = payload_pb.Payload.FromString(data)
        if payload.network_id != self._identity.network_id:
            return "the payload is for another network"
        account_key = self._ids.key_of(payload.account_id) if payload.account_id else 0
        if account_key is None:
            return "the payload is of no account of this exchange"
        expire_time_ns = time_ns_of(payload.expire_time, "expire_time")
        digest = blake2b(data, digest_size=DIGEST_BYTES).digest()
        head = (account_key, payload.nonce, expire_time_ns, digest, public_key)
        if command != self._said(command, head, payload) and not self._is_early(
            command, head, payload, record.time_ns
        ):
            return "the command is not what the payload says"
        return ""

    def _key_of(self, command: SessionOrders) -> bytes:
        """The key that opened the session. Orders of one that is not open are refused, whosever."""
        session = self.exchange.sessions.by_key.get(command.session_key)
        return command.orders.public_key if session is None else session.signer.public_key

    def _said(self, command: Command, head: Head, payload: payload_pb.Payload) -> Command | None:
        """The command that a payload asks for; None when it asks for none of its kind."""
        action = payload.WhichOneof("action")
        if isinstance(command, OpenSession):
            # The rest is the node's half: the handshake's hash is over it.
            if action != "session_opening":
                return None
            node_half = (command.node_share, command.node_random, command.handshake_hash)
            return OpenSession(*head, *node_half)
        if isinstance(command, CountersignSession):
            if action != "session_countersignature":
                return None
            said = payload.session_countersignature
            values = (said.order_number, said.running_hash, command.skipped)
            return CountersignSession(*head, self._ids.key_of(said.session_id) or 0, *values)
        if action is None or action.startswith("session_"):
            return None
        return _of_rules(command, self._translation.command(head, payload, action))

    def _is_early(
        self, command: Command, head: Head, payload: payload_pb.Payload, now_ns: int
    ) -> bool:
        """Whether orders were made before a market there is now: it has no index in them."""
        action = payload.WhichOneof("action")
        if not isinstance(command, OrderCommand) or action not in ORDER_ACTIONS:
            return False
        known = self.exchange.markets_by_id
        young = [
            each
            for each, time_ns in self._young.items()
            if each in known and now_ns - time_ns <= QUEUED_NS_MAX
        ]
        for count in range(len(young)):
            missing = young[count:]
            markets: dict[str, Market] = {id_: known[id_] for id_ in known if id_ not in missing}
            orders = Translation(self._ids, markets).orders(head, payload, action)
            if command == _of_rules(command, orders):
                return True
        return False


def _of_rules(command: Command, said: Command) -> Command:
    """The same under the rules that the journaled one was written under."""
    if not isinstance(command, OrderCommand) or command.rules != RULES_1:
        return said
    if not isinstance(said, OrderCommand):
        return said
    return said._replace(rules=RULES_1, items=items_of_rules_1(said.items))
