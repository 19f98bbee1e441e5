"""One call: its task, its two message streams, its end.

Theory of operation
-------------------
A call's task runs `Call.run` under a CancelScope whose deadline is the client's. Three things end a
call, and each ends it exactly once, in `_finish`:

    the handler returns or raises      -> trailers with its status
    the deadline passes                -> the scope cancels the handler; DEADLINE_EXCEEDED
    the peer resets, or sends what it
    may not (`abort`)                  -> the scope cancels the handler; nothing, or that status

Input. The connection hands DATA to `data_received`, which cuts it into messages and wakes the
handler. Window is returned to the peer when the handler takes a message, plus early for the message
that is under way when nothing else waits (see framing): so a handler that does not read holds the
peer back at `stream_window_bytes`.

Output. Messages go to the codec while the windows and the connection's output limit allow; the rest
stays in `_pending`, the sender sleeps, and `pump` (called when a window opens or the socket drains)
moves on. Trailers may not overtake pending bytes: a call that must end while part of a message is
out resets the stream instead. When nothing moves for `stall_timeout`, `stall` drops what is pending
and the sender gets `SendStalled`: its status leaves at once, since trailers need no window.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, final

import trio

from dexrpc.codec import CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, NO_ERROR
from dexrpc.context import CallContext, Peer, Receiver, Sender, SendStalled
from dexrpc.framing import MessageReader, frame_message
from dexrpc.metadata import Metadata, MetadataView, encode_metadata
from dexrpc.method import Method, invoke
from dexrpc.request import RequestHead
from dexrpc.status import DETAILS_KEY, RpcError, StatusCode, encode_message, explain
from dexrpc.wakeup import Wakeup

if TYPE_CHECKING:
    from dexrpc.connection import Connection

logger = logging.getLogger("dexrpc")

HeaderTuples = tuple[tuple[bytes, bytes], ...]
RESPONSE_HEADERS: Final = ((b":status", b"200"), (b"content-type", b"application/grpc"))
OK_TRAILERS: Final = ((b"grpc-status", b"0"),)


def status_headers(error: RpcError) -> HeaderTuples:
    """The trailers that say how the call failed."""
    headers = [(b"grpc-status", b"%d" % error.code)]
    if error.message:
        headers.append((b"grpc-message", encode_message(error.message)))
    details = error.details_bytes()
    if details:
        headers += encode_metadata_bin(details)
    return tuple(headers)


def encode_metadata_bin(details: bytes) -> list[tuple[bytes, bytes]]:
    """The details trailer. `encode_metadata` refuses `grpc-` keys, which are not the handler's."""
    ((_, value),) = encode_metadata((("details-bin", details),))
    return [(DETAILS_KEY.encode("ascii"), value)]


