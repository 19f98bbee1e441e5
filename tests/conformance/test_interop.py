"""The official gRPC interop client (Go) against both backends."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import BACKENDS, Certificates, ServerProcess, StartServer
from tests.conformance.programs import program, run

CASES = (
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
)


@pytest.fixture(
    scope="module",
    params=[(backend, security) for backend in BACKENDS for security in ("h2c", "tls")],
    ids="-".join,
)
def interop_server(
    request: pytest.FixtureRequest, start_server: StartServer, certificates: Certificates
) -> ServerProcess:
    """The interop client shows no certificate, so TLS here is one-sided."""
    backend, security = request.param
    tls = certificates if security == "tls" else None
    return start_server(backend, tls, client_certificates=False)


@pytest.mark.parametrize("case", CASES)
def test_interop(interop_server: ServerProcess, case: str) -> None:
    command = [
        program("interop_client"),
        "-server_host=127.0.0.1",
        f"-server_port={interop_server.port}",
        f"-test_case={case}",
    ]
    if interop_server.certificates is not None:
        ca = interop_server.certificates.ca
        command += ["-use_tls", "-use_test_ca", f"-ca_file={ca}", "-server_host_override=localhost"]
    code, output = run(*command)
    assert code == 0, output
