"""One connection: a reader, a writer, and the calls between them.

Theory of operation
-------------------
Three kinds of task live in one nursery: the reader (the task that runs `Connection.run`), the
writer, and one task per call. The reader takes whatever the socket holds, lets the codec parse all
of it, and only then yields, so that calls and the writer see whole batches. Calls put their answers
into the codec and wake the writer, which sends everything that has gathered with one system call.

A connection moves through these states and never back:

    HANDSHAKE  no SETTINGS from the peer yet            -> OPEN, CLOSING
    OPEN       calls come and go                        -> DRAINING, CLOSING
    DRAINING   GOAWAY is out; new streams are refused
               once the peer has seen it                -> CLOSING, when the last call has ended
    CLOSING    nothing is read any more; what is in the
               output (a GOAWAY) gets a moment to leave

A call's task is started when all that was read with its headers has been parsed: one that the peer
has reset by then never costs a task.

Whatever goes wrong here, a peer's nonsense or a fault of ours, ends in CLOSING and in the end of
this connection's nursery. Nothing is raised to the server but Cancelled.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from typing import Final, final

import trio

from dexrpc.call import Call, HeaderTuples
from dexrpc.codec import (
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_ID_MAX,
    Codec,
    CodecError,
    CodecLimits,
)
from dexrpc.config import CLOSE_GRACE_BYTES, CLOSE_GRACE_SECONDS, ServerConfig
from dexrpc.context import Interceptor, Peer
from dexrpc.gate import Gate, OpenGate
from dexrpc.guard import RateLimit, ResetBudget, ServerLoad
from dexrpc.metadata import Headers
from dexrpc.method import Method
from dexrpc.observer import RpcObserver
from dexrpc.refusal import (
    PlainAnswer,
    gate_headers,
    http_refusal,
    refusal_headers,
    rpc_refusal,
)
from dexrpc.request import MalformedRequest, RequestHead
from dexrpc.status import RpcError, StatusCode
from dexrpc.transport import Transport
from dexrpc.wakeup import Wakeup

logger = logging.getLogger("dexrpc")

DRAIN_PING: Final = b"dexdrain"
KEEPALIVE_PING: Final = b"dexalive"
UNKNOWN_METHOD: Final = "unknown"
_FLOOD_SHARE_MIN: Final = 0.5  # of a limit, in a connection's last second
_HEADS_MAX: Final = 64
_HEAD_BYTES_MAX: Final = 2048  # what is worth remembering for the next call


class State(enum.Enum):
    """Where a connection is in its life."""

    HANDSHAKE = "handshake"
    OPEN = "open"
    DRAINING = "draining"
    CLOSING = "closing"


@final
class Connection:
    """Serves one transport until it ends."""

    def __init__(
        self,
        transport: Transport,
        peer: Peer,
        methods: dict[str, Method],
        interceptors: tuple[Interceptor, ...],
        config: ServerConfig,
        observer: RpcObserver,
        gate: Gate | None = None,
        load: ServerLoad | None = None,
        charge: Callable[[float], None] | None = None,
    ) -> None:
        """`load` is what the connections of one server share. `charge` is told what the peer's
        address owes: 1 when it flooded, and less at its end when it came close to it."""
        self.config = config
        self.gate = gate or OpenGate()
        self._load = load or ServerLoad()
        self.interceptors = interceptors
        self.observer = observer
        self.peer = peer
        self.credit_step_bytes = config.stream_window_bytes // 4
        self.blocked: dict[int, Call | PlainAnswer] = {}
        """Answers with bytes that neither the windows nor the socket have taken yet."""
        self.codec: Codec = config.codec(
            self,
            CodecLimits(
                config.max_concurrent_streams,
                config.max_header_list_bytes,
                config.stream_window_bytes,
                config.connection_window_bytes,
            ),
        )
        self.state = State.HANDSHAKE
        self._transport = transport
        self._methods = methods
        self._charge = charge
        self._calls: dict[int, Call] = {}
        self._arrived: dict[int, Call] = {}
        self._plain: dict[int, PlainAnswer] = {}
        self._refuse_new = False
        self._retires = False
        self._heads: dict[tuple[tuple[bytes, bytes], ...], RequestHead] = {}
        self._buffered_bytes = 0
        self._uncredited_bytes = 0
        self._output_ready = Wakeup()
        self._output_gone = Wakeup()
        self._resets = ResetBudget(config.max_resets_per_second, config.max_earned_resets)
        self._refusals = RateLimit(config.max_refusals_per_second)
        self._windows = RateLimit(config.max_window_updates_per_second)
        self._settings = RateLimit(config.max_settings_per_second)
        self._controls = RateLimit(config.max_control_frames_per_second)
        self._opened_at = self._heard_at = self._busy_at = trio.current_time()
        self._sending_since: float | None = None
        self._pinged_at: float | None = None
        self._scope = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._nursery: trio.Nursery

    # Life

    async def run(self) -> None:
        """Serve until the peer leaves, breaks the rules, or `close` or `drain` ends it."""
        with self._scope:
            try:
                async with trio.open_nursery() as self._nursery:
                    self.codec.start()
                    self._nursery.start_soon(self._write)
                    try:
                        with self._reading:
                            await self._read()
                    finally:
                        # Before the calls unwind: nothing they say may reach a dead codec.
                        self._abandon_calls()
                    await self._leave()
                    self._nursery.cancel_scope.cancel()
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                logger.debug("%s: the transport broke", self.peer.address, exc_info=True)
            except* Exception:
                logger.exception("%s: the connection failed", self.peer.address)
            finally:
                self._settle()

    async def _read(self) -> None:
        limit = self.config.max_output_bytes * 4
        receive = self.codec.receive
        try:
            while self.state is not State.CLOSING:
                data = await self._transport.receive()
                if not data:
                    return
                self._heard_at = trio.current_time()
                self._pinged_at = None
                receive(data)
                if self._arrived:
                    self._start_calls()
                self._credit_connection()
                if self.codec.output_bytes:
                    self._output_ready.wake()
                    while self.codec.output_bytes > limit:
                        await self._output_gone.wait()
        except CodecError as error:
            logger.debug("%s: %s", self.peer.address, error)
            if error.flood:
                self.observer.flood_ended(error.flood)
                if self._charge is not None:
                    self._charge(1.0)
                    self._charge = None
            self._output_ready.wake()

    def _start_calls(self) -> None:
        for call in self._arrived.values():
            self._nursery.start_soon(call.run)
        self._arrived.clear()

    def _settle(self) -> None:
        """A peer that closes just before it is ended for a flood has cost as much."""
        limits = (self._refusals, self._windows, self._settings, self._controls, self._resets.free)
        share = max(limit.used_share for limit in limits)
        if share > _FLOOD_SHARE_MIN and self._charge is not None:
            self._charge(share)

    async def _write(self) -> None:
        codec = self.codec
        while True:
            while not codec.output_bytes:
                if self._is_drained():
                    self._reading.cancel()
                await self._output_ready.wait()
            data = codec.take_output()
            self._sending_since = trio.current_time()
            await self._transport.send(data)
            self._sending_since = None
            self._output_gone.wake()
            if self.blocked:
                self._pump_all()

    def _is_drained(self) -> bool:
        return self.state is State.DRAINING and self._refuse_new and not self._stream_count

    async def _leave(self) -> None:
        """Let a last GOAWAY reach the peer before the transport is closed.

        Closing a socket with unread input makes the kernel answer with a reset, which can overtake
        what we sent: so say that we are done, and read until the peer is too.
        """
        with trio.move_on_after(CLOSE_GRACE_SECONDS):
            while self.codec.output_bytes or self._sending_since is not None:
                self._output_ready.wake()
                await self._output_gone.wait()
            await self._transport.send_eof()
            left = CLOSE_GRACE_BYTES
            while left > 0 and (data := await self._transport.receive()):
                left -= len(data)

    def _abandon_calls(self) -> None:
        self.state = State.CLOSING
        for call in list(self._arrived.values()):
            self._drop(call)
        for call in list(self._calls.values()):
            call.abort(None)

    def close(self) -> None:
        """End at once, calls included."""
        self._abandon_calls()
        self._scope.cancel()

    def drain(self) -> None:
        """Ask the peer to open no more streams, and close when the running calls have ended.

        Two GOAWAYs (RFC 9113 section 6.8): the first lets streams that are on their way in; the
        second, once a PING has been answered and the peer has therefore seen the first, does not.
        """
        if self.state is State.HANDSHAKE:
            self.close()
        elif self.state is State.OPEN:
            self.state = State.DRAINING
            self.codec.goaway(NO_ERROR, STREAM_ID_MAX)
            self.codec.ping(DRAIN_PING)
            self._output_ready.wake()

    def retire(self) -> None:
        """As `drain`, of a server that goes on: a peer that is still on its way in is not cut off,
        which would fail its first call, and drained when it has got there."""
        if self.state is State.HANDSHAKE:
            self._retires = True
        else:
            self.drain()

    def tick(self, now: float) -> None:
        """Look after the timeouts; the server calls this about once a second."""
        config = self.config
        if self.state is State.HANDSHAKE and now - self._opened_at > config.handshake_timeout:
            self.close()
        elif self._sending_since is not None:
            if now - self._sending_since > config.write_timeout:
                self.close()
        elif self._pinged_at is not None:
            if now - self._pinged_at > config.keepalive_timeout:
                self.close()
        elif now - self._heard_at > config.keepalive_interval and self.state is not State.HANDSHAKE:
            self._pinged_at = now
            self.codec.ping(KEEPALIVE_PING)
            self._output_ready.wake()
        stalled_at = now - config.stall_timeout
        for stream_id, answer in list(self.blocked.items()):
            if answer.blocked_since <= stalled_at:
                self._unblock(stream_id)
                answer.stall()
        if self._calls:
            self._busy_at = now
        elif self.state is State.OPEN and now - self._busy_at > config.idle_timeout:
            self.drain()

    # Services for calls

    @property
    def is_output_full(self) -> bool:
        """Whether calls must wait for the socket before they add to the output."""
        return self.codec.output_bytes > self.config.max_output_bytes

    def flush_soon(self) -> None:
        """Wake the writer: there is output."""
        self._output_ready.wake()

    def released(self, size: int) -> None:
        """A call holds that many request bytes less."""
        self._buffered_bytes -= size
        self._load.buffered_bytes -= size

    def call_ended(self, call: Call, held_bytes: int, *, is_answered: bool = False) -> None:
        """The call is over and its last words, if it had any, are in the output."""
        stream_id = call.stream_id
        if is_answered:
            self._resets.earn()
        self.released(held_bytes)
        self.gate.leave(call.method, self.peer)
        self.blocked.pop(stream_id, None)
        self._calls.pop(stream_id, None)
        self.codec.forget(stream_id)
        self._output_ready.wake()

    def _pump_all(self) -> None:
        for stream_id, answer in list(self.blocked.items()):
            if self.is_output_full:
                break
            if answer.pump():
                self._unblock(stream_id)

    def _unblock(self, stream_id: int) -> None:
        self.blocked.pop(stream_id, None)
        self._plain.pop(stream_id, None)

    @property
    def _stream_count(self) -> int:
        return len(self._calls) + len(self._plain)

    def _credit_connection(self) -> None:
        if self._uncredited_bytes >= self.config.connection_window_bytes // 4:
            self.codec.credit_connection(self._uncredited_bytes)
            self._uncredited_bytes = 0

    # CodecSink: what the peer said

    def preface_received(self) -> None:
        """See CodecSink."""
        if self.state is State.HANDSHAKE:
            self.state = State.OPEN
            if self._retires:
                self.drain()

    def request_received(self, stream_id: int, headers: Headers, end_stream: bool) -> None:
        """See CodecSink."""
        if self._refuse_new or self._stream_count >= self.config.max_concurrent_streams:
            self.codec.reset(stream_id, REFUSED_STREAM)
            self.codec.forget(stream_id)
            self._count_refusal()
            return
        try:
            head = self._head(headers)
        except MalformedRequest as error:
            logger.debug("%s: %s", self.peer.address, error)
            self.codec.reset(stream_id, PROTOCOL_ERROR)
            self.codec.forget(stream_id)
            self._count_refusal()
            return
        plain = http_refusal(head)
        if plain is not None:
            answer = self._plain[stream_id] = PlainAnswer(self.codec, stream_id, plain)
            if end_stream:
                self._answer_plainly(stream_id, answer)
            return
        method = self._methods.get(head.path)
        refusal = rpc_refusal(head, method, self.config)
        if refusal is not None or method is None:
            assert refusal is not None
            self._refuse(stream_id, refusal_headers(head, refusal), end_stream)
            self.observer.call_started(UNKNOWN_METHOD)
            self.observer.call_finished(UNKNOWN_METHOD, refusal.code, 0.0)
            self._count_refusal()
            return
        shut = self.gate.admit(method, self.peer)
        if shut is not None:
            self._refuse(stream_id, gate_headers(shut), end_stream)
            self.observer.call_started(head.path)
            self.observer.call_finished(head.path, shut.code, 0.0)
            return
        call = Call(self, stream_id, method, head, self.peer, trio.current_time())
        self._calls[stream_id] = call
        self._arrived[stream_id] = call
        if end_stream:
            call.data_received(b"", 0, True)

    def _head(self, headers: Headers) -> RequestHead:
        key = tuple(headers)
        head = self._heads.get(key)
        if head is None:
            head = RequestHead(key)
            if head.header_bytes > _HEAD_BYTES_MAX:
                return head
            if len(self._heads) >= _HEADS_MAX:
                self._heads.clear()
            self._heads[key] = head
        return head

    def _refuse(self, stream_id: int, headers: HeaderTuples, ended: bool) -> None:
        codec = self.codec
        codec.send_headers(stream_id, headers, True)
        if not ended:
            codec.reset(stream_id, NO_ERROR)
        codec.forget(stream_id)

    def _count_refusal(self) -> None:
        if self._refusals.exceeded():
            self._too_much("refused HEADERS")

    def _answer_plainly(self, stream_id: int, answer: PlainAnswer) -> None:
        if answer.start():
            self._plain.pop(stream_id, None)
        else:
            self.blocked[stream_id] = answer

    def data_received(self, stream_id: int, data: bytes, flow_bytes: int, end_stream: bool) -> None:
        """See CodecSink."""
        self._uncredited_bytes += flow_bytes
        call = self._calls.get(stream_id)
        if call is None:
            answer = self._plain.get(stream_id)
            if answer is not None and end_stream:
                self._answer_plainly(stream_id, answer)
            elif answer is not None:
                answer.discard(flow_bytes)
            return
        held_bytes = call.data_received(data, flow_bytes, end_stream)
        self._buffered_bytes += held_bytes
        self._load.buffered_bytes += held_bytes
        config = self.config
        if self._load.buffered_bytes > config.max_buffered_bytes_total:
            call.abort(
                RpcError(
                    StatusCode.RESOURCE_EXHAUSTED,
                    f"over {config.max_buffered_bytes_total} request bytes wait on this server",
                )
            )
        if self._buffered_bytes > config.max_buffered_bytes:
            call.abort(
                RpcError(
                    StatusCode.RESOURCE_EXHAUSTED,
                    f"over {config.max_buffered_bytes} request bytes wait on this connection",
                )
            )

    def stream_reset(self, stream_id: int, by_peer: bool) -> None:
        """See CodecSink."""
        self._unblock(stream_id)
        call = self._calls.get(stream_id)
        if stream_id in self._arrived:
            self._drop(self._arrived[stream_id])
        elif call is not None:
            call.abort(None)
        else:
            self.codec.forget(stream_id)
        if not by_peer:
            self._count_refusal()
        elif self._resets.exceeded():
            self._too_much("RST_STREAM")

    def _drop(self, call: Call) -> None:
        """End a call that has no task yet."""
        del self._arrived[call.stream_id]
        call.drop()

    def window_opened(self, stream_id: int) -> None:
        """See CodecSink."""
        if self._windows.exceeded():
            self._too_much("WINDOW_UPDATE")
        if not self.blocked:
            return
        if stream_id == 0:
            self._pump_all()
        elif not self.is_output_full:
            answer = self.blocked.get(stream_id)
            if answer is not None and answer.pump():
                self._unblock(stream_id)

    def ping_acknowledged(self, data: bytes) -> None:
        """See CodecSink."""
        if data == DRAIN_PING and self.state is State.DRAINING and not self._refuse_new:
            self._refuse_new = True
            self.codec.goaway(NO_ERROR)
            self._output_ready.wake()

    def control_received(self, is_settings: bool) -> None:
        """See CodecSink."""
        if self._controls.exceeded():
            self._too_much("control frame")
        if is_settings and self._settings.exceeded():
            self._too_much("SETTINGS")

    def goaway_received(self) -> None:
        """See CodecSink. The peer closes the connection when its calls are done."""

    def _too_much(self, what: str) -> None:
        self.codec.goaway(ENHANCE_YOUR_CALM)
        raise CodecError(ENHANCE_YOUR_CALM, f"too many {what} frames", flood=what)
