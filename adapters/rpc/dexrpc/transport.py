"""Bytes to and from one peer: a plain socket or a TLS stream.

The plain socket is driven without Trio's stream layer: waiting for readability before reading, and
trying to write before waiting, saves a system call and a pass of the scheduler per wake-up, and
wake-ups are most of what a lone unary call costs.
"""

from __future__ import annotations

import socket
from typing import Final, Protocol, final

import trio

RECEIVE_BYTES = 65536


_TCP_ESTABLISHED: Final = 1  # tcpi_state of TCP_INFO, linux/tcp_states.h


def is_gone(peer: trio.socket.SocketType) -> bool:
    """Whether the peer has closed its side, whatever of it is still unread. Where the system does
    not say (Linux does), it has not."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None or peer.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return peer.getsockopt(socket.IPPROTO_TCP, option, 1)[0] != _TCP_ESTABLISHED


class Transport(Protocol):
    """What a connection needs of its peer's bytes."""

    async def receive(self) -> bytes:
        """Some bytes, or none at the end. Raises OSError or trio.BrokenResourceError."""

    async def send(self, data: bytes) -> None:
        """Send all of `data`. Raises the same."""

    async def send_eof(self) -> None:
        """Promise to send nothing more, where the transport can say so."""

    async def aclose(self) -> None:
        """Close without ceremony; never raises and never waits for the peer."""


@final
class SocketTransport:
    """A plain TCP socket."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)

    async def receive(self) -> bytes:
        """See Transport.receive."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                continue

    async def send(self, data: bytes) -> None:
        """See Transport.send."""
        rest = memoryview(data)
        while True:
            try:
                rest = rest[self._socket.send(rest) :]
            except (BlockingIOError, InterruptedError):
                pass
            if not rest:
                return
            await trio.lowlevel.wait_writable(self._socket)

    async def send_eof(self) -> None:
        """See Transport.send_eof."""
        self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """See Transport.aclose."""
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


@final
class TlsTransport:
    """A TLS stream whose handshake is done."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream

    async def receive(self) -> bytes:
        """See Transport.receive."""
        return bytes(await self._stream.receive_some(RECEIVE_BYTES))

    async def send(self, data: bytes) -> None:
        """See Transport.send."""
        await self._stream.send_all(data)

    async def send_eof(self) -> None:
        """TLS has no half-close worth the name: the close that follows says it."""

    async def aclose(self) -> None:
        """See Transport.aclose."""
        await trio.aclose_forcefully(self._stream)
