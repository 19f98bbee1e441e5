"""Who is refused at the handshake: by each listener of a node, and by the clients themselves."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from dex.matching.v1 import matching_pb2
from dexsdk import DexError, SyncClient, Unavailable
from tests.integration.test_rotation import PREFACE, SETTINGS_FRAME, client_context, spoken
from tests.support.certificates import Certificates, ClientPems
from tests.support.node_process import NETWORK_ID, NodeProcess
from tests.support.wire import CALL_SECONDS, answer, dial

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
# The SDK tries again until then.
SDK_SECONDS = 2.0
# The last of its tries may have no time left to be refused in; not so each time.
TRIES = 3
LIST = matching_pb2.ListMarketsRequest()


def old_tls(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same, with TLS 1.1 and nothing newer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


# --- what a node refuses

Contexts = dict[str, Callable[[Certificates, Path], ssl.SSLContext | None]]
REFUSED: Contexts = {
    "plain_text": lambda _mine, _folder: None,
    "no_certificate": lambda mine, _folder: client_context(mine, None),
    "other_authority": lambda mine, folder: client_context(
        mine, Certificates(folder / "other").stranger
    ),
    "expired": lambda mine, _folder: client_context(
        mine, mine.issue("expired", "expired.example", ends=LONG_AGO)
    ),
    "tls_1.1": lambda mine, _folder: old_tls(client_context(mine, mine.stranger)),
}


def is_served(address: str, context: ssl.SSLContext | None) -> bool:
    """Whether the listener answers in HTTP/2."""
    try:
        if context is not None:
            spoken(address, context).close()
            return True
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), CALL_SECONDS) as connection:
            connection.sendall(PREFACE)
            return connection.recv(9)[3:4] == bytes((SETTINGS_FRAME,))
    except TimeoutError:
        raise
    except OSError:
        return False


@pytest.mark.parametrize("listener", ["grpc", "flight"])
@pytest.mark.parametrize("who", REFUSED)
def test_a_node_refuses(
    secured: NodeProcess, certificates: Certificates, tmp_path: Path, listener: str, who: str
) -> None:
    address = secured.grpc_address if listener == "grpc" else secured.flight_address
    assert not is_served(address, REFUSED[who](certificates, tmp_path)), f"{who} is served"
    assert is_served(address, client_context(certificates, certificates.stranger))


def test_the_old_client_of_this_test_speaks_where_it_may(certificates: Certificates) -> None:
    """Else a node would refuse nothing: the client would not even have asked."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificates.server)
    old_tls(server)
    client = old_tls(client_context(certificates, certificates.stranger))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert [end.version() for end in ends] == ["TLSv1.1", "TLSv1.1"]


# --- what clients refuse


@contextmanager
def shows(certificates: Certificates, shown: ClientPems) -> Iterator[str]:
    """A stock server of no service that shows a certificate; its address."""
    pair = shown.private_key.read_bytes(), shown.certificate.read_bytes()
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def by_grpcio(address: str, certificates: Certificates) -> grpc.StatusCode:
    with dial(address, NETWORK_ID, certificates.credentials()) as api:
        return answer(api.matching.ListMarkets, LIST, timeout=CALL_SECONDS).code


def by_sdk(address: str, certificates: Certificates) -> grpc.StatusCode:
    dex = SyncClient(
        address, network_id=NETWORK_ID, tls=certificates.sdk(), timeout_seconds=SDK_SECONDS
    )
    with dex:
        for _ in range(TRIES):
            with pytest.raises(DexError) as caught:
                dex.list_markets()
            if caught.value.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                break
    assert caught.value.code is not None
    assert isinstance(caught.value, Unavailable) == (
        caught.value.code is grpc.StatusCode.UNAVAILABLE
    )
    return caught.value.code


@pytest.mark.parametrize("client", [by_grpcio, by_sdk])
@pytest.mark.parametrize("shown", ["good", "expired", "other_name", "other_authority"])
def test_a_client_refuses(
    certificates: Certificates,
    tmp_path: Path,
    client: Callable[[str, Certificates], grpc.StatusCode],
    shown: str,
) -> None:
    pems = {
        "good": lambda: certificates.server,
        "expired": lambda: certificates.issue("late", "localhost", "127.0.0.1", ends=LONG_AGO),
        "other_name": lambda: certificates.issue("elsewhere", "elsewhere.example"),
        "other_authority": lambda: Certificates(tmp_path / "other").server,
    }[shown]()
    with shows(certificates, pems) as address:
        code = client(address, certificates)
    # The good one is talked to: it has no such service.
    reached = grpc.StatusCode.UNIMPLEMENTED
    assert code is (reached if shown == "good" else grpc.StatusCode.UNAVAILABLE)
