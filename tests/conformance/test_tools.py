"""What an operator has at hand: grpcurl and `buf curl`, by reflection, against both backends."""

from __future__ import annotations

import json

from tests.conformance.conftest import ServerProcess
from tests.conformance.programs import program, run

REQUEST = {"responseSize": 3, "payload": {"body": "AAAA"}}


def grpcurl(server: ServerProcess, *arguments: str, data: object = None) -> tuple[int, str]:
    """Run grpcurl; `arguments` follow the address."""
    options = ["-plaintext"]
    if server.certificates is not None:
        files = server.certificates
        options = ["-cacert", str(files.ca), "-cert", str(files.client)]
        options += ["-key", str(files.client_key)]
    if data is not None:
        options += ["-d", json.dumps(data)]
    return run(program("grpcurl"), *options, f"localhost:{server.port}", *arguments)


def buf_curl(server: ServerProcess, *arguments: str) -> tuple[int, str]:
    """Run `buf curl`; the last argument is the path."""
    *options, path = arguments
    scheme = "http"
    if server.certificates is None:
        options += ["--http2-prior-knowledge"]
    else:
        files, scheme = server.certificates, "https"
        options += ["--cacert", str(files.ca), "--cert", str(files.client)]
        options += ["--key", str(files.client_key)]
    url = f"{scheme}://localhost:{server.port}{path}"
    return run(program("buf"), "curl", "--protocol=grpc", *options, url)


def test_grpcurl(server: ServerProcess) -> None:
    code, output = grpcurl(server, "list")
    assert code == 0, output
    assert "grpc.testing.TestService" in output.split()
    code, output = grpcurl(server, "describe", "grpc.testing.TestService.UnaryCall")
    assert code == 0, output
    assert "SimpleRequest" in output
    code, output = grpcurl(server, "describe", "grpc.reflection.v1.ServerReflection")
    assert code == 0, output
    code, output = grpcurl(server, "grpc.testing.TestService/UnaryCall", data=REQUEST)
    assert code == 0, output
    assert json.loads(output) == {"payload": {"body": "AAAA"}}
    refused = {"responseStatus": {"code": 7, "message": "no"}}
    code, output = grpcurl(server, "grpc.testing.TestService/UnaryCall", data=refused)
    assert code != 0
    assert "PermissionDenied" in output


def test_buf_curl(server: ServerProcess) -> None:
    code, output = buf_curl(server, "--list-services", "")
    assert code == 0, output
    assert "grpc.testing.TestService" in output.split()
    code, output = buf_curl(server, "--list-methods", "")
    assert code == 0, output
    path = "/grpc.testing.TestService/UnaryCall"
    code, output = buf_curl(server, "--data", json.dumps(REQUEST), path)
    assert code == 0, output
    assert json.loads(output) == {"payload": {"body": "AAAA"}}
