"""grpc.health.v1: what load balancers and probes ask."""

from __future__ import annotations

from typing import Any, final

import trio
from grpc_health.v1 import health_pb2

from dexrpc.context import CallContext, Sender
from dexrpc.method import Method, bind_service
from dexrpc.status import RpcError, StatusCode

_Response = health_pb2.HealthCheckResponse


@final
class HealthService:
    """Serving status by service name; the empty name is the server as a whole."""

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {"": _Response.SERVING}
        self._changed = trio.Event()
        descriptor: Any = health_pb2.DESCRIPTOR.services_by_name["Health"]
        self.methods: list[Method] = bind_service(descriptor, self)

    def set(self, service: str, status: int) -> None:
        """Set a service's `HealthCheckResponse.ServingStatus`; watchers hear of it."""
        if self._statuses.get(service) == status:
            return
        self._statuses[service] = status
        self._changed.set()
        self._changed = trio.Event()

    async def check(
        self, request: health_pb2.HealthCheckRequest, _ctx: CallContext
    ) -> health_pb2.HealthCheckResponse:
        """The status now; NOT_FOUND for a service never set."""
        status = self._statuses.get(request.service)
        if status is None:
            raise RpcError(StatusCode.NOT_FOUND, f"unknown service {request.service!r}")
        return _Response(status=status)

    async def watch(
        self,
        request: health_pb2.HealthCheckRequest,
        _ctx: CallContext,
        send: Sender[health_pb2.HealthCheckResponse],
    ) -> None:
        """The status now and at every change; SERVICE_UNKNOWN until the service is set."""
        last: int | None = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, _Response.SERVICE_UNKNOWN)
            if status != last:
                last = status
                await send.send(_Response(status=status))
            await changed.wait()
