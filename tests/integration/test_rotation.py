"""New certificates, authorities, revocations and operators in a running node: no call fails."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import grpc
import pytest
from pyarrow import flight

from dex.admin.v1 import admin_pb2
from dex.flight.v1 import flight_pb2
from dex.matching.v1 import matching_pb2
from dexsdk import Key
from tests.support.certificates import OPERATOR_NAME, Certificates, ClientPems
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until
from tests.support.wire import CALL_SECONDS, OperatorWire, Wire, answer, dial, token

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SETTINGS_FRAME = 4
STATUS = admin_pb2.GetNodeStatusRequest()


class Rotating:
    """A node whose operators are in a file, and its authority."""

    def __init__(self, folder: Path, backend: str, *, revocable: bool = False) -> None:
        self.certificates = Certificates(folder / "authority")
        self.config = folder / "node.toml"
        self.key = Key.generate()
        self.write_operators("by-key", "by-certificate")
        settings = self.certificates.settings()
        if revocable:
            settings.append(f"tls.revocation_list={self.certificates.revoke()}")
        self.node = NodeProcess(
            folder / "node",
            backend=backend,
            settings=[*settings, "telemetry.log_level=debug"],
            config=self.config,
        ).start()

    def write_operators(self, *names: str) -> None:
        proofs = {
            "by-key": f'public_key = "{self.key.public_bytes.hex()}"',
            "by-certificate": f'certificate_name = "{OPERATOR_NAME}"',
        }
        entries = [f'[[operators]]\nname = "{name}"\n{proofs[name]}\n' for name in names]
        self.config.write_text("\n".join(entries) or "operators = []\n")

    def renew(self, what: str = "certificates renewed") -> None:
        """SIGHUP, until the log says it."""
        log = self.node.log_path
        before = log.read_text().count(what)
        os.kill(self.node.pid, signal.SIGHUP)
        wait_until(lambda: log.read_text().count(what) > before, what)

    def channel(self, client: ClientPems | None = None) -> AbstractContextManager[Wire]:
        shown = self.certificates.credentials(client or self.certificates.stranger)
        return dial(self.node.grpc_address, self.node.network_id, shown)

    def served_serial(self, address: str) -> str:
        """Serial number of the certificate a listener shows."""
        with greet(address, self.certificates, self.certificates.stranger) as connection:
            shown = connection.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


def client_context(certificates: Certificates, client: ClientPems | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    context.set_alpn_protocols(["h2"])
    if client is not None:
        context.load_cert_chain(client.certificate, client.private_key)
    return context


def greet(address: str, certificates: Certificates, client: ClientPems | None) -> ssl.SSLSocket:
    """A connection over which the server has answered in HTTP/2. Raises OSError."""
    return spoken(address, client_context(certificates, client))


def spoken(address: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host, int(port)), CALL_SECONDS)
    try:
        secure = context.wrap_socket(plain, server_hostname="localhost")
        secure.sendall(PREFACE)
        # In TLS 1.3 a client hears of its refusal when it reads.
        if secure.recv(9)[3:4] != bytes((SETTINGS_FRAME,)):
            raise ConnectionError("no HTTP/2")
    except BaseException:
        plain.close()
        raise
    return secure


@pytest.fixture(scope="module", params=["trio", "aio"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rotating]:
    """One node of each backend; the aio one cannot look into lists of revoked certificates."""
    folder = tmp_path_factory.mktemp(f"rotation-{request.param}")
    it = Rotating(folder, request.param, revocable=request.param == "trio")
    yield it
    assert it.node.stop() == 0, it.node.log_path.read_text()[-4_000:]


@pytest.fixture
def rotating(running: Rotating) -> Iterator[Rotating]:
    """That node, with the operators it began with afterwards."""
    good = running.config.read_text()
    yield running
    if running.config.read_text() != good:
        running.config.write_text(good)
        running.renew("operators renewed")


only_revocable = pytest.mark.parametrize("running", ["trio"], indirect=True)


class Load:
    """Calls without an end: each worker over a channel that stays, or a new one for each call."""

    def __init__(self, rotating: Rotating) -> None:
        self.rotating = rotating
        self.calls = 0
        self.failures: list[str] = []
        self._over = threading.Event()
        workers = [self._stay, self._stay, self._anew]
        self._threads = [threading.Thread(target=worker) for worker in workers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.more(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(CALL_SECONDS)

    def more(self, count: int) -> None:
        """Wait for so many calls more."""
        wanted = self.calls + count
        wait_until(lambda: self.calls >= wanted or self.failures, "calls go on")

    def _call(self, api: Wire) -> None:
        try:
            api.matching.ListMarkets(matching_pb2.ListMarketsRequest(), timeout=CALL_SECONDS)
            self.calls += 1
        except grpc.RpcError as error:
            self.failures.append(str(error))

    def _stay(self) -> None:
        with self.rotating.channel() as api:
            while not self._over.is_set():
                self._call(api)

    def _anew(self) -> None:
        while not self._over.is_set():
            with self.rotating.channel() as api:
                self._call(api)


def test_a_new_certificate_under_load_fails_no_call(rotating: Rotating) -> None:
    certificates, node = rotating.certificates, rotating.node
    listeners = (node.grpc_address, node.flight_address)
    with Load(rotating) as load:
        for turn in range(3):
            before = [rotating.served_serial(address) for address in listeners]
            new = certificates.issue(f"server-{turn}", "localhost", "127.0.0.1")
            for source, target in zip(new, certificates.server, strict=True):
                source.replace(target)
            rotating.renew()
            after = [rotating.served_serial(address) for address in listeners]
            assert all(old != now for old, now in zip(before, after, strict=True)), listeners
            load.more(20)
    assert load.failures == []
    print(f"{load.calls} calls, 0 failed, 3 rotations")


def test_a_removed_operator_is_refused_from_the_next_call_on(rotating: Rotating) -> None:
    with rotating.channel(rotating.certificates.operator) as api:
        by_key = token(rotating.key, rotating.node.network_id)
        assert answer(api.admin.GetNodeStatus, STATUS).reason == ""
        assert answer(api.admin.GetNodeStatus, STATUS, metadata=by_key).reason == ""
        rotating.write_operators("by-key")
        rotating.renew("operators renewed")
        assert answer(api.admin.GetNodeStatus, STATUS).reason == "UNAUTHENTICATED"
        assert answer(api.admin.GetNodeStatus, STATUS, metadata=by_key).reason == ""
        rotating.write_operators()
        rotating.renew("operators renewed")
        said = answer(api.admin.GetNodeStatus, STATUS, metadata=by_key)
        assert said.reason == "PERMISSION_DENIED"


def test_what_cannot_be_used_changes_nothing(rotating: Rotating) -> None:
    good = rotating.config.read_text()
    certificate = rotating.certificates.server.certificate
    pem = certificate.read_bytes()
    with rotating.channel(rotating.certificates.operator) as api:
        rotating.config.write_text("operators = 7\n")
        rotating.renew("nothing renewed")
        rotating.config.write_text(good)
        certificate.write_bytes(b"no certificate")
        rotating.renew("certificates not renewed")
        assert answer(api.admin.GetNodeStatus, STATUS).reason == ""
        greet(rotating.node.grpc_address, rotating.certificates, rotating.certificates.stranger)
        certificate.write_bytes(pem)


@only_revocable
def test_a_revoked_certificate_is_refused_from_the_next_call_on(rotating: Rotating) -> None:
    certificates, node = rotating.certificates, rotating.node
    leaving = certificates.issue("leaving", OPERATOR_NAME)
    with (
        rotating.channel(leaving) as revoked,
        rotating.channel() as honest,
        Load(rotating) as load,
    ):
        assert answer(revoked.admin.GetNodeStatus, STATUS).reason == ""
        certificates.revoke(leaving)
        rotating.renew()

        def is_refused() -> bool:
            said = answer(revoked.admin.GetNodeStatus, STATUS, timeout=CALL_SECONDS)
            return said.code == grpc.StatusCode.UNAVAILABLE

        wait_until(is_refused, "the revoked operator is refused", seconds=10)
        greet(node.grpc_address, certificates, certificates.stranger)
        with pytest.raises(OSError, match=r"no HTTP/2|revoked"):
            greet(node.grpc_address, certificates, leaving)
        by_key = token(rotating.key, node.network_id)
        assert answer(honest.admin.GetNodeStatus, STATUS, metadata=by_key).reason == ""
        load.more(10)
    assert load.failures == []


@only_revocable
def test_flight_asks_for_a_token_where_certificates_can_be_revoked(rotating: Rotating) -> None:
    """pyarrow cannot look into the list: a revoked certificate alone opens nothing there."""
    certificates, node = rotating.certificates, rotating.node
    by_key = token(rotating.key, node.network_id)
    with rotating.channel() as api:
        market = OperatorWire(api, by_key).open_market("ROTA")
    query = flight_pb2.Query(trades=flight_pb2.TradeRows(market_id=market))
    descriptor = flight.FlightDescriptor.for_command(query.SerializeToString())
    shown = certificates.operator
    location = f"grpc+tls://{node.flight_address}"
    options: dict[str, bytes] = {
        "tls_root_certs": certificates.ca.read_bytes(),
        "cert_chain": shown.certificate.read_bytes(),
        "private_key": shown.private_key.read_bytes(),
    }
    verbs: list[Callable[[flight.FlightClient, flight.FlightCallOptions], object]] = [
        lambda client, call: client.get_flight_info(descriptor, call),
        lambda client, call: client.get_schema(descriptor, call),
        lambda client, call: list(client.list_flights(b"", call)),
    ]
    with flight.connect(location, **options) as client:
        headers = [(name.encode(), value.encode()) for name, value in by_key]
        for verb in verbs:
            with pytest.raises((flight.FlightUnauthenticatedError, OSError), match=r"^UNAUTH"):
                verb(client, flight.FlightCallOptions(timeout=CALL_SECONDS))
            verb(client, flight.FlightCallOptions(timeout=CALL_SECONDS, headers=headers))
