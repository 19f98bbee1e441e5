"""The client's end of a session: its handshake, its orders, its countersignature.

Pure: the clock is the caller's.
"""

from __future__ import annotations

from typing import Final, final

from dex.orders.v1 import order_intake_pb2 as orders
from dexsdk.errors import PeerError
from dexsdk.keys import verify
from dexsdk.mac_session import (
    KeyShare,
    Mac,
    handshake_hash,
    next_hash,
    opened_signing_bytes,
    payload_hash,
)
from dexsdk.session import Session, Signed
from dexsdk.times import NS_PER_SECOND

# How long an order waits for its countersignature while more are sent.
COUNTERSIGN_NS: Final = NS_PER_SECOND


@final
class OrderSession:
    """One open session."""

    __slots__ = (
        "_id",
        "_mac",
        "_number",
        "_running_hash",
        "_signed_number",
        "_unsigned_max",
        "_unsigned_since_ns",
    )

    def __init__(
        self, session_id: str, mac_key: bytes, handshake: bytes, unsigned_max: int
    ) -> None:
        """``unsigned_max`` is how many orders the node lets wait for a countersignature."""
        self._id = session_id
        self._mac = Mac(mac_key, session_id)
        self._running_hash = handshake
        self._number = self._signed_number = self._unsigned_since_ns = 0
        self._unsigned_max = unsigned_max

    @property
    def id(self) -> str:
        """The session's id."""
        return self._id

    @property
    def running_hash(self) -> bytes:
        """The hash over everything that was sent."""
        return self._running_hash

    @property
    def is_signed(self) -> bool:
        """Whether everything that was sent is signed for."""
        return self._signed_number == self._number

    def order(self, payload: bytes, now_ns: int) -> orders.SessionOrder:
        """The next order of the session."""
        if self.is_signed:
            self._unsigned_since_ns = now_ns
        self._number += 1
        self._running_hash = next_hash(self._running_hash, self._number, payload_hash(payload))
        return orders.SessionOrder(
            session_id=self._id,
            order_number=self._number,
            payload=payload,
            mac=self._mac.of(self._number, payload),
        )

    def is_due(self, now_ns: int) -> bool:
        """Whether a countersignature should come before the next order."""
        unsigned = self._number - self._signed_number
        late = now_ns - self._unsigned_since_ns >= COUNTERSIGN_NS
        return unsigned > 0 and (late or 2 * unsigned >= self._unsigned_max)

    def countersign(self, session: Session) -> Signed:
        """Signs for everything that was sent."""
        payload = session.payload()
        said = payload.session_countersignature
        said.session_id = self._id
        said.order_number = self._number
        said.running_hash = self._running_hash
        self._signed_number = self._number
        return session.sign(payload)


@final
class Handshake:
    """The client's half of a handshake, until the node's comes."""

    __slots__ = ("_share", "opening")

    opening: Final[Signed]
    """What to send."""

    def __init__(self, session: Session) -> None:
        self._share = KeyShare()
        payload = session.payload()
        payload.session_opening.key_share = self._share.public_bytes
        payload.session_opening.random = self._share.random
        self.opening = session.sign(payload)

    def finish(self, opened: orders.SessionOpened, node_key: bytes | None) -> OrderSession:
        """The session, once the node has said its half.

        PeerError when the node did not sign what both said, or, given ``node_key``, is another.
        """
        signer = opened.public_key
        if node_key is not None and signer != node_key:
            raise PeerError(
                "SIGNATURE_INVALID",
                f"the session is of {signer.hex()}, not of {node_key.hex()}",
                field="session_opened.public_key",
            )
        envelope = self.opening.envelope
        handshake = handshake_hash(
            envelope.payload, envelope.public_key, opened.key_share, opened.random
        )
        said = opened_signing_bytes(handshake, opened.session_id)
        if not verify(signer, said, opened.signature):
            raise PeerError("SIGNATURE_INVALID", "the node did not sign this handshake")
        mac_key = self._share.mac_key(opened.key_share, handshake)
        return OrderSession(opened.session_id, mac_key, handshake, opened.unsigned_orders_max)
