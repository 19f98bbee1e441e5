"""What a node tells about itself: metrics, traces, and whether it is ready.

One object for the composition root to hand around: hooks that feed the metrics, an interceptor that
traces, and the HTTP server that shows them. Logs are apart (dexnode.logs): they begin before and
end after everything here.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, final

import structlog
import trio
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from dexcore.commands import Command
from dexcore.results import Outcome
from dexnode.admission import Admission
from dexnode.gate import NodeGate
from dexnode.metrics_export import export_metrics
from dexnode.metrics_http import MetricsServer
from dexnode.node_metrics import NodeMetrics
from dexnode.settings import MetricsSettings, NodeConfig, TelemetrySettings, TlsSettings
from dexnode.tracing import Tracing
from dexrpc import CallContext, RpcObserver
from dexruntime.journal import SyncSample
from dexruntime.shard import Shard

LOOP_CHECK_SECONDS: Final = 0.1
# What the log says while a node starts; benches and drills read it.
REPLAYING: Final = "replaying the journal"
REPLAYED: Final = "replayed the journal"

log = structlog.stdlib.get_logger(__name__)


@final
class Telemetry:
    """The telemetry of one node. Close it when the node has stopped; it is a context manager."""

    def __init__(self, config: NodeConfig, version: str) -> None:
        """Starts the pushes to the OTLP endpoint, if there is one; serves nothing yet."""
        settings = config.telemetry
        resource = Resource.create(
            {
                "service.name": "triodex",
                "service.version": version,
                "service.instance.id": f"{config.node.network_id}/{config.node.shard}",
            }
        )
        metric_exporter, span_exporter = _exporters(settings)
        self._tls = config.tls
        self._metrics = NodeMetrics()
        self._prometheus = CollectorRegistry()
        # process_resident_memory_bytes and its like: the names every dashboard knows.
        ProcessCollector(registry=self._prometheus)
        PlatformCollector(registry=self._prometheus)
        push = None
        if metric_exporter is not None:
            push = (metric_exporter, settings.otlp_interval_seconds)
        self._provider = export_metrics(self._metrics.registry, resource, self._prometheus, push)
        self.tracing = Tracing(span_exporter, resource, settings.trace_ratio_ppm)
        self.rpc: RpcObserver = self._metrics.rpc
        self._server: MetricsServer | None = None
        self._is_ready = False

    # --- hooks

    @property
    def command_applied(self) -> Callable[[Command, Outcome], None]:
        """The observer of dexruntime.Shard."""
        return self._metrics.command_applied

    @property
    def journal_synced(self) -> Callable[[SyncSample], None]:
        """The `on_sync` of dexruntime.Shard."""
        return self._metrics.journal_synced

    @property
    def call_refused(self) -> Callable[[str], None]:
        """What dexnode.errors.ErrorInterceptor counts with."""
        return self._metrics.call_refused

    @property
    def gate_refused(self) -> Callable[[str, str], None]:
        """What dexnode.gate.NodeGate counts with."""
        return self._metrics.gate_refused

    def observe_admission(self, admission: Admission, gate: NodeGate) -> None:
        """Show budgets and ceilings at every scrape from now on."""
        self._metrics.observe_admission(admission, gate)

    @property
    def interceptor(
        self,
    ) -> Callable[[CallContext, Callable[[], Awaitable[None]]], Awaitable[None]]:
        """The interceptor of dexrpc that traces calls."""
        return self.tracing.interceptor

    def observe_shard(self, shard: Shard) -> None:
        """Show the shard's state at every scrape from now on."""
        self._metrics.observe_shard(shard)

    async def watch_loop(self) -> None:
        """Measure how late the loop runs, for ever. Run it in the node's nursery."""
        while True:
            due = trio.current_time() + LOOP_CHECK_SECONDS
            await trio.sleep_until(due)
            self._metrics.loop_lagged(int((trio.current_time() - due) * 1e9))

    # --- life

    def replaying(self, sequence: int) -> None:
        """The start has replayed up to the sequence."""
        log.info(REPLAYING, sequence=sequence)

    def replayed(self, sequence: int, command_count: int) -> None:
        """The start has replayed all there is."""
        log.info(REPLAYED, sequence=sequence, commands=command_count)

    def serve_metrics(self, settings: MetricsSettings) -> str:
        """Serve /metrics, /healthz and /readyz, which says ready from now on. Returns `host:port`.
        Raises OSError when the port cannot be bound."""
        self._server = MetricsServer(
            self._prometheus,
            lambda: self._is_ready,
            host=settings.host,
            port=settings.port,
            tls=_server_tls(self._tls),
        )
        self._is_ready = True
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return f"{host}:{self._server.port}"

    def renew_tls(self) -> None:
        """Read the certificate again. Raises OSError and keeps the one it has."""
        if self._server is not None:
            self._server.set_tls(_server_tls(self._tls))

    def draining(self) -> None:
        """The node is stopping: /readyz says so, and load balancers look elsewhere."""
        self._is_ready = False
        log.info("draining")

    def close(self) -> None:
        """Stop serving, and push what is left."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._provider.shutdown()
        self.tracing.close()

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _exporters(settings: TelemetrySettings) -> tuple[MetricExporter | None, SpanExporter | None]:
    if not settings.otlp_endpoint:
        return None, None
    # Half a second of imports that a node without a collector does not pay at start.
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    is_insecure = settings.otlp_endpoint.startswith("http://")
    pairs = settings.otlp_headers.reveal().split(",")
    headers = [
        (key.strip().lower(), value.strip())
        for key, separator, value in (pair.partition("=") for pair in pairs)
        if separator
    ]
    return (
        OTLPMetricExporter(settings.otlp_endpoint, insecure=is_insecure, headers=headers),
        OTLPSpanExporter(settings.otlp_endpoint, insecure=is_insecure, headers=headers),
    )


def _server_tls(settings: TlsSettings) -> ssl.SSLContext | None:
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.private_key)
    return context
