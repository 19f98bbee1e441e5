"""The two gRPC servers a node can run on, behind one small face.

``trio`` is dexrpc's own server; ``aio`` is grpcio's, under which Trio runs as a
guest (:func:`dexrpc.aio_backend.run_with_aio`). Both serve the same methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import trio

from dexnode.files import connections_that_fit
from dexnode.settings import GrpcSettings, TlsSettings
from dexrpc import (
    Gate,
    Interceptor,
    Method,
    RpcObserver,
    Server,
    ServerConfig,
    open_listener,
    server_ssl_context,
)


class RpcBackend(Protocol):
    """A gRPC server of the node."""

    async def start(self, nursery: trio.Nursery) -> str:
        """Listen and serve in the nursery; returns ``host:port``."""
        ...

    async def drain(self, seconds: float) -> None:
        """Take no new calls, give the running ones this long, then stop."""
        ...


class TrioBackend:
    """dexrpc's own server."""

    def __init__(self, server: Server, settings: GrpcSettings, tls: TlsSettings) -> None:
        self._server = server
        self._settings = settings
        self._tls = tls

    async def start(self, nursery: trio.Nursery) -> str:
        """Listen and serve in the nursery; returns ``host:port``."""
        tls = self._tls
        context = None
        if tls.certificate is not None and tls.private_key is not None:
            context = server_ssl_context(tls.certificate, tls.private_key, tls.client_ca)
        listener = await open_listener(
            self._settings.host, self._settings.port, ssl_context=context
        )
        await nursery.start(partial(self._server.serve, [listener]))
        return listener.address

    async def drain(self, seconds: float) -> None:
        """Take no new calls, give the running ones this long, then stop."""
        await self._server.drain(seconds)


class AioBackend:
    """grpcio's asyncio server; only inside ``run_with_aio``."""

    def __init__(
        self,
        methods: Sequence[Method],
        interceptors: Sequence[Interceptor],
        config: ServerConfig,
        observer: RpcObserver,
        gate: Gate,
        settings: GrpcSettings,
        tls: TlsSettings,
    ) -> None:
        # grpc.aio is loaded by those who choose it.
        from dexrpc.aio_backend import AioServer, Endpoint

        self._server = AioServer(
            methods, interceptors=interceptors, config=config, observer=observer, gate=gate
        )
        self._host = settings.host
        self._endpoint = Endpoint(
            settings.host, settings.port, tls.certificate, tls.private_key, tls.client_ca
        )

    async def start(self, nursery: trio.Nursery) -> str:
        """Listen and serve in the nursery; returns ``host:port``."""
        ports: list[int] = await nursery.start(self._server.serve, [self._endpoint])
        return f"{self._host}:{ports[0]}"

    async def drain(self, seconds: float) -> None:
        """Take no new calls, give the running ones this long, then stop."""
        await self._server.drain(seconds)


def make_backend(
    methods: Sequence[Method],
    interceptors: Sequence[Interceptor],
    observer: RpcObserver,
    gate: Gate,
    settings: GrpcSettings,
    tls: TlsSettings,
) -> RpcBackend:
    """The backend the settings name."""
    config = ServerConfig(
        max_message_bytes=settings.message_bytes_max,
        max_connections=connections_that_fit(settings.connections_max),
        max_connections_per_address=settings.connections_per_address_max,
        max_concurrent_streams=settings.streams_max,
    )
    if settings.backend == "aio":
        return AioBackend(methods, interceptors, config, observer, gate, settings, tls)
    server = Server(methods, interceptors=interceptors, config=config, observer=observer, gate=gate)
    return TrioBackend(server, settings, tls)
