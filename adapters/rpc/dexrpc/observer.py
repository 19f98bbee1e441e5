"""What a server tells about itself, for metrics."""

from __future__ import annotations

from typing import Protocol

from dexrpc.status import StatusCode


class RpcObserver(Protocol):
    """Called on the loop: each method must return at once and must not raise."""

    def connection_opened(self) -> None:
        """A transport was accepted (TLS handshake and preface not yet done)."""

    def connection_closed(self) -> None:
        """The counterpart of `connection_opened`, exactly once each."""

    def call_started(self, method: str) -> None:
        """A call of a known method began. `method` is its path, `/pkg.Service/Name`."""

    def call_finished(self, method: str, code: StatusCode, seconds: float) -> None:
        """The counterpart of `call_started`. CANCELLED when the client gave up or went away."""

    def flood_ended(self, what: str) -> None:
        """A connection was ended with ENHANCE_YOUR_CALM. `what` names the frames it sent too many
        of: RST_STREAM, refused HEADERS, CONTINUATION, WINDOW_UPDATE, SETTINGS or control frame."""

    def call_stalled(self, method: str) -> None:
        """An answer of that method was given up: its peer took nothing of it for too long."""

    def connection_refused(self, reason: str) -> None:
        """A connection was closed when it was accepted: `connections`, `address` or `floods` (too
        many of its address wait already), by the ceiling it met."""


class NullObserver:
    """Tells nobody."""

    def connection_opened(self) -> None:
        """See RpcObserver."""

    def connection_closed(self) -> None:
        """See RpcObserver."""

    def call_started(self, method: str) -> None:
        """See RpcObserver."""

    def call_finished(self, method: str, code: StatusCode, seconds: float) -> None:
        """See RpcObserver."""

    def flood_ended(self, what: str) -> None:
        """See RpcObserver."""

    def call_stalled(self, method: str) -> None:
        """See RpcObserver."""

    def connection_refused(self, reason: str) -> None:
        """See RpcObserver."""
