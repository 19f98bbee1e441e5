"""TLS and mTLS: who is trusted, who is let in."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
import trustme

from dex.matching.v1 import matching_pb2 as matching
from dexsdk import Key, SyncClient, Tls, Unavailable, methods
from tests.unit.sdk.fake_node import FakeNode


def client(node: FakeNode, tls: Tls | None, timeout_seconds: float = 1) -> SyncClient:
    return SyncClient(
        node.address, network_id="triodex-test", tls=tls, timeout_seconds=timeout_seconds
    )


def test_a_client_certificate_opens_the_door_and_nothing_else_does(tmp_path: Path) -> None:
    ca, stranger = trustme.CA(), trustme.CA()
    server, caller = ca.issue_cert("127.0.0.1"), ca.issue_cert("operator")
    ca_pem = ca.cert_pem.bytes()
    certificate, private_key = caller.cert_chain_pems[0].bytes(), caller.private_key_pem.bytes()
    node = FakeNode(
        grpc.ssl_server_credentials(
            [(server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())], ca_pem, True
        )
    )
    node.start()
    try:
        node.script(methods.GET_BOOK, matching.GetBookResponse())
        ca_path = tmp_path / "ca.pem"
        ca_path.write_bytes(ca_pem)
        with client(node, Tls(ca_path, certificate, private_key), timeout_seconds=10) as dex:
            dex.get_book("BTC-USDT")
        for tls in (None, Tls(ca_pem), Tls(stranger.cert_pem.bytes(), certificate, private_key)):
            with client(node, tls) as dex, pytest.raises(Unavailable):
                dex.get_book("BTC-USDT")
    finally:
        node.stop()
    assert len(node.requests(methods.GET_BOOK)) == 1


def test_a_tls_never_shows_its_key() -> None:
    secret = b"-----BEGIN PRIVATE KEY-----"
    assert "PRIVATE" not in repr(Tls(private_key=secret, certificate=b"c"))
    assert Key(bytes(32)).public_bytes.hex() in repr(Key(bytes(32)))
