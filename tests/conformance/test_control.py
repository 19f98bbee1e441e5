"""What moves a call besides its messages: deadlines, cancellation, flow control, drain."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest

from tests.conformance.clients import (
    DEADLINE_SECONDS,
    counters,
    eventually,
    stream_stream,
    stream_unary,
    unary,
    unary_stream,
)
from tests.conformance.conftest import Certificates, ServerProcess, StartServer


def test_deadline_cancels_the_handler(channel: grpc.Channel) -> None:
    before = counters(channel)
    started, ended = before.get("hang_started", 0), before.get("hang_ended", 0)

    def passes_in_the_handler() -> bool:
        # A busy server may hear of the call when it is over, and then starts no handler.
        with pytest.raises(grpc.RpcError) as raised:
            unary(channel, "Hang")(b"", timeout=0.2)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return counters(channel).get("hang_started", 0) > started

    eventually(passes_in_the_handler, "the handler runs")
    eventually(lambda: counters(channel).get("hang_ended", 0) > ended, "the handler was cancelled")


def test_client_cancel_cancels_the_handler(channel: grpc.Channel) -> None:
    before = counters(channel)
    future = unary(channel, "Hang").future(b"")
    started = before.get("hang_started", 0)
    eventually(lambda: counters(channel).get("hang_started", 0) > started, "the handler runs")
    assert future.cancel()
    ended = before.get("hang_ended", 0)
    eventually(lambda: counters(channel).get("hang_ended", 0) > ended, "the handler was cancelled")


def test_cancel_after_the_first_answer(channel: grpc.Channel) -> None:
    ended = counters(channel).get("hang_ended", 0)
    keep_open = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b"first"
        keep_open.wait(DEADLINE_SECONDS)

    call = stream_stream(channel, "HangStream")(requests())
    assert next(call) == b"first"
    call.cancel()
    keep_open.set()
    eventually(lambda: counters(channel).get("hang_ended", 0) > ended, "the handler was cancelled")


def test_a_lost_connection_cancels_its_calls(server: ServerProcess, channel: grpc.Channel) -> None:
    before = counters(channel)
    with server.channel() as doomed:
        lost = unary(doomed, "Hang").future(b"")
        started = before.get("hang_started", 0)
        eventually(lambda: counters(channel).get("hang_started", 0) > started, "the handler runs")
    assert lost.code() is grpc.StatusCode.CANCELLED
    ended = before.get("hang_ended", 0)
    eventually(lambda: counters(channel).get("hang_ended", 0) > ended, "the handler was cancelled")


def test_a_slow_reader_holds_the_sender_back(channel: grpc.Channel) -> None:
    count, size = 6000, 10_000
    before = counters(channel).get("flood_sent", 0)
    call = unary_stream(channel, "Flood")(b"%d %d" % (count, size))
    next(call)
    sent = [-1, -2]

    def at_rest() -> bool:
        sent.append(counters(channel).get("flood_sent", 0) - before)
        threading.Event().wait(0.05)
        return sent[-1] == sent[-2] == sent[-3] and sent[-1] > 0

    eventually(at_rest, "the sender waits")
    assert sent[-1] < count, "the server sent everything to a client that does not read"
    assert sum(1 for _ in call) == count - 1


def test_a_slow_handler_holds_the_client_back(channel: grpc.Channel) -> None:
    count, size = 2000, 10_000
    taken = 0

    def requests() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(count):
            taken += 1
            yield bytes(size)

    started = counters(channel).get("collect_started", 0)
    future = stream_unary(channel, "CollectLater").future(requests())
    eventually(lambda: counters(channel).get("collect_started", 0) > started, "the handler runs")
    seen = [-1, -2]

    def at_rest() -> bool:
        seen.append(taken)
        threading.Event().wait(0.05)
        return seen[-1] == seen[-2] == seen[-3]

    eventually(at_rest, "the client waits")
    assert taken < count, "the server took everything for a handler that does not read"
    # A neighbour on the same connection is not held back.
    assert unary(channel, "Echo")(bytes(1_000_000), timeout=DEADLINE_SECONDS) == bytes(1_000_000)
    unary(channel, "Go")(b"")
    assert future.result(DEADLINE_SECONDS) == b"%d" % (count * size)


@pytest.mark.parametrize("backend", ["dexrpc", "aio"])
@pytest.mark.parametrize("security", ["h2c", "mtls"])
def test_drain_lets_calls_finish(
    start_server: StartServer, certificates: Certificates, backend: str, security: str
) -> None:
    server = start_server(backend, certificates if security == "mtls" else None)
    with server.channel() as channel:
        waiting = unary(channel, "WaitGo").future(b"")
        eventually(lambda: counters(channel).get("wait_started", 0) == 1, "the call runs")
        # Go is sent on a stream opened before the drain, so it cannot be refused.
        release = stream_stream(channel, "EchoStream")
        gate = threading.Event()

        def requests() -> Iterator[bytes]:
            yield b"open"
            gate.wait(DEADLINE_SECONDS)

        held = release(requests())
        assert next(held) == b"open"
        server.process.terminate()

        def refuses() -> bool:
            try:
                with server.channel() as late:
                    unary(late, "Echo")(b"", timeout=1)
            except grpc.RpcError as error:
                return error.code() is grpc.StatusCode.UNAVAILABLE
            return False

        eventually(refuses, "new connections are refused")
        assert server.process.poll() is None
        gate.set()
        assert list(held) == []
        waiting.cancel()
    assert server.process.wait(DEADLINE_SECONDS) == 0
