"""Metrics and traces reach a collector that speaks OTLP over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

from dexnode.secret import Secret
from dexnode.settings import NodeConfig, NodeSettings, TelemetrySettings
from dexnode.telemetry import Telemetry
from dexrpc import CallContext
from dexruntime.journal import SyncSample


class Collector(
    metrics_grpc.MetricsServiceServicer,
    trace_grpc.TraceServiceServicer,
):
    """Keeps the requests of both services, which share the name of their method."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.authorizations: set[Any] = set()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # the contract's name
        self.requests.append(request)
        self.authorizations.add(dict(context.invocation_metadata()).get("authorization"))
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


async def test_a_closed_node_has_pushed_everything(
    collector: tuple[Collector, int], make_context: Callable[..., CallContext]
) -> None:
    received, port = collector
    settings = TelemetrySettings(
        otlp_endpoint=f"http://127.0.0.1:{port}",
        otlp_headers=Secret("Authorization=Bearer sesame"),
        otlp_interval_seconds=3600,
        trace_ratio_ppm=1_000_000,
    )

    async def call_next() -> None:
        telemetry.journal_synced(SyncSample(1_500_000, 3, 100))

    config = NodeConfig(node=NodeSettings(shard=4), telemetry=settings)
    with Telemetry(config, "9.9") as telemetry:
        await telemetry.interceptor(make_context(), call_next)
    spans = [
        span.name
        for request in received.requests
        if isinstance(request, trace_pb2.ExportTraceServiceRequest)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert spans == ["dex.orders.v1.OrderIntake/PlaceOrder"]
    metrics = {
        metric.name: metric
        for request in received.requests
        if isinstance(request, metrics_pb2.ExportMetricsServiceRequest)
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    [point] = metrics["dex_journal_sync_seconds"].histogram.data_points
    assert (point.count, point.sum) == (1, 0.0015)
    [written] = metrics["dex_journal_written_bytes_total"].sum.data_points
    assert written.as_int == 100
    assert received.authorizations == {"Bearer sesame"}
