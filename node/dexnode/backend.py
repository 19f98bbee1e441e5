"""The two gRPC servers a node can run on, behind one small face.

``trio`` is dexrpc's own server; ``aio`` is grpcio's, under which Trio runs as a
guest (:func:`dexrpc.aio_backend.run_with_aio`). Both serve the same methods.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import trio

from dexnode.files import connections_that_fit
from dexnode.settings import GrpcSettings, TlsSettings
from dexrpc import (
    Gate,
    Interceptor,
    Listener,
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

    async def renew(self, nursery: trio.Nursery, seconds: float) -> None:
        """Read the TLS files again; open connections get this long to come back by them.

        Raises:
            OSError: a file cannot be used; nothing has changed.
        """
        ...


class TrioBackend:
    """dexrpc's own server."""

    def __init__(self, server: Server, settings: GrpcSettings, tls: TlsSettings) -> None:
        self._server = server
        self._settings = settings
        self._tls = tls
        self._listener: Listener

    async def start(self, nursery: trio.Nursery) -> str:
        """Listen and serve in the nursery; returns ``host:port``."""
        self._listener = await open_listener(
            self._settings.host, self._settings.port, ssl_context=tls_context(self._tls)
        )
        await nursery.start(partial(self._server.serve, [self._listener]))
        return self._listener.address

    async def renew(self, nursery: trio.Nursery, seconds: float) -> None:
        """Read the TLS files again; open connections get this long to come back by them."""
        self._listener.ssl_context = tls_context(self._tls)
        nursery.start_soon(self._server.renew, seconds)

    async def drain(self, seconds: float) -> None:
        """Take no new calls, give the running ones this long, then stop."""
        await self._server.drain(seconds)


def tls_context(tls: TlsSettings) -> ssl.SSLContext | None:
    """What a listener of ours presents and asks; None without a certificate. Raises OSError."""
    if tls.certificate is None or tls.private_key is None:
        return None
    return server_ssl_context(tls.certificate, tls.private_key, tls.client_ca, tls.revocation_list)


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

    async def renew(self, nursery: trio.Nursery, seconds: float) -> None:
        """Read the TLS files again for the next handshakes; open connections stay."""
        del nursery, seconds
        self._server.renew([self._endpoint])

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
