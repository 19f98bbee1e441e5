"""One connection over a transport in memory, on a mock clock: timeouts, limits, isolation."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from dexrpc import CallContext, Method, MethodKind, Peer, RpcError, ServerConfig, StatusCode
from dexrpc.codec import ENHANCE_YOUR_CALM, REFUSED_STREAM
from dexrpc.connection import Connection
from tests.unit.rpc.wire import (
    CODECS,
    DATA,
    GOAWAY,
    HEADERS,
    HELLO,
    PING,
    RST_STREAM,
    WINDOW,
    frame,
    request,
    split,
)

CANCEL = struct.pack(">I", 8)
Handler = Callable[..., Awaitable[Any]]


class MemoryTransport:
    """A transport whose peer is the test."""

    def __init__(self) -> None:
        self.to_server, self._incoming = trio.open_memory_channel[bytes](1000)
        self.sent = b""
        self.closed = False
        self.flowing = trio.Event()
        self.flowing.set()

    async def receive(self) -> bytes:
        try:
            return await self._incoming.receive()
        except trio.EndOfChannel:
            return b""

    async def send(self, data: bytes) -> None:
        await self.flowing.wait()
        self.sent += data

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        self.closed = True

    def frames(self, kind: int) -> list[tuple[int, int, bytes]]:
        """Frames of one kind sent so far: flags, stream, payload."""
        return [(f, s, p) for k, f, s, p in split(self.sent) if k == kind]


class Observer:
    """Counts calls that have not ended, and remembers how the others did."""

    def __init__(self) -> None:
        self.running = 0
        self.codes: list[StatusCode] = []
        self.floods: list[str] = []
        self.stalled: list[str] = []

    def connection_opened(self) -> None: ...

    def connection_closed(self) -> None: ...

    def call_started(self, method: str) -> None:
        self.running += 1

    def call_finished(self, method: str, code: StatusCode, seconds: float) -> None:
        self.running -= 1
        self.codes.append(code)

    def flood_ended(self, what: str) -> None:
        self.floods.append(what)

    def call_stalled(self, method: str) -> None:
        self.stalled.append(method)

    def connection_refused(self, reason: str) -> None: ...


class Bench:
    """A connection under test, its transport, and what it said."""

    def __init__(self, nursery: trio.Nursery, handler: Handler, **limits: Any) -> None:
        self.transport = MemoryTransport()
        self.observer = Observer()
        kind = limits.pop("kind", MethodKind.UNARY_UNARY)
        method = Method("/a/B", kind, handler, bytes, bytes)
        self.connection = Connection(
            self.transport,
            Peer("test", False),
            {method.path: method},
            (),
            ServerConfig(**limits),
            self.observer,
        )
        self.ended = trio.Event()
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        await self.connection.run()
        self.ended.set()

    async def say(self, data: bytes) -> None:
        """Send bytes and let the connection do all it can with them."""
        await self.transport.to_server.send(data)
        await trio.testing.wait_all_tasks_blocked()

    async def tick_at(self, clock: MockClock, seconds: float) -> None:
        """Move the clock on and look after the timeouts, as the server would."""
        clock.jump(seconds)
        self.connection.tick(trio.current_time())
        await trio.testing.wait_all_tasks_blocked()

    def statuses(self) -> list[int]:
        """grpc-status of every answer, in the order sent."""
        values = [
            payload.partition(b"grpc-status")[2]
            for _, _, payload in self.transport.frames(HEADERS)
            if b"grpc-status" in payload
        ]
        return [int(value[1 : 1 + value[0]]) for value in values]


async def echo(message: bytes, _ctx: CallContext) -> bytes:
    return message


async def hang(_message: bytes, _ctx: CallContext) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


async def test_echo(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, echo)
    await bench.say(HELLO + request(1, "/a/B", b"hi"))
    assert bench.transport.frames(DATA) == [(0, 1, b"\0\0\0\0\2hi")]
    assert bench.observer.codes == [StatusCode.OK]


async def test_handshake_timeout(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    bench = Bench(nursery, echo, handshake_timeout=10.0)
    await bench.say(HELLO[:30])
    await bench.tick_at(mock_clock, 9.0)
    assert not bench.ended.is_set()
    await bench.tick_at(mock_clock, 1.5)
    assert bench.ended.is_set()


async def test_keepalive(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    bench = Bench(nursery, echo, keepalive_interval=60.0, keepalive_timeout=20.0)
    await bench.say(HELLO)
    await bench.tick_at(mock_clock, 61.0)
    ((_, _, ping),) = bench.transport.frames(PING)
    await bench.say(frame(PING, 1, 0, ping))
    await bench.tick_at(mock_clock, 30.0)
    assert not bench.ended.is_set(), "the ping was answered"
    await bench.tick_at(mock_clock, 31.0)
    assert len(bench.transport.frames(PING)) == 2
    await bench.tick_at(mock_clock, 21.0)
    assert bench.ended.is_set()


async def test_idle_connection_is_drained(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    bench = Bench(nursery, echo, idle_timeout=100.0, keepalive_interval=1e9)
    await bench.say(HELLO)
    await bench.tick_at(mock_clock, 101.0)
    assert len(bench.transport.frames(GOAWAY)) == 1
    ((_, _, ping),) = bench.transport.frames(PING)
    await bench.say(frame(PING, 1, 0, ping))
    assert len(bench.transport.frames(GOAWAY)) == 2
    bench.transport.to_server.close()
    await bench.ended.wait()


async def test_a_running_call_is_not_idle(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    bench = Bench(nursery, hang, idle_timeout=100.0, keepalive_interval=1e9)
    await bench.say(HELLO + request(1, "/a/B"))
    await bench.tick_at(mock_clock, 101.0)
    assert bench.transport.frames(GOAWAY) == []
    bench.connection.close()


async def test_a_peer_that_does_not_read(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    bench = Bench(nursery, echo, write_timeout=60.0)
    await bench.say(HELLO)
    bench.transport.flowing = trio.Event()
    await bench.say(request(1, "/a/B", b"hi"))
    await bench.tick_at(mock_clock, 59.0)
    assert not bench.ended.is_set()
    await bench.tick_at(mock_clock, 2.0)
    assert bench.ended.is_set()


async def test_deadline(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    async def wait(_message: bytes, ctx: CallContext) -> bytes:
        assert ctx.time_remaining() == pytest.approx(5.0)
        await trio.sleep(4.9)
        return b"in time"

    late = Bench(nursery, hang)
    on_time = Bench(nursery, wait)
    with_timeout = request(1, "/a/B").replace(frame(HEADERS, 4, 1)[3:], frame(HEADERS, 4, 1)[3:], 1)
    head, body = _with_timeout(with_timeout, b"5S")
    for bench in (late, on_time):
        await bench.transport.to_server.send(HELLO + head + body)
    await trio.sleep(6)
    assert late.observer.codes == [StatusCode.DEADLINE_EXCEEDED]
    assert late.statuses() == [4]
    assert on_time.observer.codes == [StatusCode.OK]
    for bench in (late, on_time):
        bench.connection.close()


def _with_timeout(data: bytes, timeout: bytes) -> tuple[bytes, bytes]:
    """Add a grpc-timeout to the request's header block."""
    (head, body) = split(data)
    literal = b"\0\x0cgrpc-timeout" + bytes((len(timeout),)) + timeout
    return frame(head[0], head[1], head[2], head[3] + literal), frame(*body)


