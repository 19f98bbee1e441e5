"""A handler that does not read holds its peer back; one that reads lets it go on."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from dexrpc import CallContext, MethodKind
from tests.unit.rpc.test_connection import Bench
from tests.unit.rpc.wire import DATA, HELLO, WINDOW, frame, message, request

BODY = bytes(10_000)
MESSAGES = 5
LIMITS = {"stream_window_bytes": 65_536, "connection_window_bytes": 1 << 20}


async def test_window_is_given_back_when_the_handler_reads(nursery: trio.Nursery) -> None:
    may_read = trio.Event()
    received: list[bytes] = []

    async def collect(requests: Any, _ctx: CallContext) -> bytes:
        await may_read.wait()
        while len(received) < MESSAGES:
            received.append(await requests.receive())
        return b""

    bench = Bench(nursery, collect, kind=MethodKind.STREAM_UNARY, **LIMITS)
    await bench.say(HELLO + request(1, "/a/B", BODY, end=False))
    for _ in range(MESSAGES - 1):
        await bench.say(frame(DATA, 0, 1, message(BODY)))
    early = [payload for _, stream, payload in bench.transport.frames(WINDOW) if stream == 1]
    assert early == [], "window was given back for messages nobody has read"
    may_read.set()
    await trio.testing.wait_all_tasks_blocked()
    late = [payload for _, stream, payload in bench.transport.frames(WINDOW) if stream == 1]
    assert sum(int.from_bytes(payload, "big") for payload in late) >= 3 * len(BODY)
    assert received == [BODY] * MESSAGES
    bench.connection.close()
