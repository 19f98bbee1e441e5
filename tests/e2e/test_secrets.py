"""Canaries in every secret of a node that says all it can: none is seen where it ought not be."""

from __future__ import annotations

import base64
import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from msgspec import Struct, structs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc
from pyarrow import flight

from dex.accounts.v1 import accounts_pb2
from dex.admin.v1 import admin_pb2
from dex.flight.v1 import flight_pb2
from dexnode.secret import Secret
from dexnode.settings import NodeConfig
from dexsdk import Key
from tests.support.certificates import Certificates
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until
from tests.support.wire import CALL_SECONDS, OperatorWire, answer, buy, dial, token

NODE_SECRET = b"canary of the node's own secret!"
OPERATOR_SEED = b"canary of the operator's own key"
OWN_FILES = {"node.secret", "operator.key"}


class Collector(metrics_grpc.MetricsServiceServicer, trace_grpc.TraceServiceServicer):
    """Keeps what the node pushes."""

    def __init__(self) -> None:
        self.pushed: list[Any] = []

    def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802  # the contract's name
        self.pushed.append(request)
        if isinstance(request, metrics_pb2.ExportMetricsServiceRequest):
            return metrics_pb2.ExportMetricsServiceResponse()
        return trace_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, int]]:
    made = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    add: Any
    for add in (
        metrics_grpc.add_MetricsServiceServicer_to_server,
        trace_grpc.add_TraceServiceServicer_to_server,
    ):
        add(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield made, port
    server.stop(None).wait()


def secret_settings() -> list[str]:
    """Every setting that is a Secret, found by its type: `telemetry.otlp_headers`."""
    found = []
    for section in structs.fields(NodeConfig):
        if isinstance(section.type, type) and issubclass(section.type, Struct):
            for field in structs.fields(section.type):
                kinds = (field.type, *getattr(field.type, "__args__", ()))
                origin = getattr(field.type, "__origin__", None)
                if Secret in (*kinds, origin):
                    found.append(f"{section.name}.{field.name}")
    return found


def forms(secret: bytes) -> list[bytes]:
    """How a secret may be written: raw, in hex, in base64 at any alignment, as Python shows it."""
    encoded = [base64.b64encode(b"\0" * shift + secret)[4:-4] for shift in range(3)]
    urlsafe = [base64.urlsafe_b64encode(b"\0" * shift + secret)[4:-4] for shift in range(3)]
    return [secret, secret.hex().encode(), repr(secret)[2:-1].encode(), *encoded, *urlsafe]


def hits(secrets: dict[str, bytes], places: dict[str, bytes]) -> list[tuple[str, str]]:
    """(secret, place) wherever one is seen."""
    return [
        (name, where)
        for name, secret in secrets.items()
        for where, seen in places.items()
        if any(form in seen for form in forms(secret))
    ]


def everything_seen(node: NodeProcess, collector: Collector) -> dict[str, bytes]:
    """What others than the node's owner may get to see."""
    files = {
        str(path): path.read_bytes()
        for path in node.data_dir.rglob("*")
        if path.is_file() and path.name not in OWN_FILES
    }
    pushed = {f"push {n}": each.SerializeToString() for n, each in enumerate(collector.pushed)}
    return files | pushed


def test_the_search_finds_what_it_looks_for() -> None:
    """The positive control: a secret in any of its forms, behind any bytes, is found."""
    secrets = {"canary": NODE_SECRET}
    writings: dict[str, Callable[[bytes], bytes]] = {
        "raw": bytes,
        "hex": lambda data: data.hex().encode(),
        "base64": base64.b64encode,
        "url": base64.urlsafe_b64encode,
        "repr": lambda data: repr(data).encode(),
    }
    places = {
        f"{name} {shift}": b"x" * shift + make(b"x" * shift + NODE_SECRET + b"tail")
        for shift in range(4)
        for name, make in writings.items()
    }
    assert len(hits(secrets, places)) == len(places) == 20
    assert not hits(secrets, {"nothing": b"canary of the node's own secret?"})


def talkative_node(
    folder: Path, certificates: Certificates, collector_port: int, canaries: dict[str, str]
) -> NodeProcess:
    """A node that logs at debug, pushes and traces everything, and has a canary in every secret."""
    folder.mkdir()
    (folder / "node.secret").write_bytes(NODE_SECRET)
    Key(OPERATOR_SEED).save(folder / "operator.key")
    environment = {
        f"DEX_{name.replace('.', '__').upper()}": f"authorization={value}"
        for name, value in canaries.items()
    }
    return NodeProcess(
        folder,
        settings=[
            *certificates.settings(mutual=False),
            "telemetry.log_level=debug",
            f"telemetry.otlp_endpoint=http://127.0.0.1:{collector_port}",
            "telemetry.otlp_interval_seconds=1",
            "telemetry.trace_ratio_ppm=1000000",
        ],
        environment=environment,
    ).start()


def test_no_secret_leaves_the_node(tmp_path: Path, collector: tuple[Collector, int]) -> None:
    received, port = collector
    certificates = Certificates(tmp_path / "certificates")
    canaries = {name: f"canary-of-{name}-0123456789" for name in secret_settings()}
    assert canaries, "no secret setting was found by its type"
    secrets = {name: value.encode() for name, value in canaries.items()}
    node = talkative_node(tmp_path / "node", certificates, port, canaries)
    said: dict[str, bytes] = {}
    try:
        shown = certificates.credentials()
        with dial(node.grpc_address, node.network_id, shown) as api:
            operator_token = token(node.operator_key, node.network_id)
            operator = OperatorWire(api, operator_token)
            market = operator.open_market("SECR")
            trader = operator.trader("USDT")
            api.place(trader, buy(market, 1, 1))
            trader_token = trader.token()
            api.account(trader)
            request = accounts_pb2.GetAccountRequest(account_id="0" * 22)
            for number, metadata in enumerate((trader_token, _broken(trader_token))):
                refusal = answer(api.accounts.GetAccount, request, metadata=metadata)
                said[f"error {number}"] = repr(refusal).encode()
            operator.call("TakeSnapshot", admin_pb2.TakeSnapshotRequest())
        ticket, error = _pull(node, certificates, market)
        said["flight error"] = error.encode()
        said["metrics"] = _metrics(node, certificates)
        said["command line"] = Path(f"/proc/{node.pid}/cmdline").read_bytes()
        wait_until(lambda: len(received.pushed) > 1, "metrics and traces are pushed")
        os.kill(node.pid, signal.SIGABRT)
        wait_until(lambda: not node.running, "the node has crashed")
    finally:
        node.kill()
    private = certificates.server.private_key.read_bytes().split(b"\n")[1]
    secrets |= {
        "node secret": NODE_SECRET,
        "operator's key": OPERATOR_SEED,
        "trader's key": trader.key._secret[:32],
        "TLS key": private,
        # From the middle, where the signature is.
        "operator's token": str(operator_token[0][1]).split()[1][60:140].encode(),
        "trader's token": str(trader_token[0][1]).split()[1][60:140].encode(),
        "Flight ticket": flight_pb2.Ticket.FromString(ticket).mac,
    }
    seen = everything_seen(node, received) | said
    assert hits({"market": b"SECR-USDT"}, seen), "the search looks where things are written"
    assert hits(secrets, seen) == []
    print(f"{len(secrets)} secrets in {len(seen)} places, {sum(map(len, seen.values()))} bytes")


def _broken(metadata: Any) -> Any:
    """The same token with an end cut off: what is wrong with it must not be told by showing it."""
    return tuple((name, value[:-8]) for name, value in metadata)


def _pull(node: NodeProcess, certificates: Certificates, market: str) -> tuple[bytes, str]:
    """A ticket that was used, and what a spoiled one is told."""
    query = flight_pb2.Query(trades=flight_pb2.TradeRows(market_id=market))
    descriptor = flight.FlightDescriptor.for_command(query.SerializeToString())
    options = flight.FlightCallOptions(timeout=CALL_SECONDS)
    root = certificates.ca.read_bytes()
    with flight.connect(f"grpc+tls://{node.flight_address}", tls_root_certs=root) as client:
        ticket: bytes = client.get_flight_info(descriptor, options).endpoints[0].ticket.ticket
        client.do_get(flight.Ticket(ticket), options).read_all()
        with pytest.raises(flight.FlightUnauthenticatedError) as caught:
            client.do_get(flight.Ticket(ticket[:-4] + b"\0\0\0\0"), options).read_all()
        return ticket, str(caught.value)


def _metrics(node: NodeProcess, certificates: Certificates) -> bytes:
    import ssl

    context = ssl.create_default_context(cafile=str(certificates.ca))
    url = f"https://{node.metrics_address}/metrics"
    with urllib.request.urlopen(url, context=context, timeout=10) as response:
        body: bytes = response.read()
    return body