@pytest.mark.parametrize("codec", CODECS)
async def test_calls_reset_before_they_start_leave_nothing(
    nursery: trio.Nursery, codec: Any
) -> None:
    bench = Bench(nursery, echo, max_concurrent_streams=2, codec=codec)
    await bench.say(HELLO)
    for number in range(1, 20, 2):
        await bench.say(request(number, "/a/B") + frame(RST_STREAM, 0, number, CANCEL))
    await bench.say(request(21, "/a/B", b"still"))
    assert bench.transport.frames(DATA) == [(0, 21, b"\0\0\0\0\5still")]
    assert bench.transport.frames(RST_STREAM) == []


async def test_one_stream_too_many(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, hang, max_concurrent_streams=2)
    await bench.say(HELLO + b"".join(request(number, "/a/B") for number in (1, 3, 5)))
    assert bench.transport.frames(RST_STREAM) == [(0, 5, struct.pack(">I", REFUSED_STREAM))]
    await bench.say(frame(RST_STREAM, 0, 1, CANCEL))
    await bench.say(request(7, "/a/B"))
    assert bench.observer.running == 2
    bench.connection.close()


async def test_rapid_reset(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, hang, max_resets_per_second=10)
    pairs = [request(n, "/a/B") + frame(RST_STREAM, 0, n, CANCEL) for n in range(1, 41, 2)]
    await bench.say(HELLO + b"".join(pairs))
    (_, _, payload) = bench.transport.frames(GOAWAY)[-1]
    assert int.from_bytes(payload[4:8], "big") == ENHANCE_YOUR_CALM
    bench.transport.to_server.close()
    await bench.ended.wait()
    assert bench.observer.running == 0


async def test_too_many_request_bytes_held(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, hang_on_stream, kind=MethodKind.STREAM_UNARY, max_buffered_bytes=20_000)
    await bench.say(HELLO + request(1, "/a/B", bytes(10_000), end=False))
    assert bench.observer.running == 1
    await bench.say(request(3, "/a/B", bytes(10_000), end=False))
    assert bench.observer.codes == [StatusCode.RESOURCE_EXHAUSTED]
    assert bench.observer.running == 1
    bench.connection.close()


