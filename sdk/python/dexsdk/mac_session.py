"""The bytes of a session: handshake, MAC and running hash (docs/reference/sessions.md).

Both sides make an X25519 key for one session and derive the MAC's key from what the two share and
from everything they said. The client signs its half, the node signs all of it. Hashes are BLAKE2b
(RFC 7693).
"""

from __future__ import annotations

import os
import struct
from hashlib import blake2b
from hmac import compare_digest
from typing import Final, final

from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base

from dexsdk.errors import PeerError

SESSION_DOMAIN: Final = b"triodex.session.v1\0"
MAC_DOMAIN: Final = b"triodex.mac.v1\0"
SHARE_BYTES: Final = 32
RANDOM_BYTES: Final = 32
HASH_BYTES: Final = 32
MAC_BYTES: Final = 16
_LENGTH: Final = struct.Struct("<I").pack
_NUMBER: Final = struct.Struct("<Q").pack


@final
class KeyShare:
    """An X25519 key for one session; the secret half goes nowhere."""

    __slots__ = ("_secret", "public_bytes", "random")

    public_bytes: Final[bytes]
    """The public half, 32 bytes."""
    random: Final[bytes]
    """What is sent beside it, 32 bytes."""

    def __init__(self, secret: bytes | None = None, random: bytes | None = None) -> None:
        """A new one; tests give both, 32 bytes each."""
        self._secret = secret or os.urandom(SHARE_BYTES)
        self.random = random or os.urandom(RANDOM_BYTES)
        self.public_bytes = crypto_scalarmult_base(self._secret)

    def mac_key(self, other_share: bytes, handshake: bytes) -> bytes:
        """The key of the session's MAC, given the other side's share and the handshake hash.

        PeerError when the share is none that a session may have: of few points (RFC 7748, 6.1).
        """
        try:
            shared = crypto_scalarmult(self._secret, other_share)
        except (RuntimeError, ValueError, TypeError) as error:
            raise PeerError("FIELD_INVALID", "no share of a session", field="key_share") from error
        return blake2b(MAC_DOMAIN + handshake, key=shared, digest_size=HASH_BYTES).digest()

    def __repr__(self) -> str:
        return f"KeyShare(public={self.public_bytes.hex()})"


def handshake_hash(
    payload: bytes, public_key: bytes, node_share: bytes, node_random: bytes
) -> bytes:
    """The hash over everything both sides said: the opening payload as it was signed, the key that
    signed it, the node's share and random bytes."""
    data = (SESSION_DOMAIN, _LENGTH(len(payload)), payload, public_key, node_share, node_random)
    return blake2b(b"".join(data), digest_size=HASH_BYTES).digest()


def opened_signing_bytes(handshake: bytes, session_id: str) -> bytes:
    """What the node signs when a session is open."""
    return SESSION_DOMAIN + handshake + session_id.encode()


def payload_hash(payload: bytes) -> bytes:
    """How an order enters the running hash."""
    return blake2b(payload, digest_size=HASH_BYTES).digest()


def next_hash(running_hash: bytes, order_number: int, hash_of_payload: bytes) -> bytes:
    """The running hash after one more order; before the first it is the handshake hash."""
    data = running_hash + _NUMBER(order_number) + hash_of_payload
    return blake2b(data, digest_size=HASH_BYTES).digest()


@final
class Mac:
    """Makes and checks the MACs of one session."""

    __slots__ = ("_keyed",)

    def __init__(self, mac_key: bytes, session_id: str) -> None:
        self._keyed = blake2b(session_id.encode(), key=mac_key, digest_size=MAC_BYTES)

    def of(self, order_number: int, payload: bytes) -> bytes:
        """The MAC of an order."""
        keyed = self._keyed.copy()
        keyed.update(_NUMBER(order_number) + payload)
        return keyed.digest()

    def holds(self, order_number: int, payload: bytes, mac: bytes) -> bool:
        """Whether it is that; takes as long whichever byte is wrong."""
        return compare_digest(self.of(order_number, payload), mac)
