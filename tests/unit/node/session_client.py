"""A client of sessions, made by docs/reference/sessions.md alone: hashlib and PyNaCl."""

from __future__ import annotations

import struct
from hashlib import blake2b

from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.signing import SigningKey, VerifyKey

from dex.orders.v1 import order_intake_pb2 as pb

SESSION = b"triodex.session.v1\0"
MAC = b"triodex.mac.v1\0"


def hash_of(data: bytes) -> bytes:
    return blake2b(data, digest_size=32).digest()


class SessionClient:
    """One session: its secret, and the running hash of what it sent."""

    def __init__(self, key: SigningKey, secret: bytes = bytes(range(1, 33))) -> None:
        self.key = key
        self.secret = secret
        self.share = crypto_scalarmult_base(secret)
        self.id = ""
        self.number = 0
        self.mac_key = self.running_hash = b""

    def opened(self, payload: bytes, opened: pb.SessionOpened) -> None:
        """Take the node's half; the signature over both must be the node's."""
        public_key = bytes(self.key.verify_key)
        said = SESSION + struct.pack("<I", len(payload)) + payload + public_key
        handshake = hash_of(said + opened.key_share + opened.random)
        VerifyKey(opened.public_key).verify(
            SESSION + handshake + opened.session_id.encode(), opened.signature
        )
        shared = crypto_scalarmult(self.secret, opened.key_share)
        self.mac_key = blake2b(MAC + handshake, key=shared, digest_size=32).digest()
        self.id = opened.session_id
        self.number, self.running_hash = 0, handshake

    def mac(self, number: int, payload: bytes) -> bytes:
        data = self.id.encode() + struct.pack("<Q", number) + payload
        return blake2b(data, key=self.mac_key, digest_size=16).digest()

    def order(self, payload: bytes) -> pb.SessionOrder:
        """The next order, with its MAC."""
        self.number += 1
        number = struct.pack("<Q", self.number)
        self.running_hash = hash_of(self.running_hash + number + hash_of(payload))
        mac = self.mac(self.number, payload)
        return pb.SessionOrder(
            session_id=self.id, order_number=self.number, payload=payload, mac=mac
        )
