"""A node's life: draining, refusals to start that say why, snapshots, metrics."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pyarrow import flight

from dex.admin.v1 import admin_pb2
from dex.flight.v1 import flight_pb2
from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from tests.support.node_process import NodeDied, NodeProcess
from tests.support.waiting import wait_until
from tests.support.wire import OperatorWire, Signer, Wire, answer, buy, dial, sell, token

ROOT = Path(__file__).parents[2]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
BACKENDS = pytest.mark.parametrize("backend", ["trio", "aio"])


def operator_of(node: NodeProcess, api: Wire) -> OperatorWire:
    return OperatorWire(api, token(node.operator_key, node.network_id))


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def send_sigterm(node: NodeProcess) -> None:
    os.kill(node.pid, signal.SIGTERM)


def drain_by_call(node: NodeProcess) -> None:
    with dial(node.grpc_address, node.network_id) as api:
        operator_of(node, api).call("Drain", admin_pb2.DrainRequest())


@BACKENDS
@pytest.mark.parametrize("ask", [send_sigterm, drain_by_call], ids=["SIGTERM", "Drain"])
def test_draining_lets_a_call_end(
    tmp_path: Path, backend: str, ask: Callable[[NodeProcess], None]
) -> None:
    node = NodeProcess(tmp_path / "node", backend=backend).start()
    try:
        with dial(node.grpc_address, node.network_id) as api:
            operator = operator_of(node, api)
            market = operator.open_market("LIFE")
            trader = operator.trader("USDT")
            go = threading.Event()

            def requests() -> Iterator[pb.OrderStreamRequest]:
                yield pb.OrderStreamRequest(envelope=trader.envelope(place=buy(market, 4, 1)))
                go.wait(20)
                yield pb.OrderStreamRequest(envelope=trader.envelope(place=buy(market, 5, 1)))

            answers = api.orders.OrderStream(requests(), timeout=30)
            assert next(answers).results[0].order_id
            health: Any = health_pb2_grpc.HealthStub(api.channel)
            watched = health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
            assert next(watched).status == SERVING
            assert get(f"http://{node.metrics_address}/readyz") == (200, "ready\n")
            feed = api.matching.StreamBook(
                matching_pb2.StreamBookRequest(market_id=market), timeout=30
            )
            assert next(feed).HasField("snapshot")
            ask(node)
            assert next(watched).status == NOT_SERVING
            watched.cancel()
            # A feed would never end by itself; it is told to go on elsewhere.
            said = answer(next, feed)
            assert (said.code, said.reason) == (StatusCode.UNAVAILABLE, "NODE_DRAINING")
            assert get(f"http://{node.metrics_address}/readyz") == (503, "not ready\n")
            # The stream is under way: its order is taken, and its end is a good one.
            go.set()
            (last,) = answers
            assert last.results[0].order_id
        assert node.wait_exit() == 0
        assert "Traceback" not in node.log_path.read_text()
        node.start()
        with dial(node.grpc_address, node.network_id) as api:
            assert api.account(trader).open_order_count == 2
    finally:
        node.kill()


def test_sigterm_of_an_idle_node(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node").start()
    assert node.stop() == 0
    assert "Traceback" not in node.log_path.read_text()


def last_error(died: pytest.ExceptionInfo[NodeDied]) -> str:
    """What the node said last; no traceback."""
    text = str(died.value)
    assert "Traceback" not in text, text
    return text.strip().splitlines()[-1]


def test_two_nodes_on_one_folder(tmp_path: Path) -> None:
    first = NodeProcess(tmp_path / "node").start()
    second = NodeProcess(tmp_path / "node")
    try:
        with pytest.raises(NodeDied) as died:
            second.start()
        assert f"in use by process {first.pid}" in last_error(died)
        with dial(first.grpc_address, first.network_id) as api:
            assert operator_of(first, api).status().network_id == first.network_id
    finally:
        first.kill()
        second.kill()


@pytest.mark.parametrize(
    ("backend", "listener"),
    [("trio", "grpc"), ("aio", "grpc"), ("trio", "flight"), ("aio", "metrics")],
)
def test_a_port_in_use(tmp_path: Path, backend: str, listener: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = NodeProcess(tmp_path / "node", backend=backend, settings=[f"{listener}.port={port}"])
        with pytest.raises(NodeDied) as died:
            node.start()
        assert str(port) in last_error(died)
        name = {"grpc": "gRPC", "flight": "Flight", "metrics": "metrics"}[listener]
        assert f"{name} on 127.0.0.1:{port}" in last_error(died)


def test_data_of_another_network(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node").start()
    node.open_account()
    node.stop()
    other = NodeProcess(tmp_path / "node", network_id="another")
    other.log_path.unlink()
    with pytest.raises(NodeDied) as died:
        other.start()
    assert "triodex-test" in last_error(died)
    assert "another" in last_error(died)


def state(api: Wire, operator: OperatorWire, market: str, traders: list[Signer]) -> object:
    """Everything a reader can see, as far as a restart must keep it."""
    status = operator.status()
    return (
        status.event_hash,
        status.applied_sequence,
        status.open_order_count,
        [api.account(trader) for trader in traders],
        api.book(market),
        list(api.matching.ListTrades(matching_pb2.ListTradesRequest(market_id=market)).trades),
    )


def test_a_snapshot_shortens_the_start(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node").start()
    try:
        with dial(node.grpc_address, node.network_id) as api:
            operator = operator_of(node, api)
            market = operator.open_market("SNAP")
            traders = [operator.trader("SNAP", "USDT") for _ in range(2)]
            for n in range(40):
                api.batch(traders[n % 2], buy(market, 100 + n % 5, 3), sell(market, 102 + n % 5, 2))
            report = operator.call("TakeSnapshot", admin_pb2.TakeSnapshotRequest())
            assert report.sequence >= 40
            assert report.size_bytes > 0
            assert len(bytes.fromhex(report.state_hash)) == 32
            api.place(traders[0], buy(market, 1, 1))
            before = state(api, operator, market, traders)
        node.kill()
        node.start()
        with dial(node.grpc_address, node.network_id) as api:
            operator = operator_of(node, api)
            status = operator.status()
            assert status.snapshot_sequence == report.sequence
            # The order after it, and perhaps ticks of the clock.
            assert 1 <= status.replayed_count <= status.applied_sequence - report.sequence
            after = state(api, operator, market, traders)
            assert seen_alike(before, after)
    finally:
        node.kill()


def seen_alike(before: Any, after: Any) -> bool:
    """The same but for the ticks of the clock, which move the journal alone."""
    if before[1] == after[1]:
        assert before[0] == after[0]
    for number, (old, new) in enumerate(zip(before[2:], after[2:], strict=True)):
        if number == 1:
            for mine in (*old, *new):
                mine.ClearField("sequence")
        if number == 2:
            for book in (old, new):
                book.ClearField("time")
        assert old == new
    return True


def test_flight_tickets_outlive_a_restart(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node").start()
    try:
        with dial(node.grpc_address, node.network_id) as api:
            market = operator_of(node, api).open_market("TICKET")
        query = flight_pb2.Query(trades=flight_pb2.TradeRows(market_id=market))
        descriptor = flight.FlightDescriptor.for_command(query.SerializeToString())
        with flight.connect(f"grpc://{node.flight_address}") as client:
            ticket = client.get_flight_info(descriptor).endpoints[0].ticket
        secret = node.data_dir / "node.secret"
        assert secret.stat().st_mode & 0o777 == 0o600
        node.stop()
        node.start()
        with flight.connect(f"grpc://{node.flight_address}") as client:
            assert client.do_get(ticket).read_all().num_rows == 0
        node.stop()
        secret.unlink()
        node.start()
        with (
            flight.connect(f"grpc://{node.flight_address}") as client,
            pytest.raises(flight.FlightError, match=r"(?i)ticket"),
        ):
            client.do_get(ticket).read_all()
    finally:
        node.kill()


def test_metrics_are_the_documented_ones(served: NodeProcess, api: Wire) -> None:
    operator = operator_of(served, api)
    market = operator.open_market("METER")
    maker, taker = (operator.trader("METER", "USDT") for _ in range(2))
    api.place(maker, sell(market, 10, 5))
    api.place(taker, buy(market, 10, 5))
    assert answer(api.place, taker, buy(market, 10, 0)).reason == "QUANTITY_OUT_OF_RANGE"
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    documented = set(
        re.findall(r"^\| `(dex_\w+)` \| (?:gauge|counter|histogram)", page, re.MULTILINE)
    )
    base = f"http://{served.metrics_address}"

    def metrics() -> str:
        return get(f"{base}/metrics")[1]

    wait_until(lambda: f'dex_trades_total{{market="{market}"}} 1.0' in metrics(), "the trade")
    text = metrics()
    named = {
        re.sub(r"_(bucket|sum|count)$", "", name) if name not in documented else name
        for name in re.findall(r"^(dex_\w+)[{ ]", text, re.MULTILINE)
    }
    assert named <= documented
    # What has not happened yet may have no series.
    assert documented - named <= {
        "dex_trade_ingest_lag_seconds",
        "dex_pool_atoms",
        "dex_feed_subscribers",
        "dex_gate_refusals_total",
        "dex_rpc_connection_refusals_total",
        "dex_rpc_floods_total",
        "dex_rpc_stalls_total",
    }
    assert 'dex_order_refusals_total{reason="QUANTITY_OUT_OF_RANGE"}' in text
    assert get(f"{base}/healthz") == (200, "ok\n")
    assert get(f"{base}/nothing")[0] == 404
