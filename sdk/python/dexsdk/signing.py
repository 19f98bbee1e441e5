"""The bytes that are signed. docs/reference/signing.md freezes them; tests/vectors proves them.

Both kinds are an ASCII domain, one zero byte, then the serialized message exactly as it travels,
so that no signature of one kind can be taken for the other and no canonical encoding is needed.
"""

from __future__ import annotations

import base64
from typing import Final

from dex.auth.v1 import auth_pb2
from dex.orders.v1 import signed_payload_pb2
from dexsdk.keys import Key
from dexsdk.times import timestamp_of

PAYLOAD_DOMAIN: Final = b"triodex.payload.v1\0"
ACCESS_DOMAIN: Final = b"triodex.access.v1\0"
AUTHORIZATION_SCHEME: Final = "Dex"


def payload_signing_bytes(payload: bytes) -> bytes:
    """What the signature of a SignedEnvelope covers, given the serialized Payload."""
    return PAYLOAD_DOMAIN + payload


def access_signing_bytes(grant: bytes) -> bytes:
    """What the signature of an AccessToken covers, given the serialized AccessGrant."""
    return ACCESS_DOMAIN + grant


def sign_payload(key: Key, payload: bytes) -> signed_payload_pb2.SignedEnvelope:
    """Signs a serialized Payload."""
    return signed_payload_pb2.SignedEnvelope(
        payload=payload,
        signature=key.sign(payload_signing_bytes(payload)),
        public_key=key.public_bytes,
    )


def access_token(key: Key, network_id: str, expire_time_ns: int) -> auth_pb2.AccessToken:
    """A token for one network that ends at `expire_time_ns`, at most one hour ahead."""
    grant = auth_pb2.AccessGrant(
        network_id=network_id, expire_time=timestamp_of(expire_time_ns)
    ).SerializeToString(deterministic=True)
    return auth_pb2.AccessToken(
        grant=grant, signature=key.sign(access_signing_bytes(grant)), public_key=key.public_bytes
    )


def authorization_header(token: auth_pb2.AccessToken) -> str:
    """The value of the `authorization` metadata: base64url (RFC 4648) without padding."""
    text = base64.urlsafe_b64encode(token.SerializeToString(deterministic=True))
    return f"{AUTHORIZATION_SCHEME} {text.rstrip(b'=').decode('ascii')}"
