"""A peer that floods and comes straight back is held; nobody else pays for it."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from dexrpc import Method, MethodKind, Server, ServerConfig, open_listener
from dexrpc.codec import ENHANCE_YOUR_CALM, Codec
from dexrpc.door import NETWORKS_MAX, Door
from tests.unit.rpc.test_connection import CANCEL, Bench, Observer, echo, hang
from tests.unit.rpc.wire import (
    CODECS,
    GOAWAY,
    HEADERS,
    HELLO,
    PING,
    RST_STREAM,
    SETTINGS,
    frame,
    request,
    split,
)

HERE, THERE = "127.0.0.1", "127.0.0.2"
both_codecs = pytest.mark.parametrize("codec", CODECS)


def canceled(numbers: range, *, begun: bool = False) -> bytes:
    """Calls that are reset, in one piece with their headers or (`begun`) after all of them."""
    heads = [request(2 * number + 1, "/a/B", None) for number in numbers]
    resets = [frame(RST_STREAM, 0, 2 * number + 1, CANCEL) for number in numbers]
    if begun:
        return b"".join(heads + resets)
    return b"".join(head + reset for head, reset in zip(heads, resets, strict=True))


# --- the budget of one connection


@both_codecs
async def test_a_flood_costs_two_hundred_calls_and_no_task(
    nursery: trio.Nursery, mock_clock: MockClock, codec: type[Codec]
) -> None:
    bench = Bench(nursery, hang, codec=codec)
    await bench.say(HELLO)
    tasks = _TasksSpawned()
    trio.lowlevel.add_instrument(tasks)
    await bench.say(canceled(range(200)))
    assert not bench.transport.frames(GOAWAY), "two hundred resets are allowed"
    assert tasks.count == 0, "a call that was reset before it began cost a task"
    await bench.say(canceled(range(200, 201)))
    assert bench.transport.frames(GOAWAY)[-1][2][4:8] == struct.pack(">I", ENHANCE_YOUR_CALM)
    trio.lowlevel.remove_instrument(tasks)
    bench.connection.close()
    await bench.ended.wait()


class _TasksSpawned(trio.abc.Instrument):
    def __init__(self) -> None:
        self.count = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@both_codecs
@pytest.mark.parametrize("begun", [False, True], ids=["unseen", "begun"])
async def test_who_waits_for_answers_may_cancel_all_that_is_open(
    nursery: trio.Nursery, mock_clock: MockClock, codec: type[Codec], begun: bool
) -> None:
    """Every call of a full connection passes its deadline at once, after a second of work."""
    bench = Bench(nursery, echo, codec=codec)
    await bench.say(HELLO)
    for start in range(0, 1_000, 100):
        await bench.say(b"".join(request(2 * n + 1, "/a/B") for n in range(start, start + 100)))
    assert len(bench.statuses()) == 1_000
    await bench.say(canceled(range(1_000, 2_000), begun=begun))
    assert not bench.transport.frames(GOAWAY), "an honest connection was calmed"
    await bench.say(canceled(range(2_000, 2_201)))
    assert bench.transport.frames(GOAWAY), "what is earned never ends"
    bench.connection.close()


@both_codecs
async def test_a_connection_that_ends_before_its_calls_begin_leaves_nothing(
    nursery: trio.Nursery, mock_clock: MockClock, codec: type[Codec]
) -> None:
    bench = Bench(nursery, hang, codec=codec, max_settings_per_second=5)
    gate = bench.connection.gate = _CountingGate()
    calls = b"".join(request(2 * number + 1, "/a/B", b"12345") for number in range(10))
    await bench.say(HELLO + calls + frame(4, 0, 0) * 10)
    assert bench.observer.floods == ["SETTINGS"]
    bench.transport.to_server.close()
    await bench.ended.wait()
    assert (gate.admitted, gate.inside) == (10, 0), "a call was not counted out"
    assert bench.connection._load.buffered_bytes == 0
    assert bench.observer.running == 0


class _CountingGate:
    def __init__(self) -> None:
        self.admitted = self.inside = 0

    def admit(self, method: Method, peer: Any) -> None:
        self.admitted += 1
        self.inside += 1

    def leave(self, method: Method, peer: Any) -> None:
        self.inside -= 1


@pytest.mark.parametrize(
    ("resets", "owed"), [(20, []), (90, [0.9]), (150, [1.0])], ids=["few", "many", "a flood"]
)
async def test_what_a_connection_costs_its_address(
    nursery: trio.Nursery, mock_clock: MockClock, resets: int, owed: list[float]
) -> None:
    bench = Bench(nursery, hang, max_resets_per_second=100)
    charged: list[float] = []
    bench.connection._charge = charged.append
    await bench.say(HELLO + canceled(range(resets)))
    bench.transport.to_server.close()
    await bench.ended.wait()
    assert charged == owed, "closing in time makes a flood free"


# --- the door


async def test_floods_are_forgiven_one_by_one(mock_clock: MockClock) -> None:
    door = Door(3, 2.0, 16)
    assert not any(door.charge(HERE, 1.0) for _ in range(3))
    assert await waited(door, HERE) == 0.0
    assert door.charge(HERE, 1.0)
    assert await waited(door, THERE) == 0.0, "another address pays for it"
    assert await waited(door, HERE) == pytest.approx(2.0), "four floods are free"
    for _ in range(100):
        door.charge(HERE, 1.0)
    assert await waited(door, HERE) == pytest.approx(6.0), "what is owed has no bound"
    mock_clock.jump(100.0)
    assert await waited(door, HERE) == 0.0


async def waited(door: Door, host: str) -> float:
    """Seconds on the mock clock that the host's next connection waits."""
    start = trio.current_time()
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    clock.autojump_threshold = 0.0
    try:
        assert await door.wait(host)
    finally:
        clock.autojump_threshold = float("inf")
    return trio.current_time() - start