@final
class Call(CallContext):
    """One call on one connection."""

    __slots__ = (
        "_buffered_bytes",
        "_connection",
        "_drained",
        "_ended",
        "_finished",
        "_forced",
        "_headers_sent",
        "_messages",
        "_pending",
        "_pending_cut",
        "_prepaid_bytes",
        "_reader",
        "_ready",
        "_scope",
        "_stalled",
        "_started_at",
        "_uncredited_bytes",
        "blocked_since",
        "stream_id",
    )

    def __init__(
        self,
        connection: Connection,
        stream_id: int,
        method: Method,
        head: RequestHead,
        peer: Peer,
        now: float,
    ) -> None:
        timeout = head.timeout
        deadline = math.inf if timeout is None else now + timeout
        super().__init__(method, MetadataView(head.headers), peer, deadline)
        self.stream_id = stream_id
        self._connection = connection
        self._scope = trio.CancelScope(deadline=deadline)
        self._started_at = now
        self._finished = False
        self._forced: RpcError | None = None
        # Input
        self._reader = MessageReader(head.encoding, connection.config.max_message_bytes)
        self._messages: deque[tuple[bytes, int, int]] = deque()
        self._ended = False
        self._ready = Wakeup()
        self._buffered_bytes = 0
        self._uncredited_bytes = 0
        self._prepaid_bytes = 0
        # Output
        self._headers_sent = False
        self._pending: memoryview | None = None
        self._pending_cut = False
        self._stalled = False
        self.blocked_since = math.inf
        """When a byte of what is pending last moved, on Trio's clock."""
        self._drained: list[Wakeup] = []

    # The task

    async def run(self) -> None:
        """Serve the call. Raises nothing but Cancelled of an outer scope."""
        error: RpcError | None = None
        if self._finished:  # reset before it could start
            self.drop()
            return
        self._connection.observer.call_started(self.method.path)
        try:
            with self._scope:
                try:
                    await invoke(
                        self,
                        self._connection.interceptors,
                        _CallReceiver(self),
                        _CallSender(self),
                    )
                # Whatever a handler raises ends its call alone. A nursery may raise an error beside
                # a cancellation; the cancellation goes on to its scope.
                except* Exception as raised:  # noqa: BLE001
                    error = explain(raised, self.method.path)
            if self._scope.cancelled_caught:
                error = self._forced or RpcError(
                    StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the call ended"
                )
        finally:
            # Also on the way out of a cancelled connection: its books must balance.
            code = self._finish(error)
            self._connection.observer.call_finished(
                self.method.path, code, trio.current_time() - self._started_at
            )

    def drop(self) -> None:
        """End the call without a word: it never ran."""
        self._finished = True
        self._connection.call_ended(self, self._buffered_bytes)

    def abort(self, error: RpcError | None) -> None:
        """End the call from outside: with a status, or with None because the peer is gone."""
        if error is None:
            self._finished = True
            self._forced = RpcError(StatusCode.CANCELLED, "the client cancelled the call")
        else:
            self._forced = error
        self._scope.cancel()

    def _finish(self, error: RpcError | None) -> StatusCode:
        """Send the status, unless the stream is gone. Returns the code for the record."""
        connection, stream_id = self._connection, self.stream_id
        if self._finished:
            connection.call_ended(self, self._buffered_bytes)
            return StatusCode.CANCELLED
        self._finished = True
        codec = connection.codec
        try:
            trailers = self._trailers(error)
        except ValueError:
            logger.exception("trailing metadata of %s may not be sent", self.method.path)
            error = RpcError(StatusCode.INTERNAL, "internal error")
            trailers = status_headers(error)
        if self._pending_cut and (self._pending is not None or self._stalled):
            codec.reset(stream_id, self._reset_code(error))
        else:
            if not self._headers_sent:
                trailers = RESPONSE_HEADERS + trailers if error else trailers
                if not error:
                    codec.send_headers(stream_id, RESPONSE_HEADERS, False)
            codec.send_headers(stream_id, trailers, True)
            if not self._ended:
                # The peer may still be sending; nobody will read it (RFC 9113 section 8.1).
                codec.reset(stream_id, NO_ERROR)
        connection.call_ended(self, self._buffered_bytes, is_answered=True)
        return StatusCode.OK if error is None else error.code

    def _reset_code(self, error: RpcError | None) -> int:
        """What to reset the stream with when part of a message is out and no status can follow."""
        if self._stalled:
            return ENHANCE_YOUR_CALM
        late = error is not None and error.code is StatusCode.DEADLINE_EXCEEDED
        return CANCEL if late else INTERNAL_ERROR

    def _trailers(self, error: RpcError | None) -> HeaderTuples:
        base = OK_TRAILERS if error is None else status_headers(error)
        extra = error.trailing_metadata if error is not None else ()
        if not self.trailing_metadata and not extra:
            return base
        return base + tuple(encode_metadata((*self.trailing_metadata, *extra)))

    # Input

    def data_received(self, data: bytes, flow_bytes: int, end_stream: bool) -> int:
        """Take DATA from the connection; returns how many bytes it made this call hold."""
        if self._finished or self._forced is not None:
            return 0
        self._buffered_bytes += len(data)
        self._uncredited_bytes += flow_bytes - len(data)
        try:
            completed = self._reader.feed(data) if data else []
            if end_stream and self._reader.partial_bytes:
                raise RpcError(StatusCode.INTERNAL, "the request ends inside a message")
        except RpcError as error:
            self.abort(error)
            return len(data)
        for message, wire_bytes in completed:
            self._messages.append((message, wire_bytes, wire_bytes - self._prepaid_bytes))
            self._prepaid_bytes = 0
        self._ended = end_stream
        if not self._messages:
            self._prepay()
        if completed or end_stream:
            self._ready.wake()
        return len(data)

    def _prepay(self) -> None:
        """Give window for the message under way: nothing else is waiting to be read."""
        partial = self._reader.partial_bytes
        if partial > self._prepaid_bytes:
            self._credit(partial - self._prepaid_bytes)
            self._prepaid_bytes = partial

    def _credit(self, flow_bytes: int) -> None:
        self._uncredited_bytes += flow_bytes
        if self._uncredited_bytes >= self._connection.credit_step_bytes and not self._ended:
            self._connection.codec.credit_stream(self.stream_id, self._uncredited_bytes)
            self._connection.flush_soon()
            self._uncredited_bytes = 0

    async def _wait_messages(self) -> None:
        """Sleep until a message waits. Raises trio.EndOfChannel at the end of the stream."""
        while not self._messages:
            if self._ended:
                raise trio.EndOfChannel
            await self._ready.wait()

    async def take_message(self) -> Any:
        """The next parsed message."""
        if self._messages:
            await trio.lowlevel.checkpoint_if_cancelled()
        await self._wait_messages()
        message, wire_bytes, credit = self._messages.popleft()
        self._release(wire_bytes, credit)
        return self.method.parse(message)

    async def take_messages(self, count_max: int) -> list[Any]:
        """All parsed messages that wait, at least one."""
        if self._messages:
            await trio.lowlevel.checkpoint_if_cancelled()
        await self._wait_messages()
        taken: list[bytes] = []
        wire_bytes = credit = 0
        while self._messages and len(taken) < count_max:
            message, message_bytes, message_credit = self._messages.popleft()
            wire_bytes += message_bytes
            credit += message_credit
            taken.append(message)
        self._release(wire_bytes, credit)
        parse = self.method.parse
        return [parse(message) for message in taken]

    def _release(self, wire_bytes: int, credit: int) -> None:
        """The handler took messages: give back the memory they held and the window they used."""
        self._buffered_bytes -= wire_bytes
        self._connection.released(wire_bytes)
        self._credit(credit)
        if not self._messages:
            self._prepay()

    # Output

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """See CallContext.send_initial_metadata."""
        if self._headers_sent:
            raise RuntimeError("the response headers are already sent")
        self._send_headers(RESPONSE_HEADERS + tuple(encode_metadata(metadata)))
        self._connection.flush_soon()
        await trio.lowlevel.checkpoint_if_cancelled()

    def _send_headers(self, headers: HeaderTuples) -> None:
        self._headers_sent = True
        self._connection.codec.send_headers(self.stream_id, headers, False)

    async def send_bytes(self, data: bytes) -> None:
        """Send framed messages, waiting as long as the peer's window or the socket is full.

        Raises:
            SendStalled: nothing of it moved for `ServerConfig.stall_timeout`.
        """
        await self._wait_sent()
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._finished:
            raise trio.ClosedResourceError("the call has ended")
        if not self._headers_sent:
            self._send_headers(RESPONSE_HEADERS)
        connection = self._connection
        sent = 0
        if not connection.is_output_full:
            sent = connection.codec.send_data(self.stream_id, data)
        connection.flush_soon()
        if sent == len(data):
            return
        self._pending = memoryview(data)[sent:]
        self._pending_cut = sent > 0
        self.blocked_since = trio.current_time()
        connection.blocked[self.stream_id] = self
        await self._wait_sent()

    async def _wait_sent(self) -> None:
        while self._pending is not None:
            await self._wait_drained()
        if self._stalled:
            raise SendStalled

    def stall(self) -> None:
        """The peer takes nothing of the answer: let go of it, and tell the handler."""
        self._stalled = True
        self._pending = None
        self._connection.observer.call_stalled(self.method.path)
        for wakeup in self._drained:
            wakeup.wake()

    async def _wait_drained(self) -> None:
        wakeup = Wakeup()
        self._drained.append(wakeup)
        try:
            await wakeup.wait()
        finally:
            self._drained.remove(wakeup)

    def pump(self) -> bool:
        """Offer the pending bytes again. True once nothing is pending."""
        pending = self._pending
        if pending is None:
            return True
        sent = self._connection.codec.send_data(self.stream_id, pending)
        if sent < len(pending):
            if sent:
                self.blocked_since = trio.current_time()
            self._pending = pending[sent:]
            self._pending_cut = self._pending_cut or sent > 0
            return False
        self._pending = None
        for wakeup in self._drained:
            wakeup.wake()
        return True


@final
class _CallReceiver(Receiver[Any]):
    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    async def receive(self) -> Any:
        return await self._call.take_message()

    async def receive_available(self, count_max: int | None = None) -> list[Any]:
        batch_max = self._call._connection.config.max_message_batch
        return await self._call.take_messages(
            batch_max if count_max is None else min(batch_max, count_max)
        )


@final
class _CallSender(Sender[Any]):
    __slots__ = ("_call", "_serialize")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._serialize = call.method.serialize

    async def send(self, message: Any) -> None:
        await self._call.send_bytes(frame_message(self._serialize(message)))

    async def send_many(self, messages: Sequence[Any]) -> None:
        serialize = self._serialize
        data = b"".join([frame_message(serialize(message)) for message in messages])
        if data:
            await self._call.send_bytes(data)
