"""Traces of calls, in OpenTelemetry, continued from the caller's W3C `traceparent`.

Off unless an OTLP endpoint is configured, and then a call pays nothing but one await.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, final

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, Tracer
from opentelemetry.trace import StatusCode as SpanStatus
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dexnode.metrics_export import SCOPE
from dexrpc import CallContext, RpcError, StatusCode

_W3C: Final = TraceContextTextMapPropagator()
_W3C_FIELDS: Final = ("traceparent", "tracestate")
# The statuses that are the node's fault, not the caller's (semantic conventions for gRPC).
_FAULTS: Final = frozenset(
    {
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)


@final
class Tracing:
    """A tracer, or nothing."""

    __slots__ = ("_provider", "_tracer")

    def __init__(self, exporter: SpanExporter | None, resource: Resource, ratio_ppm: int) -> None:
        """Without an exporter nothing is traced. `ratio_ppm` is the share of calls traced whose
        caller has not decided."""
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None
        if exporter is not None:
            sampler = ParentBased(TraceIdRatioBased(ratio_ppm / 1_000_000))
            self._provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
            self._tracer = self._provider.get_tracer(SCOPE)

    async def interceptor(self, ctx: CallContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """A span around every call; `trace_id` is in the log lines of its task."""
        tracer = self._tracer
        if tracer is None:
            await call_next()
            return
        carrier = {key: str(ctx.metadata.get(key) or "") for key in _W3C_FIELDS}
        service, _, method = ctx.method.path[1:].partition("/")
        with tracer.start_as_current_span(
            f"{service}/{method}",
            _W3C.extract(carrier),
            SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            with structlog.contextvars.bound_contextvars(trace_id=trace_id):
                await _run(span, call_next)

    @contextmanager
    def span(self, name: str, **attributes: str | int) -> Iterator[None]:
        """A span inside the running call's, e.g. for a command of a stream."""
        if self._tracer is None:
            yield
            return
        with self._tracer.start_as_current_span(name, attributes=attributes):
            yield

    def close(self) -> None:
        """Push what is waiting, within the exporter's timeout, and stop."""
        if self._provider is not None:
            self._provider.shutdown()


async def _run(span: Span, call_next: Callable[[], Awaitable[None]]) -> None:
    code = StatusCode.UNKNOWN
    try:
        await call_next()
        code = StatusCode.OK
    except RpcError as error:
        code = error.code
        raise
    finally:
        span.set_attribute("rpc.grpc.status_code", int(code))
        if code in _FAULTS:
            span.set_status(Status(SpanStatus.ERROR, code.name))
