"""Servers under test: both backends, over h2c and mTLS, each in its own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLIENT_NAME = "maker-1.example"
CLIENT_COMMON_NAME = "maker one"
STOP_SECONDS = 15


@dataclass(frozen=True)
class Certificates:
    """PEM files of one authority, a server and a client."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


@dataclass
class ServerProcess:
    """A running server and how to reach it."""

    backend: str
    port: int
    process: subprocess.Popen[str]
    certificates: Certificates | None

    @property
    def address(self) -> str:
        """What clients dial. The certificate names localhost."""
        return f"localhost:{self.port}"

    def channel(self) -> grpc.Channel:
        """A stock grpcio channel that shares no connection with others."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        if self.certificates is None:
            return grpc.insecure_channel(f"127.0.0.1:{self.port}", options)
        return grpc.secure_channel(self.address, self.credentials(), options)

    def credentials(self) -> grpc.ChannelCredentials:
        """Client credentials for mTLS."""
        assert self.certificates is not None
        return grpc.ssl_channel_credentials(
            self.certificates.ca.read_bytes(),
            self.certificates.client_key.read_bytes(),
            self.certificates.client.read_bytes(),
        )

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """One authority for all servers of the session."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    client = authority.issue_cert(CLIENT_NAME, "maker@example.org", common_name=CLIENT_COMMON_NAME)
    files = Certificates(
        folder / "ca.pem",
        folder / "server.pem",
        folder / "server.key",
        folder / "client.pem",
        folder / "client.key",
    )
    authority.cert_pem.write_to_path(str(files.ca))
    for issued, chain, key in (
        (server, files.server, files.server_key),
        (client, files.client, files.client_key),
    ):
        issued.private_key_pem.write_to_path(str(key))
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return files


@pytest.fixture(scope="session")
def interop_descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interop protos, compiled."""
    target = tmp_path_factory.mktemp("protos") / "interop.pb"
    protos = HERE / "protos"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{protos}",
            f"--descriptor_set_out={target}",
            str(protos / "interop.proto"),
        ],
        check=True,
    )
    return target


StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def start_server(interop_descriptors: Path) -> Iterator[StartServer]:
    """Start servers; all are stopped at the end of the session."""
    started: list[ServerProcess] = []

    def start(
        backend: str, certificates: Certificates | None, client_certificates: bool = True
    ) -> ServerProcess:
        arguments = [backend, str(interop_descriptors)]
        if certificates is not None:
            ca = str(certificates.ca) if client_certificates else "-"
            arguments += [str(certificates.server), str(certificates.server_key), ca]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.server_main", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path)])},
        )
        assert process.stdout is not None
        server = ServerProcess(backend, int(process.stdout.readline()), process, certificates)
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            assert server.stop() == 0, f"{server.backend} did not end cleanly"


BACKENDS = ("dexrpc", "aio")
CODECS = ("dexrpc", "dexrpc-h2")


@pytest.fixture(
    scope="session",
    params=[
        ("dexrpc", "h2c"),
        ("dexrpc", "mtls"),
        ("dexrpc-h2", "h2c"),
        ("aio", "h2c"),
        ("aio", "mtls"),
    ],
    ids="-".join,
)
def server(
    request: pytest.FixtureRequest, start_server: StartServer, certificates: Certificates
) -> ServerProcess:
    """Each backend over each kind of connection, and the own server over each codec."""
    backend, security = request.param
    return start_server(backend, certificates if security == "mtls" else None)


@pytest.fixture(scope="session", params=CODECS)
def own_server(request: pytest.FixtureRequest, start_server: StartServer) -> ServerProcess:
    """The own server over h2c, for what only its own limits decide."""
    return start_server(request.param, None)


@pytest.fixture(scope="session")
def own_tls_server(start_server: StartServer, certificates: Certificates) -> ServerProcess:
    """The own server over mTLS."""
    return start_server("dexrpc", certificates)


@pytest.fixture
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    """A channel of the test's own."""
    with server.channel() as opened:
        yield opened
