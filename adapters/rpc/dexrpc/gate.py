"""Who decides about a call before anything is made for it."""

from __future__ import annotations

from typing import Protocol

from dexrpc.context import Peer
from dexrpc.method import Method
from dexrpc.status import RpcError


class Gate(Protocol):
    """Asked for every call of a known method as soon as its headers are there: no task has been
    started for it and no byte of its message read, so a refusal costs less here than anywhere.

    Both methods run on the loop, must return at once and must not raise.
    """

    def admit(self, method: Method, peer: Peer) -> RpcError | None:
        """None lets the call in, and `leave` follows exactly once. An error ends it with that
        status; return the same object again where you can, its wire form is remembered."""

    def leave(self, method: Method, peer: Peer) -> None:
        """A call that was let in has ended."""


class OpenGate:
    """Lets everything in."""

    def admit(self, method: Method, peer: Peer) -> RpcError | None:
        """See Gate."""

    def leave(self, method: Method, peer: Peer) -> None:
        """See Gate."""
