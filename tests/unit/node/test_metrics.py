"""What the hooks count is what a scrape and a push show."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dexcore.commands import CreateMarket, OrderCommand, RecordTrades
from dexcore.events import ExternalTrade
from dexcore.market import MarketSpec
from dexcore.reasons import Reason
from dexcore.results import OrderStatus, Outcome, Result, refused_item
from dexnode.metrics import OTHER, SERIES_MAX, Counter, Family, Histogram, Registry, Sample
from dexnode.metrics_export import export_metrics
from dexnode.metrics_http import CONNECTIONS_MAX, MetricsServer
from dexnode.node_metrics import NodeMetrics
from dexnode.settings import MetricsSettings, NodeConfig, TlsSettings
from dexnode.telemetry import Telemetry
from dexrpc import StatusCode
from dexruntime.journal import Identity, SyncSample
from dexruntime.shard import Shard
from dexruntime.storage import PosixStorage
from tests.unit.runtime.shards import until

RESOURCE = Resource.create({"service.name": "test"})


def scrape(registry: CollectorRegistry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels) -> value."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def metrics() -> NodeMetrics:
    return NodeMetrics()


@pytest.fixture
def exposed(metrics: NodeMetrics) -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    provider = export_metrics(metrics.registry, RESOURCE, registry)
    yield registry
    provider.shutdown()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return scrape(registry).get((name, frozenset(labels.items())))


def test_calls(metrics: NodeMetrics, exposed: CollectorRegistry) -> None:
    rpc = metrics.rpc
    rpc.connection_opened()
    rpc.connection_opened()
    rpc.connection_closed()
    for code in (StatusCode.OK, StatusCode.OK, StatusCode.NOT_FOUND):
        rpc.call_started("/a.B/C")
        rpc.call_finished("/a.B/C", code, 0.003)
    rpc.call_started("/a.B/D")
    assert value(exposed, "dex_rpc_connections") == 1
    assert value(exposed, "dex_rpc_calls") == 1
    assert value(exposed, "dex_rpc_requests_total", method="/a.B/C", code="OK") == 2
    assert value(exposed, "dex_rpc_requests_total", method="/a.B/C", code="NOT_FOUND") == 1
    bucket = "dex_rpc_duration_seconds_bucket"
    assert value(exposed, bucket, method="/a.B/C", le="0.0025") == 0
    assert value(exposed, bucket, method="/a.B/C", le="0.005") == 3
    assert value(exposed, bucket, method="/a.B/C", le="+Inf") == 3
    assert value(exposed, "dex_rpc_duration_seconds_sum", method="/a.B/C") == pytest.approx(0.009)
    assert value(exposed, "dex_rpc_duration_seconds_count", method="/a.B/C") == 3


def order_command() -> OrderCommand:
    return OrderCommand(1, 1, 1, b"", b"", b"")


def outcome(*results: Result, reason: Reason = Reason.NONE, repeated: bool = False) -> Outcome:
    made = Outcome(1, 10**18)
    made.results, made.reason, made.repeated = results, reason, repeated
    return made


def test_orders_and_refusals(metrics: NodeMetrics, exposed: CollectorRegistry) -> None:
    resting = (1, 0, OrderStatus.OPEN, 0, 5, (), 0, "")
    refused = refused_item(Reason.INSUFFICIENT_FUNDS, "quantity_lots")
    metrics.command_applied(order_command(), outcome(resting, resting, refused))
    metrics.command_applied(order_command(), outcome(resting, repeated=True))
    metrics.command_applied(order_command(), outcome(reason=Reason.UNKNOWN_KEY))
    commands = {"command": "OrderCommand"}
    for verdict in ("applied", "repeated", "refused"):
        assert value(exposed, "dex_commands_total", outcome=verdict, **commands) == 1
    assert value(exposed, "dex_order_items_total", status="OPEN") == 2
    assert value(exposed, "dex_order_items_total", status="REJECTED") == 1
    assert value(exposed, "dex_order_refusals_total", reason="INSUFFICIENT_FUNDS") == 1
    assert value(exposed, "dex_order_refusals_total", reason="UNKNOWN_KEY") == 1
    metrics.call_refused("UNKNOWN_KEY")
    assert value(exposed, "dex_rpc_refusals_total", reason="UNKNOWN_KEY") == 1


def test_recorded_trades_tell_their_lag(metrics: NodeMetrics, exposed: CollectorRegistry) -> None:
    recorded = outcome()
    for lag_ns in (90 * 10**9, 2 * 10**9):
        time_ns = recorded.time_ns - lag_ns
        recorded.logged.append(ExternalTrade(0, 1, 1, time_ns, 1, 1, 1))
    metrics.command_applied(RecordTrades("desk", 0, 0, b""), recorded)
    metrics.command_applied(RecordTrades("desk", 0, 0, b""), outcome())
    assert value(exposed, "dex_trade_ingest_lag_seconds_count") == 1
    assert value(exposed, "dex_trade_ingest_lag_seconds_sum") == 2


def test_the_journal(metrics: NodeMetrics, exposed: CollectorRegistry) -> None:
    metrics.journal_synced(SyncSample(1_500_000, 100, 9_000))
    metrics.journal_synced(SyncSample(2_500_000, 101, 1_000))
    assert value(exposed, "dex_journal_sync_seconds_sum") == 0.004
    assert value(exposed, "dex_journal_sync_seconds_bucket", le="0.0025") == 2
    assert value(exposed, "dex_journal_batch_commands_bucket", le="100.0") == 1
    assert value(exposed, "dex_journal_batch_commands_sum") == 201
    assert value(exposed, "dex_journal_written_bytes_total") == 10_000


def test_names_follow_the_rules_of_prometheus(metrics: NodeMetrics) -> None:
    names = [metric.name for metric in metrics.registry.all()]
    assert len(set(names)) == len(names)
    for metric in metrics.registry.all():
        assert re.fullmatch(r"dex_[a-z0-9_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not re.search(r"_(ms|ns|us|milliseconds|rate)(_|$)", metric.name)
        assert metric.help.endswith(".")
        if metric.unit:
            assert metric.name.endswith("_" + metric.unit)


def test_the_exposed_names_are_the_declared_ones(
    metrics: NodeMetrics, exposed: CollectorRegistry
) -> None:
    for reading in metrics.registry.readings:
        reading.read = _one_sample(len(reading.labels))
    for counter in metrics.registry.counters:
        counter.series(*("x" for _ in counter.labels))
    for histogram in metrics.registry.histograms:
        histogram.series(*("x" for _ in histogram.labels))
    found = {name for name, _ in scrape(exposed)}
    for metric in metrics.registry.all():
        suffix = "_bucket" if metric.kind == "histogram" else ""
        assert metric.name + suffix in found


def _one_sample(labels: int) -> Any:
    return lambda: [Sample(("x",) * labels, 1)]


def test_bounds_are_inclusive() -> None:
    histogram = Histogram((10, 20))
    for observed in (-5, 10, 11, 20, 21, 10**30):
        histogram.observe(observed)
    assert histogram.counts == [2, 2, 2]


def test_series_are_bounded() -> None:
    family = Registry().counter("dex_x_total", "X.", ("market",))
    for index in range(SERIES_MAX + 50):
        family.series(f"m{index}").value += 1
    series = dict(family.items())
    assert len(series) == SERIES_MAX + 1
    assert series[(OTHER,)].value == 50
    assert family.series("m0") is series[("m0",)]


def test_a_scrape_may_run_while_series_are_made() -> None:
    family: Family[Counter] = Registry().counter("dex_x_total", "X.", ("n",))
    stop = threading.Event()
    errors: list[Exception] = []

    def read() -> None:
        while not stop.is_set():
            try:
                sum(counter.value for _, counter in family.items())
            except Exception as error:  # noqa: BLE001  # any of them fails the test
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for index in range(SERIES_MAX):
        family.series(str(index)).value += 1
    stop.set()
    reader.join()
    assert errors == []


class Sink(MetricExporter):
    """An exporter that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.pushed: list[MetricsData] = []

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 0, **_kwargs: Any
    ) -> MetricExportResult:
        self.pushed.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **_kwargs: Any) -> None:
        return


