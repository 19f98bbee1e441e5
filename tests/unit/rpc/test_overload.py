"""Floods, stalls and the gate, over both codecs on a mock clock."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import hpack
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from dexrpc import CallContext, Method, MethodKind, Peer, RpcError, SendStalled, StatusCode
from dexrpc.codec import ENHANCE_YOUR_CALM, Codec
from tests.unit.rpc.test_connection import Bench, echo, hang
from tests.unit.rpc.wire import (
    CODECS,
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    HELLO,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    frame,
    request,
)

CALM = struct.pack(">I", ENHANCE_YOUR_CALM)
INITIAL_WINDOW = 4
LIMITS: dict[str, Any] = {
    "max_concurrent_streams": 10,
    "max_resets_per_second": 50,
    "max_refusals_per_second": 50,
    "max_settings_per_second": 20,
    "max_control_frames_per_second": 50,
    "max_window_updates_per_second": 50,
}

both_codecs = pytest.mark.parametrize("codec", CODECS)


def rapid_reset(number: int) -> bytes:
    stream_id = 2 * number + 1
    return request(stream_id, "/a/B", None) + frame(RST_STREAM, 0, stream_id, struct.pack(">I", 8))


def unknown_methods(number: int) -> bytes:
    return request(2 * number + 1, "/no/Such")


def refused_streams(number: int) -> bytes:
    return request(2 * number + 1, "/a/B", None)


def malformed_requests(number: int) -> bytes:
    block = hpack.Encoder().encode([(":method", "POST"), (":path", "/a/B")])
    return frame(HEADERS, 5, 2 * number + 1, block)


def made_resets(number: int) -> bytes:
    """The peer breaks a rule on each stream, so that the server resets it (CVE-2025-8671)."""
    stream_id = 2 * number + 1
    return request(stream_id, "/a/B", None) + frame(WINDOW, 0, stream_id, b"\x7f\xff\xff\xff")


def long_header_block(number: int) -> bytes:
    if number == 0:
        return frame(HEADERS, 0, 1, b"\x82")
    return frame(CONTINUATION, 0, 1)


def large_header_block(number: int) -> bytes:
    return frame(CONTINUATION if number else HEADERS, 0, 1, bytes(16_000))


def huge_header_list(number: int) -> bytes:
    encoder = hpack.Encoder()
    block = encoder.encode([("x", "y" * 4_000)])
    return frame(HEADERS, 4, 2 * number + 1, block + encoder.encode([("x", "y" * 4_000)]) * 40)


def pings(_number: int) -> bytes:
    return frame(PING, 0, 0, bytes(8))


def settings(_number: int) -> bytes:
    return frame(SETTINGS, 0, 0)


def window_updates(_number: int) -> bytes:
    return frame(WINDOW, 0, 0, struct.pack(">I", 1))


def empty_data(number: int) -> bytes:
    return frame(DATA, 0, 1) if number else request(1, "/a/B", None)


FLOODS = {
    rapid_reset: "RST_STREAM",
    unknown_methods: "refused HEADERS",
    refused_streams: "refused HEADERS",
    malformed_requests: "refused HEADERS",
    made_resets: "refused HEADERS",
    long_header_block: "CONTINUATION",
    large_header_block: "CONTINUATION",
    huge_header_list: "HEADERS",
    pings: "control frame",
    settings: "SETTINGS",
    window_updates: "WINDOW_UPDATE",
    empty_data: "control frame",
}


@both_codecs
@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
async def test_a_flood_is_ended(
    nursery: trio.Nursery, mock_clock: MockClock, codec: type[Codec], flood: Callable[[int], bytes]
) -> None:
    bench = Bench(nursery, hang, codec=codec, **LIMITS)
    await bench.say(HELLO)
    for number in range(400):
        if bench.transport.frames(GOAWAY):
            break
        await bench.say(flood(number))
    goaways = bench.transport.frames(GOAWAY)
    assert goaways, "the flood goes on"
    assert goaways[-1][2][4:8] == CALM
    assert bench.observer.floods == [FLOODS[flood]]
    bench.connection.close()
    await bench.ended.wait()
    assert bench.observer.running == 0


@both_codecs
async def test_the_same_over_a_longer_time_is_no_flood(
    nursery: trio.Nursery, mock_clock: MockClock, codec: type[Codec]
) -> None:
    bench = Bench(nursery, hang, codec=codec, **LIMITS)
    await bench.say(HELLO)
    for number in range(150):
        await bench.say(rapid_reset(number) + pings(0) + window_updates(0))
        mock_clock.jump(0.03)
    assert not bench.transport.frames(GOAWAY)
    bench.connection.close()


async def feed(_message: bytes, _ctx: CallContext, send: Any) -> None:
    """Sends for ever; says where it was when its reader stalls."""
    sent = 0
    try:
        while True:
            await send.send(bytes(1_000))
            sent += 1
    except SendStalled:
        raise RpcError(StatusCode.RESOURCE_EXHAUSTED, f"resume after {sent}") from None


def hello_with_window(size: int) -> bytes:
    return PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, size))


@both_codecs
async def test_a_stalled_answer_is_cut_within_five_seconds(
    nursery: trio.Nursery, mock_clock: MockClock, codec: type[Codec]
) -> None:
    """Its window fits three messages exactly, so nothing is cut and the status can be sent."""
    bench = Bench(nursery, feed, codec=codec, kind=MethodKind.UNARY_STREAM)
    await bench.say(hello_with_window(3 * 1_005) + request(1, "/a/B"))
    assert len(b"".join(data for _, _, data in bench.transport.frames(DATA))) == 3 * 1_005
    for _ in range(4):
        await bench.tick_at(mock_clock, 0.7)
        assert not bench.statuses(), "cut too early"
    await bench.tick_at(mock_clock, 0.9)
    assert bench.statuses() == [8], "a stalled answer is held for ever"
    [trailers] = [block for flags, _, block in bench.transport.frames(HEADERS) if flags & 1]
    assert b"resume after 3" in trailers
    assert bench.observer.stalled == ["/a/B"]
    assert bench.observer.running == 0
    assert not bench.connection.blocked
    bench.connection.close()


@both_codecs
async def test_an_answer_stalled_inside_a_message_is_reset(
    nursery: trio.Nursery, mock_clock: MockClock, codec: type[Codec]
) -> None:
    bench = Bench(nursery, feed, codec=codec, kind=MethodKind.UNARY_STREAM)
    await bench.say(hello_with_window(1_500) + request(1, "/a/B"))
    await bench.tick_at(mock_clock, 5.0)
    assert bench.transport.frames(RST_STREAM) == [(0, 1, CALM)]
    assert bench.observer.running == 0
    bench.connection.close()


@both_codecs
async def test_an_answer_that_moves_is_not_stalled(
    nursery: trio.Nursery, mock_clock: MockClock, codec: type[Codec]
) -> None:
    bench = Bench(nursery, feed, codec=codec, kind=MethodKind.UNARY_STREAM)
    await bench.say(hello_with_window(100) + request(1, "/a/B"))
    for _ in range(10):
        await bench.say(frame(WINDOW, 0, 1, struct.pack(">I", 10)))
        await bench.tick_at(mock_clock, 2.9)
    assert bench.observer.running == 1
    bench.connection.close()


async def test_a_peer_that_leaves_its_socket_full_is_cut_too(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    bench = Bench(nursery, feed, kind=MethodKind.UNARY_STREAM, max_output_bytes=10_000)
    bench.transport.flowing = trio.Event()
    window = frame(WINDOW, 0, 0, struct.pack(">I", 1 << 30))
    await bench.say(hello_with_window(1 << 30) + window + request(1, "/a/B"))
    assert bench.connection.blocked
    await bench.tick_at(mock_clock, 5.0)
    assert bench.observer.running == 0, "a peer that reads nothing keeps its calls"
    assert bench.connection.codec.output_bytes < 20_000
    bench.connection.close()


class Turnstile:
    """A gate that lets so many in."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.full = RpcError(StatusCode.RESOURCE_EXHAUSTED, "full")

    def admit(self, _method: Method, _peer: Peer) -> RpcError | None:
        if not self.places:
            return self.full
        self.places -= 1
        return None

    def leave(self, _method: Method, _peer: Peer) -> None:
        self.places += 1


