"""Calls and streams between clients and the node, over a network that may be bad.

In the place of gRPC's transport: a call is two messages, a stream one and then many in order. Each
takes its time; while ``Faults`` says so they are lost, delivered twice, or their connection breaks
before or after the node has acted. What the client sees then is what grpcio reports, made into the
SDK's errors by the SDK.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc
import trio

from dexrpc import CallContext, Method, Receiver, RpcError, Sender, StatusCode
from dexrpc.metadata import Metadata, MetadataView
from dexrpc.method import invoke
from dexrpc.status import explain
from dexsdk.effects import Open, Send
from dexsdk.errors import DexError, Unavailable, from_status
from tests.sim.events import MICROSECOND_NS, MILLISECOND_NS, SECOND_NS, Events
from tests.sim.node import Node

TRANSIT_NS: Final = 400 * MICROSECOND_NS
STREAM_WINDOW: Final = 16
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


@dataclass
class Faults:
    """Share of messages, of one, that meet with each fault."""

    lost: float = 0.0
    broken: float = 0.0
    doubled: float = 0.0

    def clear(self) -> None:
        """A network that works."""
        self.lost = self.broken = self.doubled = 0.0


Reply = Callable[[bytes | RpcError], None]


class Network:
    """Between all clients and the node."""

    def __init__(self, events: Events, node: Node, seed: object) -> None:
        self.faults = Faults()
        self.events = events
        self.node = node
        self.chance = random.Random(f"{seed} network")

    async def call(self, who: str, send: Send) -> bytes:
        """One attempt of a unary call; raises what the SDK would."""
        answered = trio.Event()
        answers: list[bytes | DexError] = []

        def answer(value: bytes | DexError) -> None:
            if not answers:
                answers.append(value)
                answered.set()

        name = send.path.rpartition("/")[2]
        self._forward(f"{who} {name}", send, answer)
        with trio.move_on_after(send.timeout_ns / SECOND_NS):
            await answered.wait()
        if not answers:
            raise from_status(grpc.StatusCode.DEADLINE_EXCEEDED, "nobody answered", None)
        if isinstance(answers[0], DexError):
            raise answers[0]
        return answers[0]

    def _forward(self, what: str, send: Send, answer: Callable[[bytes | DexError], None]) -> None:
        """Bring the request to the node, once, twice or not at all."""
        if self.meets(self.faults.lost):
            self.events.log(f"{what} is lost")
            return
        if self.meets(self.faults.broken):
            self.events.soon(TRANSIT_NS, f"{what} breaks", lambda: answer(broken()))
            return
        for _ in range(2 if self.meets(self.faults.doubled) else 1):
            self.events.soon(TRANSIT_NS, f"{what} arrives", lambda: self._serve(what, send, answer))

    def _serve(self, what: str, send: Send, answer: Callable[[bytes | DexError], None]) -> None:
        node = self.node
        if not node.serving:
            self.events.soon(TRANSIT_NS, "", lambda: answer(broken()))
            return
        assert node.calls is not None
        life = node.life
        call = ServedCall(node, send.path, send.metadata, send.timeout_ns)

        def reply(value: bytes | RpcError) -> None:
            if node.dead or node.life != life:
                return
            if self.meets(self.faults.lost):
                self.events.log(f"answer to {what} is lost")
                return
            if self.meets(self.faults.broken):
                self.events.soon(TRANSIT_NS, "", lambda: answer(broken()))
                return
            found = value if isinstance(value, bytes) else error_of(value)
            self.events.soon(TRANSIT_NS, f"answer to {what}", lambda: answer(found))

        node.calls.start_soon(call.run_unary, send.request, reply, name=f"dexnode {what}")
        if self.meets(self.faults.broken):
            self.events.soon(2 * MILLISECOND_NS, f"{what} is cut", call.scope.cancel)

    def open(self, who: str, effect: Open) -> ClientStream:
        """Open a stream."""
        return ClientStream(self, who, effect)

    def meets(self, share: float) -> bool:
        """Whether a message meets with a fault of this share."""
        return share > 0 and self.chance.random() < share


class ServedCall(CallContext):
    """A call at the node."""

    __slots__ = ("node", "scope")

    def __init__(self, node: Node, path: str, metadata: Metadata, timeout_ns: int | None) -> None:
        deadline = float("inf")
        if timeout_ns is not None:
            deadline = trio.current_time() + timeout_ns / SECOND_NS
        super().__init__(node.methods[path], MetadataView.decoded(metadata), node.peer, deadline)
        self.node = node
        self.scope = trio.CancelScope(deadline=deadline)

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Nobody looks at it."""

    async def run_unary(self, request: bytes, reply: Reply) -> None:
        """Serve a call with one answer."""
        sender = _Kept(self.method)
        error = await self.run(_Requests(self.method, [request]), sender)
        reply(error if error is not None else sender.sent[0])

    async def run(self, requests: _Requests, sender: Sender[Any]) -> RpcError | None:
        """Serve the call; the error it ended with."""
        error: RpcError | None = None
        with self.scope:
            try:
                await invoke(self, self.node.interceptors, requests, sender)
            except* Exception as raised:  # noqa: BLE001  a handler's fault ends its call alone
                error = explain(raised, self.method.path)
        if self.scope.cancelled_caught:
            return RpcError(StatusCode.DEADLINE_EXCEEDED, "the call was cancelled")
        if error is not None and error.code is StatusCode.INTERNAL and not self.node.dead:
            raise AssertionError(f"{self.method.path} failed inside") from error
        return error


