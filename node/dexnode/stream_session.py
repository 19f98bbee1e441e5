"""The node's end of a session on an order stream: handshake, MACs, numbers, and what is unsigned.

Theory of operation. A session lives and dies with its stream, here and in the exchange, whose
journaled state is the one that counts: what a stream lets through and the exchange refuses ended
there. The MAC's key is in this process's memory alone. An order whose MAC and number are right
counts as sent, even if the node then refuses it unseen (a budget, an expiry): its hash goes along
with the next command of the session, so that the running hash the client signs can be made again
from the journal.
"""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple, final

import trio

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dexcore.limits import SESSION_UNSIGNED_NS_MAX, SESSION_UNSIGNED_ORDERS_MAX
from dexcore.session_commands import OpenSession
from dexnode.errors import refuse
from dexnode.intake import Signed, head_of
from dexrpc import RpcError
from dexsdk import Key, PeerError
from dexsdk.mac_session import (
    HASH_BYTES,
    RANDOM_BYTES,
    SHARE_BYTES,
    KeyShare,
    Mac,
    handshake_hash,
    opened_signing_bytes,
    payload_hash,
)

UNSIGNED_SECONDS_MAX: Final = SESSION_UNSIGNED_NS_MAX / 1e9
# Orders that the node refuses by itself between two commands of a session: 128 KiB of hashes in one
# record, which the exchange goes through in one piece.
SKIPPED_ORDERS_MAX: Final = 4_096


class Opening(NamedTuple):
    """A handshake whose command is under way."""

    share: KeyShare
    mac_key: bytes
    handshake: bytes
    command: OpenSession


class Countersigning(NamedTuple):
    """A countersignature that is under way: over how many orders, and since when."""

    number: int
    taken_at: float


def begin(signed: Signed) -> Opening:
    """The node's half of a handshake.

    Raises:
        RpcError: the client's half is none.
    """
    said = signed.payload.session_opening
    client_share = said.key_share
    if len(client_share) != SHARE_BYTES or len(said.random) != RANDOM_BYTES:
        raise refuse(
            errors_pb2.ERROR_REASON_FIELD_INVALID,
            "session_opening must hold a key_share and random bytes of 32 bytes each",
            field="session_opening",
        )
    share = KeyShare()
    handshake = handshake_hash(signed.data, signed.public_key, share.public_bytes, share.random)
    try:
        mac_key = share.mac_key(client_share, handshake)
    except PeerError as error:
        raise refuse(
            errors_pb2.ERROR_REASON_FIELD_INVALID,
            "session_opening.key_share must be an X25519 public key",
            field="session_opening.key_share",
        ) from error
    command = OpenSession(*head_of(signed), share.public_bytes, share.random, handshake)
    return Opening(share, mac_key, handshake, command)


@final
class StreamSession:
    """An open session of one stream."""

    __slots__ = (
        "_mac",
        "_number",
        "_promised_number",
        "_signed_number",
        "_unsigned_since",
        "account_key",
        "id",
        "key",
        "public_key",
        "skipped",
    )

    def __init__(self, session_id: str, key: int, opening: Opening) -> None:
        self.id = session_id
        self.key = key
        self.account_key = opening.command.account_key
        self.public_key = opening.command.public_key
        self._mac = Mac(opening.mac_key, session_id)
        # Sent; signed for, as the exchange has it; the same if what is under way to it is good.
        self._number = self._signed_number = self._promised_number = 0
        # Hashes of what was sent and not journaled since the last command of the session.
        self.skipped = bytearray()
        # On Trio's clock; infinite while everything is signed for.
        self._unsigned_since = inf

    @property
    def due(self) -> float:
        """When to look whether it was signed for, on Trio's clock."""
        return min(self._unsigned_since, trio.current_time()) + UNSIGNED_SECONDS_MAX

    @property
    def is_late(self) -> bool:
        """Whether something has waited for a countersignature for too long."""
        return trio.current_time() >= self._unsigned_since + UNSIGNED_SECONDS_MAX

    def check(self, number: int, payload: bytes, mac: bytes) -> None:
        """Take an order as sent by the session.

        Raises:
            RpcError: it is not the session's, not its next one, or one too many that nobody has
                signed for. The session must end.
        """
        if not self._mac.holds(number, payload, mac):
            raise refuse(errors_pb2.ERROR_REASON_MAC_INVALID, field="session_order.mac")
        if number != self._number + 1:
            raise refuse(
                errors_pb2.ERROR_REASON_SESSION_OUT_OF_ORDER,
                f"order {self._number + 1} of the session was due, this is {number}",
                field="session_order.order_number",
            )
        if number - self._promised_number > SESSION_UNSIGNED_ORDERS_MAX:
            raise refuse(errors_pb2.ERROR_REASON_SESSION_UNSIGNED)
        if len(self.skipped) >= SKIPPED_ORDERS_MAX * HASH_BYTES:
            raise refuse(
                errors_pb2.ERROR_REASON_SESSION_UNSIGNED,
                f"{SKIPPED_ORDERS_MAX} orders were refused in a row and none signed for",
            )
        self._number = number
        if self._unsigned_since == inf:
            self._unsigned_since = trio.current_time()

    def skip(self, payload: bytes) -> None:
        """An order that was sent is not journaled."""
        self.skipped += payload_hash(payload)

    def promise(self, number: int) -> Countersigning:
        """A countersignature over so many orders is on its way to the exchange, and what was
        skipped with it."""
        self.skipped.clear()
        promised = min(number, self._number)
        self._promised_number = max(promised, self._promised_number)
        return Countersigning(promised, trio.current_time())

    def settle(self, said: Countersigning, is_signed: bool) -> None:
        """The exchange has judged it; what it refused or had answered before signs for nothing."""
        if not is_signed:
            if self._promised_number == said.number:
                self._promised_number = self._signed_number
            return
        self._signed_number = max(self._signed_number, said.number)
        # What was sent since then has waited since then at most.
        self._unsigned_since = inf if self._signed_number == self._number else said.taken_at


def fill_opened(message: pb.SessionOpened, session_id: str, opening: Opening, key: Key) -> None:
    """The node's half, signed."""
    message.session_id = session_id
    message.key_share = opening.share.public_bytes
    message.random = opening.share.random
    message.signature = key.sign(opened_signing_bytes(opening.handshake, session_id))
    message.public_key = key.public_bytes
    message.unsigned_orders_max = SESSION_UNSIGNED_ORDERS_MAX
    message.unsigned_timeout.FromNanoseconds(SESSION_UNSIGNED_NS_MAX)


def out_of_time() -> RpcError:
    """What ends a stream with a session that nobody signs for."""
    return refuse(errors_pb2.ERROR_REASON_SESSION_UNSIGNED)