def test_a_push_has_counters_and_histograms(metrics: NodeMetrics) -> None:
    sink = Sink()
    provider = export_metrics(metrics.registry, RESOURCE, CollectorRegistry(), (sink, 3600))
    metrics.journal_synced(SyncSample(1_500_000, 7, 100))
    provider.shutdown()
    [data] = sink.pushed
    pushed: dict[str, Any] = {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    [sync] = pushed["dex_journal_sync_seconds"].data.data_points
    assert (sync.count, sync.sum) == (1, 0.0015)
    assert pushed["dex_journal_sync_seconds"].unit == "s"
    [written] = pushed["dex_journal_written_bytes_total"].data.data_points
    assert written.value == 100
    [resource] = data.resource_metrics
    assert resource.resource.attributes["service.name"] == "test"
    assert [scope.scope.name for scope in resource.scope_metrics] == ["triodex"]


# --- over HTTP --------------------------------------------------------------------------------


def get(address: str, path: str, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    scheme = "http" if context is None else "https"
    try:
        with urllib.request.urlopen(
            f"{scheme}://{address}{path}", timeout=10, context=context
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_node_shows_its_metrics_and_whether_it_is_ready() -> None:
    with Telemetry(NodeConfig(), "9.9") as telemetry:
        address = telemetry.serve_metrics(MetricsSettings(port=0))
        telemetry.rpc.connection_opened()
        telemetry.journal_synced(SyncSample(1, 1, 1))
        status, text = get(address, "/metrics")
        assert status == 200
        assert "\ndex_rpc_connections 1.0\n" in text
        assert "\nprocess_resident_memory_bytes " in text
        assert 'service_version="9.9"' in text
        assert get(address, "/healthz") == (200, "ok\n")
        assert get(address, "/readyz") == (200, "ready\n")
        telemetry.draining()
        assert get(address, "/healthz") == (200, "ok\n")
        assert get(address, "/readyz") == (503, "not ready\n")
        assert get(address, "/other")[0] == 404
    with pytest.raises(urllib.error.URLError):
        get(address, "/healthz")


def test_metrics_travel_over_tls_when_the_node_has_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    for part in certificate.cert_chain_pems:
        part.write_to_path(chain, append=True)
    certificate.private_key_pem.write_to_path(key)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    config = NodeConfig(tls=TlsSettings(certificate=chain, private_key=key))
    with Telemetry(config, "9.9") as telemetry:
        address = telemetry.serve_metrics(MetricsSettings(port=0))
        assert get(address, "/healthz", trusting) == (200, "ok\n")
        with pytest.raises((urllib.error.URLError, OSError)):
            get(address, "/healthz")
        assert get(address, "/healthz", trusting) == (200, "ok\n")


def test_a_crowd_of_silent_clients_is_turned_away_at_the_door() -> None:
    server = MetricsServer(CollectorRegistry(), lambda: True, host="127.0.0.1", port=0)
    address = ("127.0.0.1", server.port)
    held = [socket.create_connection(address, timeout=10) for _ in range(CONNECTIONS_MAX)]
    try:
        with socket.create_connection(address, timeout=10) as extra:
            assert extra.recv(1) == b"", "one connection too many is closed unanswered"
    finally:
        for connection in held:
            connection.close()
        server.close()


async def test_the_loop_watch_measures_lateness(autojump_clock: trio.testing.MockClock) -> None:
    with Telemetry(NodeConfig(), "9.9") as telemetry:
        address = telemetry.serve_metrics(MetricsSettings(port=0))
        with trio.move_on_after(1.05):
            await telemetry.watch_loop()
        assert "\ndex_loop_lag_seconds_count 10.0\n" in get(address, "/metrics")[1]


async def test_a_shard_is_read_at_every_scrape(
    metrics: NodeMetrics, exposed: CollectorRegistry, tmp_path: Path
) -> None:
    assert value(exposed, "dex_durable_sequence") is None
    identity = Identity("triodex-test", 0, 1)
    shard = Shard(PosixStorage(tmp_path), identity, on_sync=metrics.journal_synced)
    metrics.observe_shard(shard)
    async with trio.open_nursery() as nursery:
        await nursery.start(shard.run)
        spec = MarketSpec("BTC-USDT", "BTC", 8, "USDT", 6, 1, 1000, 1, 1, 10**12, 10**12, 0, 0, 1)
        await shard.sequencer.submit(CreateMarket("desk", spec)).wait()
        assert value(exposed, "dex_durable_sequence") == 1
        assert value(exposed, "dex_applied_sequence") == 1
        assert value(exposed, "dex_sequencer_queue_commands") == 0
        assert value(exposed, "dex_open_orders") == 0
        assert value(exposed, "dex_trades_total", market="BTC-USDT") == 0
        assert value(exposed, "dex_kline_delay_seconds", market="BTC-USDT") == 0
        shard.views.markets[0].book_feed.readers += 2
        for feed, readers in (("book", 2), ("trades", 0), ("klines_1s", 0), ("klines_1d", 0)):
            found = value(exposed, "dex_feed_subscribers", market="BTC-USDT", feed=feed)
            assert found == readers
        # The journal's thread reports a sync after it has announced it.
        await until(lambda: value(exposed, "dex_journal_sync_seconds_count") == 1)
        nursery.cancel_scope.cancel()
