"""The server: listeners, connections, a clock, and a graceful end."""

from __future__ import annotations

import logging
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, final

import trio

from dexrpc.config import ServerConfig
from dexrpc.connection import Connection
from dexrpc.context import Interceptor, Peer
from dexrpc.door import Door
from dexrpc.gate import Gate, OpenGate
from dexrpc.guard import ServerLoad
from dexrpc.listener import Listener, format_address
from dexrpc.method import Method, method_table
from dexrpc.observer import NullObserver, RpcObserver
from dexrpc.tls import ALPN, certificate_names
from dexrpc.transport import SocketTransport, TlsTransport, Transport, is_gone

logger = logging.getLogger("dexrpc")

_TICK_SECONDS: Final = 1.0
_ACCEPT_PAUSE_SECONDS: Final = 0.1
# After a connection that is closed for floods: a storm of them may not take the loop.
_FLOOD_PAUSE_SECONDS: Final = 0.005


@final
class Server:
    """Serves methods over HTTP/2 on Trio."""

    def __init__(
        self,
        methods: Iterable[Method],
        *,
        interceptors: Sequence[Interceptor] = (),
        config: ServerConfig | None = None,
        observer: RpcObserver | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`interceptors` run outermost first. Raises ValueError for two methods of one path."""
        self._methods = method_table(list(methods))
        self._interceptors = tuple(interceptors)
        self._config = config or ServerConfig()
        self._observer = observer or NullObserver()
        self._gate = gate or OpenGate()
        self._load = ServerLoad()
        self._connections: set[Connection] = set()
        self._accepted = 0
        self._accepted_by_host: Counter[str] = Counter()
        config = self._config
        self._door = Door(
            config.max_floods_per_address, config.flood_forgiven_after, config.max_held_per_address
        )
        self._listening = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._all_gone = trio.Event()
        self._draining = False

    @property
    def connection_count(self) -> int:
        """Connections accepted and not yet closed."""
        return self._accepted

    @property
    def buffered_bytes(self) -> int:
        """Request bytes that handlers have not taken yet, of all connections."""
        return self._load.buffered_bytes

    async def serve(
        self,
        listeners: Sequence[Listener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and serve until cancelled or drained; closes the listeners. Call once."""
        with self._serving:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick)
                nursery.start_soon(self._accept_all, listeners, nursery)
                task_status.started()

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - when it passes, calls are cut off, nothing is raised
        """Stop listening, send GOAWAY, let calls finish for up to `timeout` seconds, then close.

        `serve` returns when this does.
        """
        self._draining = True
        self._door.shut()
        self._listening.cancel()
        for connection in list(self._connections):
            connection.drain()
        with trio.move_on_after(timeout):
            while self._accepted:
                self._all_gone = trio.Event()
                await self._all_gone.wait()
        self._serving.cancel()

    async def renew(self, timeout: float) -> None:  # noqa: ASYNC109 - when it passes, calls are cut off, nothing is raised
        """Ask every open connection to make place for a new one (GOAWAY); close what is left after
        `timeout` seconds.

        For a change of certificates: running calls end as they would, the next ones come by a
        new handshake. A peer that does not go is closed, and its calls with it.
        """
        old = list(self._connections)
        for connection in old:
            connection.retire()
        await trio.sleep(timeout)
        for connection in self._connections.intersection(old):
            connection.close()

    async def _tick(self) -> None:
        while True:
            await trio.sleep(_TICK_SECONDS)
            now = trio.current_time()
            for connection in list(self._connections):
                connection.tick(now)

    async def _accept_all(self, listeners: Sequence[Listener], nursery: trio.Nursery) -> None:
        with self._listening:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(self._accept, listener, nursery)

    async def _accept(self, listener: Listener, nursery: trio.Nursery) -> None:
        async with listener.socket_listener:
            while True:
                try:
                    stream = await listener.socket_listener.accept()
                except OSError as error:
                    # The peer was gone already, or the machine is short of something: both pass.
                    logger.warning("cannot accept: %s", error)
                    await trio.sleep(_ACCEPT_PAUSE_SECONDS)
                    continue
                host = _host_of(stream)
                ceiling = self._ceiling_met(host)
                if ceiling:
                    self._observer.connection_refused(ceiling)
                    await trio.aclose_forcefully(stream)
                    if ceiling == "floods":
                        await trio.sleep(_FLOOD_PAUSE_SECONDS)
                    else:
                        logger.warning("connection of %s refused: too many %s", host, ceiling)
                    continue
                self._accepted += 1
                self._accepted_by_host[host] += 1
                nursery.start_soon(self._serve_stream, stream, host, listener)

    def _ceiling_met(self, host: str) -> str:
        """What keeps a connection of that host out, or nothing."""
        if self._accepted >= self._config.max_connections:
            return "connections"
        if self._accepted_by_host[host] >= self._config.max_connections_per_address:
            return "address"
        return "floods" if self._door.is_full(host) else ""

    def _charge(self, host: str, share: float) -> None:
        if self._door.charge(host, share):
            logger.warning("%s floods: its next connections are held", host)

    async def _serve_stream(self, stream: trio.SocketStream, host: str, listener: Listener) -> None:
        """One connection, start to end. Raises nothing but Cancelled."""
        self._observer.connection_opened()
        ssl_context = listener.ssl_context
        try:
            transport, peer = await self._open(stream, host, ssl_context)
            if transport is not None:
                # The certificates may have been renewed during the handshake.
                is_old = listener.ssl_context is not ssl_context
                await self._serve_transport(transport, peer, partial(self._charge, host), is_old)
        except Exception:
            logger.exception("a connection failed")
        finally:
            self._accepted -= 1
            self._accepted_by_host[host] -= 1
            if not self._accepted_by_host[host]:
                del self._accepted_by_host[host]
            self._observer.connection_closed()
            self._all_gone.set()

    async def _open(
        self, stream: trio.SocketStream, host: str, ssl_context: ssl.SSLContext | None
    ) -> tuple[Transport | None, Peer]:
        """The transport, TLS handshake done, or None for a peer that could not get there."""
        address = "gone"
        try:
            address = format_address(stream.socket.getpeername())
            if not await self._door.wait(host):
                raise trio.BrokenResourceError("the server drains")
            if is_gone(stream.socket):
                raise trio.BrokenResourceError("the peer has left")
            if ssl_context is None:
                return SocketTransport(stream), Peer(address, is_tls=False)
            secure = trio.SSLStream(stream, ssl_context, server_side=True, https_compatible=True)
            with trio.fail_after(self._config.handshake_timeout):
                await secure.do_handshake()
            if secure.selected_alpn_protocol() != ALPN:
                raise trio.BrokenResourceError("the client did not offer h2 by ALPN")
            certificate: Any = secure.getpeercert()
            return TlsTransport(secure), Peer(address, True, certificate_names(certificate))
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            logger.debug("%s: no connection: %s", address, error)
            await trio.aclose_forcefully(stream)
            return None, Peer(address, is_tls=ssl_context is not None)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    async def _serve_transport(
        self, transport: Transport, peer: Peer, charge: Callable[[float], None], is_old: bool
    ) -> None:
        connection = Connection(
            transport,
            peer,
            self._methods,
            self._interceptors,
            self._config,
            self._observer,
            self._gate,
            self._load,
            charge,
        )
        self._connections.add(connection)
        try:
            if self._draining:
                connection.close()
            if is_old:
                connection.retire()
            await connection.run()
        finally:
            self._connections.discard(connection)
            with trio.CancelScope(shield=True):
                await transport.aclose()


def _host_of(stream: trio.SocketStream) -> str:
    """The peer's address without its port; empty for a Unix socket or a peer that is gone."""
    try:
        name: Any = stream.socket.getpeername()
    except OSError:
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""