async def test_a_network_of_ipv6_is_one_address(mock_clock: MockClock) -> None:
    door = Door(1, 1.0, 16)
    for host in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::1", "fe80::1%eth0"):
        door.charge(host, 1.0)
    assert await waited(door, "2001:db8:1:2::3") > 0
    assert await waited(door, "2001:db8:1:3::1") == 0.0
    assert await waited(door, "fe80::2") == 0.0


async def test_the_table_of_addresses_is_bounded(mock_clock: MockClock) -> None:
    door = Door(1, 1_000.0, 16)
    for number in range(NETWORKS_MAX + 100):
        door.charge(f"host {number}", 2.0)
        door.charge("host 0", 2.0)
    assert door.network_count == NETWORKS_MAX, "every address is remembered"
    assert door._wait_seconds("host 0") > 0, "who floods most was forgotten first"


# --- the server


@asynccontextmanager
async def serving(
    observer: Observer | None = None, **limits: Any
) -> AsyncIterator[tuple[Server, str]]:
    """A server whose address owes for a thousand seconds after its third flood."""
    config = ServerConfig(max_floods_per_address=2, flood_forgiven_after=1_000.0, **limits)
    method = Method("/a/B", MethodKind.UNARY_UNARY, echo, bytes, bytes)
    server = Server([method], config=config, observer=observer)
    listener = await open_listener("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, [listener])
        yield server, listener.address
        nursery.cancel_scope.cancel()


async def connect(address: str, source: str) -> trio.SocketStream:
    host, _, port = address.rpartition(":")
    return await trio.open_tcp_stream(host, int(port), local_address=source)


async def flood(address: str, source: str) -> None:
    """Flood once; returns when the server has said that it was one."""
    async with await connect(address, source) as stream:
        await stream.send_all(HELLO + canceled(range(201)))
        assert await said(stream, GOAWAY)


async def said(stream: trio.SocketStream, kind: int) -> bool:
    """Whether the server says a frame of that kind; False at the end of what it says."""
    received = b""
    with trio.fail_after(10):
        try:
            while chunk := await stream.receive_some():
                received += chunk
                if any(kind == seen for seen, _, _, _ in split(received)):
                    return True
        except trio.BrokenResourceError:
            pass
    return False


def is_silent(stream: trio.SocketStream) -> bool:
    """Whether nothing has come on it, not even its end."""
    raw = socket.fromfd(stream.socket.fileno(), socket.AF_INET, socket.SOCK_STREAM)
    with raw:
        raw.setblocking(False)
        try:
            raw.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
    return False


async def test_the_next_connection_of_a_flooder_is_held() -> None:
    async with serving(max_held_per_address=2) as (server, address):
        settled = await connect(address, THERE)
        await settled.send_all(HELLO)
        for _ in range(3):
            await flood(address, THERE)
        held = [await connect(address, THERE) for _ in range(2)]
        for stream in held:
            await stream.send_all(HELLO + request(1, "/a/B", b"x"))
        async with await connect(address, HERE) as neighbour:
            await neighbour.send_all(HELLO + request(1, "/a/B", b"x"))
            assert await said(neighbour, HEADERS), "another address pays for it"
        await settled.send_all(request(1, "/a/B", b"x") + frame(PING, 0, 0, bytes(8)))
        assert await said(settled, HEADERS), "an open connection pays for it"
        assert all(map(is_silent, held)), "a flooder's next connection is served"
        async with await connect(address, THERE) as beyond, await connect(address, HERE) as next_:
            await next_.send_all(HELLO)
            assert await said(next_, SETTINGS)
            assert not is_silent(beyond), "one too many is held"
        # Whoever waits is sent away by a drain, which does not wait for it.
        await settled.aclose()
        with trio.fail_after(10):
            await server.drain(600.0)
        for stream in held:
            assert not await said(stream, HEADERS)
            await stream.aclose()


async def test_a_flooder_that_does_not_wait_leaves_nothing(mock_clock: MockClock) -> None:
    observer = _Closings()
    async with serving(observer) as (_, address):
        for _ in range(3):
            await flood(address, THERE)
        await observer.saw(3)
        async with await connect(address, THERE) as stream:
            await stream.send_all(HELLO + canceled(range(201)))
        # It stands before this one in the queue, and so is held when this one is answered.
        async with await connect(address, HERE) as neighbour:
            await neighbour.send_all(HELLO)
            assert await said(neighbour, SETTINGS)
        await observer.saw(4)
        mock_clock.jump(10_000.0)
        await observer.saw(5)
        assert len(observer.floods) == 3, "a peer that has left is served"


class _Closings(Observer):
    """Tells when so many connections have ended."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = 0
        self._changed = trio.Event()

    def connection_closed(self) -> None:
        self._closed += 1
        self._changed.set()
        self._changed = trio.Event()

    async def saw(self, count: int) -> None:
        while self._closed < count:
            await self._changed.wait()
