"""Where a server listens."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import trio


@dataclass(slots=True)
class Listener:
    """An open TCP port, with TLS or without. A new `ssl_context` counts from the next connection
    on; `Server.renew` asks those that are open to come back by it."""

    socket_listener: trio.SocketListener
    ssl_context: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        """The port, also when it was asked for as 0."""
        port: int = self.socket_listener.socket.getsockname()[1]
        return port

    @property
    def address(self) -> str:
        """`host:port` as clients write it."""
        return format_address(self.socket_listener.socket.getsockname())


def format_address(address: object) -> str:
    """`host:port`, `[host]:port`, or `unix:path`, of a socket address."""
    if not isinstance(address, tuple):
        return f"unix:{address}"
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def open_listener(
    host: str, port: int, *, ssl_context: ssl.SSLContext | None = None, backlog: int = 1024
) -> Listener:
    """Listen on the first address of `host` (port 0: any free one). Raises OSError."""
    addresses = await trio.socket.getaddrinfo(
        host, port, type=trio.socket.SOCK_STREAM, flags=trio.socket.AI_PASSIVE
    )
    family, kind, protocol, _, address = addresses[0]
    sock = trio.socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
        if family == trio.socket.AF_INET6:
            sock.setsockopt(trio.socket.IPPROTO_IPV6, trio.socket.IPV6_V6ONLY, 1)
        await sock.bind(address)
        sock.listen(backlog)
        return Listener(trio.SocketListener(sock), ssl_context)
    except BaseException:
        sock.close()
        raise