@both_codecs
async def test_the_gate_is_asked_before_anything_is_made(
    nursery: trio.Nursery, codec: type[Codec]
) -> None:
    bench = Bench(nursery, hang, codec=codec)
    gate = bench.connection.gate = Turnstile(1)
    await bench.say(HELLO + request(1, "/a/B"))
    tasks = len(nursery.child_tasks)
    await bench.say(request(3, "/a/B") + request(5, "/a/B", None))
    assert bench.statuses() == [8, 8]
    assert len(nursery.child_tasks) == tasks
    assert bench.observer.running == 1
    await bench.say(frame(RST_STREAM, 0, 1, struct.pack(">I", 8)))
    assert gate.places == 1, "a call that left is still counted"
    bench.connection.close()


async def test_calls_that_end_any_way_leave_the_gate(nursery: trio.Nursery) -> None:
    for how in ("answer", "reset", "close", "reset before start"):
        bench = Bench(nursery, echo if how == "answer" else hang)
        gate = bench.connection.gate = Turnstile(3)
        reset = frame(RST_STREAM, 0, 1, struct.pack(">I", 8))
        at_once = reset if how == "reset before start" else b""
        await bench.say(HELLO + request(1, "/a/B") + at_once)
        if how == "reset":
            await bench.say(reset)
        bench.connection.close()
        await bench.ended.wait()
        assert gate.places == 3, how


async def test_request_bytes_are_bounded_over_all_connections(nursery: trio.Nursery) -> None:
    async def read_never(_requests: Any, _ctx: CallContext) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    first, second = (
        Bench(nursery, read_never, kind=MethodKind.STREAM_UNARY, max_buffered_bytes_total=15_000)
        for _ in range(2)
    )
    load = second.connection._load = first.connection._load
    for bench in (first, second):
        await bench.say(HELLO + request(1, "/a/B", bytes(10_000), end=False))
    assert (first.statuses(), second.statuses()) == ([], [8])
    for bench in (first, second):
        bench.connection.close()
        await bench.ended.wait()
    assert load.buffered_bytes == 0
