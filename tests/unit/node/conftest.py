"""Calls as an interceptor sees them, without a connection."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from nacl.signing import SigningKey

from dex.auth.v1 import auth_pb2
from dexrpc import CallContext, Metadata, MetadataView, Method, MethodKind, Peer

NETWORK = "triodex-test"
NOW_NS = 1_790_000_000_000_000_000


class BareContext(CallContext):
    """A call that nothing carries."""

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        raise AssertionError("an interceptor sends no headers")


async def _never(*_arguments: object) -> None:
    raise AssertionError("the handler is not under test")


@pytest.fixture
def make_context() -> Callable[..., CallContext]:
    def make(
        path: str = "/dex.orders.v1.OrderIntake/PlaceOrder",
        authorization: tuple[str, ...] = (),
        certificate_names: tuple[str, ...] = (),
        headers: tuple[tuple[bytes, bytes], ...] = (),
        kind: MethodKind = MethodKind.UNARY_UNARY,
    ) -> CallContext:
        method = Method(path, kind, _never, bytes, bytes)
        pairs = [(b"authorization", value.encode("latin-1")) for value in authorization]
        peer = Peer("127.0.0.1:1", bool(certificate_names), certificate_names)
        return BareContext(method, MetadataView([*pairs, *headers]), peer)

    return make


@pytest.fixture
def sign_token() -> Callable[..., str]:
    def sign(
        key: SigningKey,
        expire_time_ns: int = NOW_NS + 600 * 10**9,
        network_id: str = NETWORK,
        prefix: bytes = b"triodex.access.v1\0",
    ) -> str:
        grant = auth_pb2.AccessGrant(network_id=network_id)
        grant.expire_time.FromNanoseconds(expire_time_ns)
        data = grant.SerializeToString()
        token = auth_pb2.AccessToken(
            grant=data,
            signature=key.sign(prefix + data).signature,
            public_key=bytes(key.verify_key),
        )
        raw = base64.urlsafe_b64encode(token.SerializeToString()).rstrip(b"=")
        return f"Dex {raw.decode()}"

    return sign
