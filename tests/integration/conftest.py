"""The whole node on both gRPC backends, shared by the tests of the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.certificates import Certificates, mtls_node
from tests.support.node_process import NodeProcess
from tests.support.wire import OperatorWire, Wire, dial, token


@pytest.fixture(scope="session", params=["trio", "aio"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    """A running node; tests make their own markets and accounts on it."""
    node = NodeProcess(
        tmp_path_factory.mktemp(f"node-{request.param}") / "node", backend=request.param
    ).start()
    yield node
    assert node.running, node.log_path.read_text()[-4_000:]
    assert node.stop() == 0


@pytest.fixture
def api(served: NodeProcess) -> Iterator[Wire]:
    """Stubs on a channel of the test's own."""
    with dial(served.grpc_address, served.network_id) as wire:
        yield wire


@pytest.fixture
def operator(served: NodeProcess, api: Wire) -> OperatorWire:
    """The same, as the operator."""
    return OperatorWire(api, token(served.operator_key, served.network_id))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """One authority for the session."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session", params=["trio", "aio"])
def secured(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    certificates: Certificates,
) -> Iterator[NodeProcess]:
    """A running node that speaks mTLS on every listener."""
    folder = tmp_path_factory.mktemp(f"mtls-{request.param}")
    node = mtls_node(folder / "node", certificates, request.param)
    yield node
    assert node.running, node.log_path.read_text()[-4_000:]
    assert node.stop() == 0
