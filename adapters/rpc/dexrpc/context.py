"""What a handler sees of its call: the context, the request stream, the response stream.

Handlers are transport-free. The classes here are their whole world, and each backend fills the
few abstract methods; nothing in a handler tells which one serves it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from dexrpc.metadata import Metadata, MetadataView
from dexrpc.status import RpcError, StatusCode

if TYPE_CHECKING:
    from dexrpc.method import Method

Req = TypeVar("Req")
Resp = TypeVar("Resp")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is on the other end of the connection."""

    address: str
    """`host:port`, `[host]:port` or `unix:`. For logs; not an identity."""

    is_tls: bool
    """Whether the connection is encrypted."""

    certificate_names: tuple[str, ...] = ()
    """Names in the client's certificate, empty unless it was verified: DNS names, URIs and e-mail
    addresses of the subjectAltName in that order, then the common name."""

    state: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """For interceptors and the gate: what they know of this connection. It ends with it."""


class CallContext(ABC):
    """One call, as its handler and the interceptors see it."""

    __slots__ = ("deadline", "metadata", "method", "peer", "state", "trailing_metadata")

    def __init__(
        self, method: Method, metadata: MetadataView, peer: Peer, deadline: float = math.inf
    ) -> None:
        self.method = method
        self.metadata = metadata
        self.peer = peer
        self.deadline = deadline
        """When the call is cancelled, on Trio's clock (seconds); infinite without a deadline."""
        self.state: dict[str, Any] = {}
        """For interceptors to hand an identity, a permission, a span to the handler."""
        self.trailing_metadata: Metadata = ()

    def time_remaining(self) -> float:
        """Seconds until the deadline: infinite without one, never negative."""
        return max(0.0, self.deadline - trio.current_time())

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Replace the metadata sent with the status."""
        self.trailing_metadata = tuple(metadata)

    @abstractmethod
    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Send the response headers now. Raises RuntimeError once they are gone (which the first
        message also does) and ValueError for metadata that may not travel."""


class SendStalled(RpcError):
    """The peer took nothing of an answer for `ServerConfig.stall_timeout`; what was under way is
    dropped and nothing more can be sent. A handler may end with a status of its own instead."""

    def __init__(self) -> None:
        super().__init__(StatusCode.RESOURCE_EXHAUSTED, "the answer was not read in time")


class Receiver(ABC, Generic[Req]):
    """The request stream of one call, for one task at a time."""

    __slots__ = ()

    @abstractmethod
    async def receive(self) -> Req:
        """The next message. Raises trio.EndOfChannel once the client has half-closed."""

    @abstractmethod
    async def receive_available(self, count_max: int | None = None) -> list[Req]:
        """Wait for at least one message, then take all that have arrived (bounded by
        `ServerConfig.max_message_batch`, and by `count_max`). Raises
        trio.EndOfChannel at the end."""

    def __aiter__(self) -> Receiver[Req]:
        return self

    async def __anext__(self) -> Req:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None


class Sender(ABC, Generic[Resp]):
    """The response stream of one call."""

    __slots__ = ()

    @abstractmethod
    async def send(self, message: Resp) -> None:
        """Send one message; waits while the peer's flow-control window is exhausted. Raises
        SendStalled."""

    @abstractmethod
    async def send_many(self, messages: Sequence[Resp]) -> None:
        """Send messages in order with one wake-up and one coalesced write. Raises SendStalled."""


Interceptor = Callable[[CallContext, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Wraps every call of a known method: `await call_next()` runs the rest. Raising RpcError before it
refuses the call before its request is parsed."""
