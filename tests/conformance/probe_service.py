"""A service of plain bytes that lets a test see what the server did with a call."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import ErrorInfo

from dexrpc import CallContext, Method, MethodKind, Receiver, RpcError, Sender, StatusCode

PREFIX = "/dexrpc.test.Probe/"


class Probe:
    """Handlers, and counts of what happened in them (read back with Counters)."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._go = trio.Event()

    async def echo(self, request: bytes, ctx: CallContext) -> bytes:
        return request

    async def echo_stream(
        self, requests: Receiver[bytes], ctx: CallContext, send: Sender[bytes]
    ) -> None:
        async for request in requests:
            await send.send(request)

    async def echo_batches(
        self, requests: Receiver[bytes], ctx: CallContext, send: Sender[bytes]
    ) -> None:
        while True:
            try:
                batch = await requests.receive_available()
            except trio.EndOfChannel:
                return
            await send.send_many(batch)

    async def hang(self, request: bytes, ctx: CallContext) -> bytes:
        self.counts["hang_started"] += 1
        try:
            await trio.sleep_forever()
        finally:
            self.counts["hang_ended"] += 1

    async def hang_stream(
        self, requests: Receiver[bytes], ctx: CallContext, send: Sender[bytes]
    ) -> None:
        """Answer the first message, then take no more."""
        await send.send(await requests.receive())
        await self.hang(b"", ctx)

    async def flood(self, request: bytes, ctx: CallContext, send: Sender[bytes]) -> None:
        """`count size`: that many messages of that size, counted as they are accepted."""
        count, size = map(int, request.split())
        message = bytes(size)
        for _ in range(count):
            await send.send(message)
            self.counts["flood_sent"] += 1

    async def collect_later(self, requests: Receiver[bytes], ctx: CallContext) -> bytes:
        """Read nothing before Go is called; then count the bytes."""
        self.counts["collect_started"] += 1
        await self._go.wait()
        size = 0
        async for request in requests:
            size += len(request)
        return b"%d" % size

    async def go(self, request: bytes, ctx: CallContext) -> bytes:
        self._go.set()
        self._go = trio.Event()
        return b""

    async def wait_go(self, request: bytes, ctx: CallContext) -> bytes:
        self.counts["wait_started"] += 1
        await self._go.wait()
        return b"went"

    async def fail(self, request: bytes, ctx: CallContext) -> bytes:
        raise RpcError(
            StatusCode.FAILED_PRECONDITION,
            "héllo 100%\n",
            details=(ErrorInfo(reason="TEST", domain="dexrpc.test"),),
            trailing_metadata=(("x-why", "because"), ("x-why-bin", b"\x00\xff")),
        )

    async def fail_in_nursery(self, request: bytes, ctx: CallContext) -> bytes:
        async def child() -> None:
            raise RpcError(StatusCode.ABORTED, "from a child task")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        return b""

    async def crash(self, request: bytes, ctx: CallContext) -> bytes:
        raise KeyError("a secret of the server")

    async def metadata(self, request: bytes, ctx: CallContext) -> bytes:
        """Echo metadata as initial and trailing metadata, and as JSON."""
        items = [item for item in ctx.metadata.items() if item[0].startswith("x-")]
        await ctx.send_initial_metadata(items)
        ctx.set_trailing_metadata(items)
        return json.dumps([(k, v.hex() if isinstance(v, bytes) else v) for k, v in items]).encode()

    async def who_am_i(self, request: bytes, ctx: CallContext) -> bytes:
        peer = ctx.peer
        return json.dumps(
            {
                "tls": peer.is_tls,
                "names": peer.certificate_names,
                "seconds": ctx.time_remaining() if ctx.deadline < 1e300 else None,
                "identity": ctx.state.get("identity"),
            }
        ).encode()

    async def counters(self, request: bytes, ctx: CallContext) -> bytes:
        return json.dumps(self.counts).encode()

    async def typed(self, request: StringValue, ctx: CallContext) -> StringValue:
        return StringValue(value=request.value.upper())

    async def intercept(self, ctx: CallContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """An interceptor: names the caller, refuses the refused, counts the ended."""
        if ctx.metadata.get("x-refuse") is not None:
            raise RpcError(StatusCode.PERMISSION_DENIED, "refused by the interceptor")
        ctx.state["identity"] = ctx.metadata.get("x-identity")
        try:
            await call_next()
        finally:
            self.counts["intercepted"] += 1

    def methods(self) -> list[Method]:
        """All handlers above as methods over bytes, and one over a proto message."""
        from dexrpc.method import message_parser

        unary, both = MethodKind.UNARY_UNARY, MethodKind.STREAM_STREAM
        raw: list[tuple[str, MethodKind, Callable[..., Awaitable[Any]]]] = [
            ("Echo", unary, self.echo),
            ("EchoStream", both, self.echo_stream),
            ("EchoBatches", both, self.echo_batches),
            ("Hang", unary, self.hang),
            ("HangStream", both, self.hang_stream),
            ("Flood", MethodKind.UNARY_STREAM, self.flood),
            ("CollectLater", MethodKind.STREAM_UNARY, self.collect_later),
            ("Go", unary, self.go),
            ("WaitGo", unary, self.wait_go),
            ("Fail", unary, self.fail),
            ("FailInNursery", unary, self.fail_in_nursery),
            ("Crash", unary, self.crash),
            ("Metadata", unary, self.metadata),
            ("WhoAmI", unary, self.who_am_i),
            ("Counters", unary, self.counters),
        ]
        methods = [
            Method(PREFIX + name, kind, handler, bytes, bytes) for name, kind, handler in raw
        ]
        typed = Method(
            PREFIX + "Typed",
            unary,
            self.typed,
            message_parser(StringValue),
            StringValue.SerializeToString,
        )
        return [*methods, typed]
