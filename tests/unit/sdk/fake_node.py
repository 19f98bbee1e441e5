"""A fake at the transport boundary: a real grpcio server that plays scripts instead of trading.

It stands in where a real node cannot be made to misbehave on cue: refusals, lost connections, gaps.
Everything about trading is tested against a node, in tests/integration.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from dexsdk.methods import Method


@dataclass(frozen=True)
class Refuse:
    """Ends a call with a status, an ErrorInfo when `reason` is set, a RetryInfo when asked."""

    code: grpc.StatusCode
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after_ns: int | None = None


@dataclass(frozen=True)
class Hang:
    """Says nothing more until the caller leaves."""


@dataclass(frozen=True)
class Seen:
    """What a caller sent."""

    request: bytes
    metadata: dict[str, Any]


# One call's script: what it does in turn. A callable makes a message out of each request.
Step = Message | bytes | Refuse | Hang | Callable[[bytes], Message]


class FakeNode(grpc.GenericRpcHandler):
    """Plays the next script of a method for each call of it; `seen` holds what was sent."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.seen: defaultdict[str, list[Seen]] = defaultdict(list)
        self.cancelled = threading.Event()
        self._scripts: defaultdict[str, deque[list[Step]]] = defaultdict(deque)
        self._server: grpc.Server | None = None
        self._pool: futures.ThreadPoolExecutor | None = None
        self._credentials = credentials
        self.address = ""

    def start(self, port: int = 0) -> None:
        self._pool = futures.ThreadPoolExecutor(16)
        self._server = grpc.server(self._pool, handlers=[self], options=(("grpc.so_reuseport", 0),))
        address = f"127.0.0.1:{port}"
        if self._credentials is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, self._credentials)
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        """Breaks every connection at once."""
        assert self._server is not None
        assert self._pool is not None
        self._server.stop(None).wait()
        self._pool.shutdown()

    def restart(self) -> None:
        """Comes back at the same address."""
        self.start(int(self.address.rpartition(":")[2]))

    def script(self, method: Method[Any, Any], *steps: Step) -> None:
        """Adds what one call of the method does."""
        self._scripts[method.path].append(list(steps))

    def requests(self, method: Method[Any, Any]) -> list[bytes]:
        return [seen.request for seen in self.seen[method.path]]

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = details.method
        metadata = dict(details.invocation_metadata or ())
        streams = path.rpartition("/")[2].startswith("Stream")
        duplex = path.endswith("/OrderStream")

        def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
            return next(self._play(path, metadata, iter([request]), context))

        def stream(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            return self._play(path, metadata, iter([request]), context)

        def both(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            return self._play(path, metadata, requests, context)

        if duplex:
            return grpc.stream_stream_rpc_method_handler(both)
        if streams:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)

    def _play(
        self,
        path: str,
        metadata: dict[str, Any],
        requests: Iterator[bytes],
        context: grpc.ServicerContext,
    ) -> Iterator[bytes]:
        script = self._scripts[path].popleft()
        gone = threading.Event()
        if not context.add_callback(gone.set):
            gone.set()
        if any(isinstance(step, Hang) for step in script):
            context.add_callback(self.cancelled.set)
        request = b""
        if not path.endswith("/OrderStream"):
            request = next(requests)
            self.seen[path].append(Seen(request, metadata))
        for step in script:
            if isinstance(step, Refuse):
                _refuse(step, context)
            elif isinstance(step, Hang):
                gone.wait()
                return
            elif isinstance(step, Message):
                yield step.SerializeToString()
            elif isinstance(step, bytes):
                yield step
            else:
                if path.endswith("/OrderStream"):
                    request = next(requests)
                    self.seen[path].append(Seen(request, metadata))
                yield step(request).SerializeToString()


def _refuse(step: Refuse, context: grpc.ServicerContext) -> NoReturn:
    status = status_pb2.Status(code=step.code.value[0], message="refused on cue")
    details: list[Message] = []
    if step.reason:
        details.append(
            error_details_pb2.ErrorInfo(
                reason=step.reason, domain="triodex", metadata=step.metadata
            )
        )
    if step.retry_after_ns is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(step.retry_after_ns)
        details.append(retry)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    if details:
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(step.code, "refused on cue")
