"""Ends the feeds of a node that stops: they would last as long as their readers.

Calls that end by themselves get the drain's grace. A subscriber does not end, and one would hold
the stop for all of it: it is told NODE_DRAINING at once and resumes at the next node, or after the
restart, by its sequence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

import trio

from dex.errors.v1 import errors_pb2
from dexnode.errors import refuse
from dexrpc import CallContext, MethodKind

# Health watchers are to see NOT_SERVING, and stay.
GRPC_PREFIX = "/grpc."
# A feed whose reader also speaks.
QUOTE_STREAM = "/dex.matching.v1.Matching/QuoteStream"


@final
class FeedInterceptor:
    """The interceptor of dexrpc that knows the running feeds."""

    __slots__ = ("_running", "_stopping")

    def __init__(self) -> None:
        self._running: set[trio.CancelScope] = set()
        self._stopping = False

    @property
    def is_stopping(self) -> bool:
        """Whether feeds end because the node does."""
        return self._stopping

    def stop(self) -> None:
        """End all feeds and begin no more."""
        self._stopping = True
        for scope in self._running:
            scope.cancel()

    async def __call__(self, ctx: CallContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """Run the call; a feed ends with NODE_DRAINING when the node stops."""
        method = ctx.method
        is_feed = method.kind is MethodKind.UNARY_STREAM or method.path == QUOTE_STREAM
        if not is_feed or method.path.startswith(GRPC_PREFIX):
            await call_next()
            return
        with trio.CancelScope() as scope:
            self._running.add(scope)
            if self._stopping:
                scope.cancel()
            try:
                await call_next()
            finally:
                self._running.discard(scope)
        if scope.cancelled_caught:
            raise refuse(errors_pb2.ERROR_REASON_NODE_DRAINING)