class _Requests(Receiver[Any]):
    """The request stream of a call; ``closed`` when the client sends no more."""

    def __init__(
        self, method: Method, requests: Sequence[bytes] = (), *, closed: bool = True
    ) -> None:
        self._method = method
        self._waiting = deque(requests)
        self._closed = closed
        self._arrived = trio.Event()

    def put(self, request: bytes) -> None:
        self._waiting.append(request)
        self._arrived.set()

    async def receive(self) -> Any:
        while not self._waiting:
            if self._closed:
                raise trio.EndOfChannel
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._method.parse(self._waiting.popleft())

    async def receive_available(self, count_max: int | None = None) -> list[Any]:
        found = [await self.receive()]
        while self._waiting and (count_max is None or len(found) < count_max):
            found.append(self._method.parse(self._waiting.popleft()))
        return found


class _Kept(Sender[Any]):
    """Keeps what a unary call answers."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self.sent: list[bytes] = []

    async def send(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(self._method.serialize(message))

    async def send_many(self, messages: Sequence[Any]) -> None:
        for message in messages:
            await self.send(message)


class ClientStream(Sender[Any]):
    """A stream as its client has it; the node's side writes into it."""

    def __init__(self, network: Network, who: str, effect: Open) -> None:
        self._network = network
        self._events = network.events
        self._what = f"{who} {effect.path.rpartition('/')[2]}"
        self._effect = effect
        self._messages: deque[bytes | DexError | None] = deque()
        self._news = trio.Event()
        self._room = trio.Event()
        self._on_the_way = 0
        self._last_ns = 0
        self._line: deque[tuple[str, Callable[[], object]]] = deque()
        self._over = False
        self._life = 0
        self._call: ServedCall | None = None
        self._requests: _Requests | None = None
        self._early: list[bytes] = list(effect.requests)
        self._forward()

    # --- the client's side

    async def read(self) -> bytes | None:
        """The next message, None at the end; raises what the SDK would."""
        while not self._messages:
            self._news = trio.Event()
            await self._news.wait()
        message = self._messages.popleft()
        if isinstance(message, DexError):
            raise message
        return message

    def write(self, request: bytes) -> None:
        """Send a further request; lost when the stream is broken."""
        if not self._over:
            self._in_order("", lambda: self._receive(request))

    def close(self) -> None:
        """Leave: the node's side ends a little later."""
        if not self._over:
            self._over = True
            self._events.soon(TRANSIT_NS, "", self._cut)

    # --- the way there and back

    def _forward(self) -> None:
        network = self._network
        if network.meets(network.faults.broken):
            self._events.soon(TRANSIT_NS, f"{self._what} breaks", self._break)
        else:
            self._in_order(f"{self._what} arrives", self._serve)

    def _in_order(self, what: str, action: Callable[[], object]) -> None:
        """An event after all earlier ones of this stream."""
        self._line.append((what, action))
        now_ns = self._events.now_ns
        arrival_ns = now_ns + self._network.chance.randint(0, TRANSIT_NS)
        self._last_ns = max(self._last_ns, arrival_ns)
        self._events.after(self._last_ns - now_ns, "", self._advance)

    def _advance(self) -> None:
        what, action = self._line.popleft()
        if what:
            self._events.log(what)
        action()

    def _serve(self) -> None:
        node = self._network.node
        if not node.serving:
            self._break()
            return
        assert node.calls is not None
        self._life = node.life
        effect = self._effect
        self._call = ServedCall(node, effect.path, effect.metadata, None)
        self._requests = _Requests(self._call.method, self._early, closed=not effect.duplex)
        node.calls.start_soon(self._run, name=f"dexnode {self._what}")
        node.calls.start_soon(self._break_at_the_end, node.life, name="sim stream")

    def _receive(self, request: bytes) -> None:
        if self._requests is None:
            self._early.append(request)
        else:
            self._requests.put(request)

    async def _run(self) -> None:
        assert self._call is not None
        assert self._requests is not None
        error = await self._call.run(self._requests, self)
        if self._alive():
            found = None if error is None else error_of(error)
            self._in_order(f"{self._what} ends", lambda: self._end(found))

    async def _break_at_the_end(self, _life: int) -> None:
        """The connection goes when the node does."""
        try:
            await trio.sleep_forever()
        finally:
            self._events.soon(TRANSIT_NS, "", self._break)

    def _alive(self) -> bool:
        node = self._network.node
        return not self._over and not node.dead and node.life == self._life

    def _end(self, how: DexError | None) -> None:
        if not self._over:
            self._over = True
            self._messages.append(how)
            self._news.set()

    def _break(self) -> None:
        self._end(broken())
        self._cut()

    def _cut(self) -> None:
        self._room.set()
        if self._call is not None:
            self._call.scope.cancel()

    # --- the node's side

    async def send(self, message: Any) -> None:
        """Send one message; waits while too many are on the way."""
        await self.send_many([message])

    async def send_many(self, messages: Sequence[Any]) -> None:
        """Send messages in order."""
        await trio.lowlevel.checkpoint()
        assert self._call is not None
        network = self._network
        for message in messages:
            while self._on_the_way >= STREAM_WINDOW and not self._over:
                self._room = trio.Event()
                await self._room.wait()
            if not self._alive():
                return
            if network.meets(network.faults.broken):
                self._in_order(f"{self._what} breaks", self._break)
                return
            data = self._call.method.serialize(message)
            self._on_the_way += 1
            self._in_order("", partial(self._arrive, data))

    def _arrive(self, data: bytes) -> None:
        self._on_the_way -= 1
        self._room.set()
        if not self._over:
            self._messages.append(data)
            self._news.set()


def broken() -> Unavailable:
    """What grpcio reports for a connection that is not there, or not any more."""
    error = from_status(grpc.StatusCode.UNAVAILABLE, "connection reset", None)
    assert isinstance(error, Unavailable)
    return error


def error_of(error: RpcError) -> DexError:
    """What the SDK makes of a status of the node."""
    return from_status(_CODES[int(error.code)], error.message, error.details_bytes() or None)