async def hang_on_stream(_requests: object, _ctx: CallContext) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


async def test_a_closed_window_holds_an_answer_until_it_opens(nursery: trio.Nursery) -> None:
    async def large(_message: bytes, _ctx: CallContext) -> bytes:
        return bytes(100_000)

    bench = Bench(nursery, large)
    await bench.say(HELLO + request(1, "/a/B"))
    assert sum(len(p) for _, _, p in bench.transport.frames(DATA)) == 65_535
    assert bench.observer.running == 1
    more = struct.pack(">I", 100_000)
    await bench.say(frame(WINDOW, 0, 0, more) + frame(WINDOW, 0, 1, more))
    assert sum(len(p) for _, _, p in bench.transport.frames(DATA)) == 100_005
    assert bench.statuses() == [0]


async def test_an_answer_cut_by_its_failure_resets_the_stream(nursery: trio.Nursery) -> None:
    fail = trio.Event()

    async def fail_while_sending(_message: bytes, _ctx: CallContext, send: Any) -> None:
        async with trio.open_nursery() as sending:
            sending.start_soon(send.send, bytes(100_000))
            await fail.wait()
            raise RpcError(StatusCode.ABORTED, "no more")

    bench = Bench(nursery, fail_while_sending, kind=MethodKind.UNARY_STREAM)
    await bench.say(HELLO + request(1, "/a/B"))
    assert bench.observer.running == 1
    fail.set()
    await trio.testing.wait_all_tasks_blocked()
    assert bench.observer.codes == [StatusCode.ABORTED]
    assert len(bench.transport.frames(RST_STREAM)) == 1, "trailers inside a message would lie"


async def test_an_error_beside_a_cancellation_stays_in_its_call(nursery: trio.Nursery) -> None:
    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("while cleaning up")

    async def parent(_message: bytes, _ctx: CallContext) -> bytes:
        async with trio.open_nursery() as children:
            children.start_soon(fail_when_cancelled)
            children.start_soon(trio.sleep_forever)
        raise AssertionError

    bench = Bench(nursery, parent)
    await bench.say(HELLO + request(1, "/a/B"))
    await bench.say(frame(RST_STREAM, 0, 1, CANCEL))
    assert bench.observer.codes == [StatusCode.CANCELLED]
    await bench.say(request(3, "/a/B"))
    assert bench.observer.running == 1, "the connection lives"
    bench.connection.close()


async def test_drain_waits_for_the_call(nursery: trio.Nursery) -> None:
    release = trio.Event()

    async def wait(_message: bytes, _ctx: CallContext) -> bytes:
        await release.wait()
        return b"done"

    bench = Bench(nursery, wait)
    await bench.say(HELLO + request(1, "/a/B"))
    bench.connection.drain()
    await trio.testing.wait_all_tasks_blocked()
    ((_, _, ping),) = bench.transport.frames(PING)
    # The first GOAWAY lets in what was on its way.
    await bench.say(request(3, "/a/B"))
    assert bench.observer.running == 2
    await bench.say(frame(PING, 1, 0, ping) + request(5, "/a/B"))
    assert bench.transport.frames(RST_STREAM) == [(0, 5, struct.pack(">I", REFUSED_STREAM))]
    release.set()
    await trio.testing.wait_all_tasks_blocked()
    bench.transport.to_server.close()
    await bench.ended.wait()
    assert bench.observer.codes == [StatusCode.OK] * 2
    assert bench.statuses() == [0, 0]


async def test_a_peer_on_its_way_in_retires_when_it_has_got_there(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, echo)
    await bench.say(HELLO[:30])
    bench.connection.retire()
    await trio.testing.wait_all_tasks_blocked()
    assert not bench.ended.is_set(), "its first call would fail"
    await bench.say(HELLO[30:] + request(1, "/a/B", b"hi"))
    assert bench.observer.codes == [StatusCode.OK]
    ((_, _, ping),) = bench.transport.frames(PING)
    await bench.say(frame(PING, 1, 0, ping))
    bench.transport.to_server.close()
    await bench.ended.wait()


async def test_a_fault_of_ours_ends_the_connection_alone(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(nursery, hang)
    await bench.say(HELLO + request(1, "/a/B"))
    other = Bench(nursery, echo)
    bench.transport.flowing = None  # type: ignore[assignment]
    await bench.say(frame(PING, 0, 0, bytes(8)))
    await bench.ended.wait()
    assert "the connection failed" in caplog.text
    assert bench.observer.running == 0
    await other.say(HELLO + request(1, "/a/B", b"hi"))
    assert other.observer.codes == [StatusCode.OK]
