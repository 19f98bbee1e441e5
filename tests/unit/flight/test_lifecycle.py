"""Faults, identity, TLS, limits and stopping."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
import trustme
from pyarrow import flight

from dexflight import (
    FlightTls,
    MarketInfo,
)
from dexkline import KlineBook, KlineColumns
from tests.unit.flight.books import (
    ROWS,
    SECOND,
    SOME,
    Books,
    Start,
    ask,
    connect,
    pull,
    trades,
    why,
)


def long_books() -> Books:
    """More rows than sockets and buffers hold, so that a stream which is not read stands."""
    books = Books()
    books.book = KlineBook(1)
    for low in range(0, 400_000, 100_000):
        books.book.add_trades(1, [(i * SECOND, i + 1, 5, 5) for i in range(low, low + 100_000)])
    return books


def test_a_fault_of_the_source_stays_inside(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Books):
        def klines(self, *_: Any) -> tuple[MarketInfo, KlineColumns]:
            raise RuntimeError("secret detail")

    client = connect(start(Broken()))
    with pytest.raises(flight.FlightInternalError) as caught:
        ask(client, SOME)
    assert why(caught.value) == (13, "INTERNAL", "")
    assert "secret" not in str(caught.value)
    assert "secret detail" in caplog.text
    assert ask(client, trades()).total_records == ROWS


def test_identity_is_asked_for_when_configured(start: Start) -> None:
    def authenticate(headers: Any) -> None:
        if headers.get("authorization") != ["Dex good"]:
            raise PermissionError("show an access token")

    client = connect(start(authenticate=authenticate))
    with pytest.raises(flight.FlightUnauthenticatedError) as caught:
        ask(client, SOME)
    assert why(caught.value) == (16, "UNAUTHENTICATED", "authorization")
    with pytest.raises(flight.FlightUnauthenticatedError):
        list(client.list_flights())
    options = flight.FlightCallOptions(headers=[(b"authorization", b"Dex good")])
    descriptor = flight.FlightDescriptor.for_command(SOME.SerializeToString())
    info = client.get_flight_info(descriptor, options)
    assert pull(client, info.endpoints[0].ticket).num_rows == ROWS  # the ticket is enough


def test_interfaces_and_keys(start: Start) -> None:
    with pytest.raises(ValueError, match="TLS"):
        start(host="0.0.0.0")
    with pytest.raises(ValueError, match="32 to 64"):
        start(ticket_key=b"short")
    service = start()
    with pytest.raises(OSError, match=str(service.port)):
        start(port=service.port)


def test_tls_and_mutual_tls(start: Start) -> None:
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    client = authority.issue_cert("client@example.org")
    root = authority.cert_pem.bytes()
    chain = b"".join(part.bytes() for part in server.cert_chain_pems)
    one_way = start(tls=FlightTls(chain, server.private_key_pem.bytes()))
    mutual = start(tls=FlightTls(chain, server.private_key_pem.bytes(), root))
    shown = {
        "cert_chain": b"".join(part.bytes() for part in client.cert_chain_pems),
        "private_key": client.private_key_pem.bytes(),
    }
    for service, identity in ((one_way, {}), (mutual, shown)):
        location = f"grpc+tls://localhost:{service.port}"
        with flight.FlightClient(location, tls_root_certs=root, **identity) as connection:
            ticket = ask(connection, SOME).endpoints[0].ticket
            assert pull(connection, ticket).num_rows == ROWS
    for location, roots in (
        (f"grpc+tls://localhost:{mutual.port}", {"tls_root_certs": root}),  # shows no certificate
        (f"grpc+tls://localhost:{one_way.port}", {"tls_root_certs": trustme.CA().cert_pem.bytes()}),
        (f"grpc://localhost:{one_way.port}", {}),  # plaintext
    ):
        refused = pytest.raises((flight.FlightUnavailableError, flight.FlightTimedOutError))
        with flight.FlightClient(location, **roots) as connection, refused:
            ask(connection, SOME)
    # Neither was harmed.
    with flight.FlightClient(f"grpc+tls://localhost:{one_way.port}", tls_root_certs=root) as again:
        assert ask(again, SOME).total_records == ROWS


def test_stop_cuts_a_client_that_reads_no_more(start: Start) -> None:
    """pyarrow's own shutdown would wait for this client for ever."""
    service = start(long_books())
    client = connect(service)
    reader = client.do_get(ask(client, SOME).endpoints[0].ticket)
    reader.read_chunk()
    bystander = socket.create_server(("127.0.0.1", 0))
    service.stop(10**8)
    assert bystander.getsockname()[1]
    with pytest.raises(flight.FlightUnavailableError):
        reader.read_all()
    bystander.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", service.port)) != 0


def test_stop_lets_a_stream_end_within_its_grace(start: Start) -> None:
    service = start()
    client = connect(service)
    reader = client.do_get(ask(client, SOME).endpoints[0].ticket)
    rows = reader.read_all().num_rows
    service.stop()
    service.stop()
    assert rows == ROWS


def test_open_streams_are_limited(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dexflight.calls.STREAMS_MAX", 2)
    client = connect(start(long_books()))
    ticket = ask(client, SOME).endpoints[0].ticket
    held = [client.do_get(ticket) for _ in range(2)]
    for reader in held:
        reader.read_chunk()
    with pytest.raises(flight.FlightUnavailableError) as caught:
        pull(client, ticket)
    assert why(caught.value) == (14, "OVERLOADED", "")
    held.pop().cancel()
    deadline_ns = time.monotonic_ns() + 20 * SECOND
    while time.monotonic_ns() < deadline_ns:
        try:
            assert pull(client, ticket).num_rows == 400_000
            break
        except flight.FlightUnavailableError:
            threading.Event().wait(0.01)  # the server notices the cancel in a moment
    else:
        raise AssertionError("a cancelled stream still counts")
    held.pop().read_all()
