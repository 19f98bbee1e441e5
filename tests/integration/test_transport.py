"""Bytes a node must not die of: TLS and its absence, garbage, half-open and idle connections."""

from __future__ import annotations

import random
import resource
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from pyarrow import flight

from dex.admin.v1 import admin_pb2
from dex.flight.v1 import flight_pb2
from dex.matching.v1 import matching_pb2
from tests.support.certificates import Certificates, ClientPems
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until
from tests.support.wire import OperatorWire, answer, buy, dial, token

IDLE_CONNECTIONS = 10_000
SPARE_FILES = 500
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SOCKET_SECONDS = 15.0
COMMON_SOFT_LIMIT = 1024


def endpoint(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def connect(address: str) -> socket.socket:
    return socket.create_connection(endpoint(address), SOCKET_SECONDS)


def ended_cleanly(connection: socket.socket) -> bool:
    """Whether the peer ends the connection, whatever it says before."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    return True


# --- TLS


def test_orders_over_mtls(secured: NodeProcess, certificates: Certificates) -> None:
    stranger = certificates.credentials(certificates.stranger)
    operator_token = token(secured.operator_key, secured.network_id)
    with dial(secured.grpc_address, secured.network_id, stranger) as api:
        operator = OperatorWire(api, operator_token)
        market = operator.open_market("TLSA")
        trader = operator.trader("TLSA", "USDT")
        assert api.place(trader, buy(market, 10, 1)).order_id
        assert api.book(market).bids[0].price_ticks == 10


def test_a_certificate_makes_an_operator(secured: NodeProcess, certificates: Certificates) -> None:
    request = admin_pb2.GetNodeStatusRequest()
    shown = certificates.credentials(certificates.operator)
    with dial(secured.grpc_address, secured.network_id, shown) as api:
        assert api.admin.GetNodeStatus(request).network_id == secured.network_id
        # A token speaks first: an account's token is not an operator, whatever the connection.
        said = answer(api.admin.GetNodeStatus, request, metadata=api.open_account().token())
        assert said.reason == "PERMISSION_DENIED"
    shown = certificates.credentials(certificates.stranger)
    with dial(secured.grpc_address, secured.network_id, shown) as api:
        assert answer(api.admin.GetNodeStatus, request).reason == "UNAUTHENTICATED"


@pytest.mark.parametrize("who", ["nobody", "another authority's"])
def test_mtls_wants_a_certificate_of_its_authority(
    secured: NodeProcess, certificates: Certificates, tmp_path: Path, who: str
) -> None:
    shown = certificates.credentials()
    if who != "nobody":
        other = Certificates(tmp_path / "other")
        shown = grpc.ssl_channel_credentials(
            certificates.ca.read_bytes(),
            other.operator.private_key.read_bytes(),
            other.operator.certificate.read_bytes(),
        )
    with dial(secured.grpc_address, secured.network_id, shown) as api:
        said = answer(api.matching.ListMarkets, matching_pb2.ListMarketsRequest(), timeout=10)
        assert said.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_plaintext_to_the_tls_port_ends(secured: NodeProcess, certificates: Certificates) -> None:
    with dial(secured.grpc_address, secured.network_id) as api:
        said = answer(api.matching.ListMarkets, matching_pb2.ListMarketsRequest(), timeout=10)
        assert said.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    for hello in (PREFACE + SETTINGS, b"GET / HTTP/1.1\r\n\r\n", random.Random(1).randbytes(4_096)):
        with connect(secured.grpc_address) as connection:
            connection.sendall(hello)
            assert ended_cleanly(connection)
    serves_mtls(secured, certificates)


def serves_mtls(node: NodeProcess, certificates: Certificates) -> None:
    """An honest client is served."""
    with dial(
        node.grpc_address, node.network_id, certificates.credentials(certificates.stranger)
    ) as api:
        api.matching.ListMarkets(matching_pb2.ListMarketsRequest(), timeout=SOCKET_SECONDS)


def test_tls_to_the_plaintext_port_ends(served: NodeProcess, certificates: Certificates) -> None:
    shown = certificates.credentials()
    with dial(served.grpc_address, served.network_id, shown) as api:
        said = answer(api.matching.ListMarkets, matching_pb2.ListMarketsRequest(), timeout=10)
        assert said.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with connect(served.grpc_address) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname="localhost")
    serves(served)


def serves(node: NodeProcess) -> None:
    """An honest client is served."""
    with dial(node.grpc_address, node.network_id) as api:
        api.matching.ListMarkets(matching_pb2.ListMarketsRequest(), timeout=SOCKET_SECONDS)


def test_metrics_over_tls(secured: NodeProcess, certificates: Certificates) -> None:
    """Scrapers need no certificate of their own: numbers are all there is to read."""
    url = f"https://{secured.metrics_address}/readyz"
    context = ssl.create_default_context()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, context=context, timeout=10)
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with urllib.request.urlopen(url, context=context, timeout=10) as response:
        assert response.read() == b"ready\n"


def flight_client(
    node: NodeProcess, certificates: Certificates, client: ClientPems | None
) -> flight.FlightClient:
    options = {"tls_root_certs": certificates.ca.read_bytes()}
    if client is not None:
        options["cert_chain"] = client.certificate.read_bytes()
        options["private_key"] = client.private_key.read_bytes()
    return flight.connect(f"grpc+tls://{node.flight_address}", **options)


def test_flight_over_mtls(secured: NodeProcess, certificates: Certificates) -> None:
    shown = certificates.credentials(certificates.operator)
    with dial(secured.grpc_address, secured.network_id, shown) as api:
        market = OperatorWire(api, ()).open_market("TLSB")
    query = flight_pb2.Query(trades=flight_pb2.TradeRows(market_id=market))
    descriptor = flight.FlightDescriptor.for_command(query.SerializeToString())
    options = flight.FlightCallOptions(timeout=10)
    with flight_client(secured, certificates, certificates.stranger) as client:
        info = client.get_flight_info(descriptor, options)
        assert client.do_get(info.endpoints[0].ticket, options).read_all().num_rows == 0
    with (
        flight_client(secured, certificates, None) as client,
        pytest.raises((flight.FlightUnavailableError, flight.FlightTimedOutError)),
    ):
        client.get_flight_info(descriptor, options)
    with connect(secured.flight_address) as connection:
        connection.sendall(PREFACE + SETTINGS)
        assert ended_cleanly(connection)


# --- bytes that are no HTTP/2


def test_garbage_ends_its_connection_alone(served: NodeProcess) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    greetings = [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + chance.randbytes(512),
        PREFACE + b"\xff" * 64,
        PREFACE + SETTINGS + chance.randbytes(2_048),
        PREFACE[:10],
        # A frame longer than allowed, a HEADERS of nonsense, a DATA of no stream.
        PREFACE + SETTINGS + bytes((255, 255, 255, 0, 0, 0, 0, 0, 1)),
        PREFACE + SETTINGS + bytes((0, 0, 8, 1, 4, 0, 0, 0, 1)) + b"\xff" * 8,
        PREFACE + SETTINGS + bytes((0, 0, 1, 0, 0, 0, 0, 0, 9)) + b"x",
        *(chance.randbytes(chance.randint(1, 4_096)) for _ in range(40)),
    ]
    for address in (served.grpc_address, served.flight_address, served.metrics_address):
        for greeting in greetings:
            with connect(address) as connection:
                try:
                    connection.sendall(greeting)
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    continue  # it was ended before all was said
                assert ended_cleanly(connection), greeting
        serves(served)


def test_half_open_connections_hold_nobody_up(served: NodeProcess) -> None:
    held: list[socket.socket] = []
    try:
        for number in range(200):
            connection = connect(served.grpc_address)
            connection.sendall((PREFACE + SETTINGS)[: number % 34])
            held.append(connection)
        serves(served)
        # Closed without a word, from the middle of a request.
        for connection in held:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    finally:
        for connection in held:
            connection.close()
    serves(served)


@pytest.fixture
def poor_then_rich() -> Iterator[Callable[[], None]]:
    """The soft limit most systems start a service with; a call raises this process's own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE_CONNECTIONS + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"the system allows {hard} open files, this takes {needed}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (COMMON_SOFT_LIMIT, hard))
    yield lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_idle_connections(tmp_path: Path, poor_then_rich: Callable[[], None]) -> None:
    node = NodeProcess(tmp_path / "node").start()
    poor_then_rich()
    held: list[socket.socket] = []
    try:
        with dial(node.grpc_address, node.network_id) as api:
            operator = OperatorWire(api, token(node.operator_key, node.network_id))
            market = operator.open_market("IDLE")
            trader = operator.trader("USDT")
            for _ in range(IDLE_CONNECTIONS):
                connection = connect(node.grpc_address)
                held.append(connection)
                connection.sendall(PREFACE + SETTINGS)
            for connection in held:
                assert connection.recv(9)[3] == 4, "no SETTINGS"
            for _ in range(20):
                assert api.place(trader, buy(market, 1, 1)).order_id
            serves(node)
            for connection in held:
                connection.close()
            files = Path(f"/proc/{node.pid}/fd")
            wait_until(lambda: len(list(files.iterdir())) < SPARE_FILES, "the files are given back")
            assert api.place(trader, buy(market, 1, 1)).order_id
        assert node.stop() == 0
    finally:
        for connection in held:
            connection.close()
        node.kill()


# --- listening in the open


@pytest.mark.parametrize("listener", ["grpc", "flight", "metrics"])
def test_no_listening_in_the_open_without_tls(tmp_path: Path, listener: str) -> None:
    command = [sys.executable, "-m", "dexnode", "node", "run", "--data-dir", str(tmp_path)]
    command += ["--set", f"{listener}.host=0.0.0.0", "--set", f"{listener}.port=0"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"{listener}.host: 0.0.0.0 is not a loopback address" in done.stderr
    assert "tls.certificate" in done.stderr
    assert "Traceback" not in done.stderr


def test_clients_cannot_take_the_files_of_the_disk(tmp_path: Path) -> None:
    """A crowd at the node's limit of files is turned away; journal and snapshots go on."""
    node = NodeProcess(
        tmp_path / "node",
        settings=["journal.segment_bytes=1048576"],
        module="tests.support.few_files",
        environment={"FILES": "500"},
    )
    held: list[socket.socket] = []
    try:
        node.start()
        with dial(node.grpc_address, node.network_id) as api:
            operator = OperatorWire(api, token(node.operator_key, node.network_id))
            market = operator.open_market("FILES")
            trader = operator.trader("USDT")
            for _ in range(600):
                held.append(connect(node.grpc_address))
                held[-1].sendall(PREFACE + SETTINGS)
            assert ended_cleanly(held[-1])
            for _ in range(12):
                api.batch(trader, *[buy(market, 1, 1)] * 1_000)
            assert len(list((node.data_dir / "journal").glob("*"))) > 2
            operator.call("TakeSnapshot", admin_pb2.TakeSnapshotRequest())
        assert node.running
    finally:
        for connection in held:
            connection.close()
        node.kill()
