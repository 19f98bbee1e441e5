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
