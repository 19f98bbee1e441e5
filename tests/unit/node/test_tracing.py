"""Calls are traced when somebody listens, as part of the caller's trace, and free otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from opentelemetry.trace import StatusCode as SpanStatus

from dexnode.tracing import Tracing
from dexrpc import CallContext, RpcError, StatusCode

RESOURCE = Resource.create({"service.name": "test"})
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = ((b"traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01".encode()),)
NOT_SAMPLED = ((b"traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-00".encode()),)


class Traced:
    """A Tracing and the spans it has finished."""

    def __init__(self, ratio_ppm: int) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing(self._exporter, RESOURCE, ratio_ppm)

    def spans(self) -> list[ReadableSpan]:
        self.tracing.close()
        return list(self._exporter.get_finished_spans())


@pytest.fixture
def always() -> Iterator[Traced]:
    traced = Traced(1_000_000)
    yield traced
    traced.tracing.close()


async def succeed() -> None:
    return


async def test_a_call_is_a_span_of_the_callers_trace(
    always: Traced, make_context: Callable[..., CallContext]
) -> None:
    seen: list[str] = []

    async def call_next() -> None:
        seen.append(structlog.contextvars.get_contextvars()["trace_id"])
        with always.tracing.span("command", sequence=7):
            assert trace.get_current_span().is_recording()

    await always.tracing.interceptor(make_context(headers=SAMPLED), call_next)
    assert seen == [TRACE_ID]
    assert "trace_id" not in structlog.contextvars.get_contextvars()
    command, call = always.spans()
    assert command.parent is not None
    assert call.context is not None
    assert command.parent.span_id == call.context.span_id
    assert dict(command.attributes or {}) == {"sequence": 7}
    assert call.name == "dex.orders.v1.OrderIntake/PlaceOrder"
    assert call.kind is SpanKind.SERVER
    assert trace.format_trace_id(call.context.trace_id) == TRACE_ID
    assert call.parent is not None
    assert trace.format_span_id(call.parent.span_id) == "00f067aa0ba902b7"
    assert dict(call.attributes or {}) == {
        "rpc.system": "grpc",
        "rpc.service": "dex.orders.v1.OrderIntake",
        "rpc.method": "PlaceOrder",
        "rpc.grpc.status_code": 0,
    }


@pytest.mark.parametrize(
    ("code", "status"),
    [(StatusCode.INTERNAL, SpanStatus.ERROR), (StatusCode.NOT_FOUND, SpanStatus.UNSET)],
)
async def test_a_refusal_is_no_fault_of_the_node(
    always: Traced,
    make_context: Callable[..., CallContext],
    code: StatusCode,
    status: SpanStatus,
) -> None:
    async def call_next() -> None:
        raise RpcError(code, "no")

    with pytest.raises(RpcError):
        await always.tracing.interceptor(make_context(headers=SAMPLED), call_next)
    [span] = always.spans()
    assert span.attributes is not None
    assert span.attributes["rpc.grpc.status_code"] == code
    assert span.status.status_code is status
    assert not span.events


@pytest.mark.parametrize(
    ("ratio_ppm", "headers", "count"),
    [(0, SAMPLED, 1), (0, (), 0), (1_000_000, NOT_SAMPLED, 0), (1_000_000, (), 1)],
)
async def test_the_caller_decides_and_else_the_ratio(
    make_context: Callable[..., CallContext],
    ratio_ppm: int,
    headers: tuple[tuple[bytes, bytes], ...],
    count: int,
) -> None:
    traced = Traced(ratio_ppm)
    await traced.tracing.interceptor(make_context(headers=headers), succeed)
    assert len(traced.spans()) == count


@pytest.mark.parametrize("value", [b"", b"garbage", b"00-0-0-0", b"\xff" * 55])
async def test_a_bad_traceparent_begins_a_trace_of_its_own(
    always: Traced, make_context: Callable[..., CallContext], value: bytes
) -> None:
    context = make_context(headers=((b"traceparent", value),))
    await always.tracing.interceptor(context, succeed)
    [span] = always.spans()
    assert span.parent is None


async def test_without_an_exporter_a_call_only_passes(
    make_context: Callable[..., CallContext],
) -> None:
    tracing = Tracing(None, RESOURCE, 1_000_000)
    ran: list[bool] = []

    async def call_next() -> None:
        ran.append(trace.get_current_span().is_recording())
        with tracing.span("command"):
            ran.append(trace.get_current_span().is_recording())

    await tracing.interceptor(make_context(headers=SAMPLED), call_next)
    tracing.close()
    assert ran == [False, False]
