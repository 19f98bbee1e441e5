"""One order stream: requests in, answers out, in the order of the requests.

Theory of operation. Three tasks, so that none waits for another's work: one reads and starts
verifying, one queues what is verified, one answers what is durable. What is between them is
bounded, and a full window stops the reading. So does a backlog of signatures; a backlog of the
sequencer holds a request back for a second and then rejects it. A fourth looks after sessions that
wait for a countersignature.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, final

import trio
from google.protobuf.message import DecodeError

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dexcore.reasons import Reason
from dexcore.results import Outcome
from dexnode import render
from dexnode.admission import RateLimited
from dexnode.disconnects import Disconnects
from dexnode.errors import refuse, rejection, rejection_of
from dexnode.ids import IdFormat
from dexnode.intake import Intake, Signed, result_of
from dexnode.rate_limit import Standing
from dexnode.stream_session import (
    Countersigning,
    Opening,
    StreamSession,
    begin,
    fill_opened,
    out_of_time,
)
from dexnode.translation import ORDER_ACTIONS
from dexrpc import Peer, Receiver, RpcError, Sender
from dexruntime.promise import Promise
from dexruntime.shard import Shard
from dexsdk import Key

# Requests of one stream that are read and whose answer is not sent.
STREAM_WINDOW: Final = 1_024
# How long a request of a stream waits for the sequencer to have room before it is rejected.
STREAM_WAIT_SECONDS: Final = 1.0
# Orders of sessions that are queued without a look at what else waits: about a millisecond.
QUEUED_AT_ONCE: Final = 32
# What an order stream takes.
STREAM_ACTIONS: Final = ORDER_ACTIONS | {
    "dead_mans_switch",
    "session_opening",
    "session_countersignature",
}


class _Answer(NamedTuple):
    """What a request gets: an outcome to come, or the ``refusal``."""

    nonce: int
    outcome: Promise[Outcome] | None
    refusal: RpcError
    standing: Standing | None = None
    opening: Opening | None = None
    session: StreamSession | None = None
    countersigning: Countersigning | None = None

    @property
    def done(self) -> bool:
        """Whether it can be written."""
        return self.outcome is None or self.outcome.done

    async def wait(self) -> None:
        """Wait until it can be written."""
        if self.outcome is not None:
            await self.outcome.wait_done()


class _Asked(NamedTuple):
    """A request, and the verdict on its signature to come; None for an order of a session, and for
    what was refused unseen. ``order`` is serialized."""

    request: pb.OrderStreamRequest
    verdict: Promise[bool] | None
    refusal: RpcError | None
    arrived_at: float
    order: bytes = b""


@final
class _Changes:
    """Wakes the tasks of a stream that wait for another's work."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self._event.set()
        self._event = trio.Event()

    async def wait(self) -> None:
        """Until it has."""
        await self._event.wait()


_NONE: Final = refuse(errors_pb2.ERROR_REASON_INTERNAL)
_NO_REQUEST: Final = pb.OrderStreamRequest()
_new: Final = tuple.__new__
# Field 3 of OrderStreamRequest, with a length.
_ORDER_TAG: Final = 0x1A


@final
class OrderStream:
    """Serves one call."""

    def __init__(
        self,
        shard: Shard,
        intake: Intake,
        ids: IdFormat,
        disconnects: Disconnects,
        node_key: Key,
        peer: Peer,
    ) -> None:
        """``node_key`` signs the node's half of a session's handshake."""
        self._shard = shard
        self._intake = intake
        self._ids = ids
        self._disconnects = disconnects
        self._node_key = node_key
        self._peer = peer
        self._asked: deque[_Asked] = deque()
        self._answers: deque[_Answer] = deque()
        self._sending = 0
        self._changed = _Changes()
        # Of its own: a stream without a session is not to wake at every change.
        self._session_opened = trio.Event()
        self._reading = self._queueing = True
        # Accounts whose orders end with the stream, as a set with an order.
        self._ending: dict[int, None] = {}
        self._sessions: dict[str, StreamSession] = {}
        self._end: RpcError | None = None

    async def run(self, requests: Receiver[bytes], send: Sender[pb.OrderStreamResponse]) -> None:
        """Serve until the client has said its last word, then end what ends with the stream.

        Raises:
            RpcError: SESSION_UNSIGNED.
        """
        try:
            async with trio.open_nursery() as nursery:
                reading = trio.CancelScope()
                nursery.start_soon(self._read, requests, reading)
                nursery.start_soon(self._queue)
                nursery.start_soon(self._watch_sessions, reading)
                await self._answer(send)
                nursery.cancel_scope.cancel()
        finally:
            self._leave()
        if self._end is not None:
            raise self._end

    def _leave(self) -> None:
        # Behind whatever the stream has queued: nobody queues for it any more.
        for session in self._sessions.values():
            reason = Reason.SESSION_UNSIGNED if session.is_late else Reason.NONE
            self._disconnects.end_session(session.key, reason)
        for answer in self._answers:
            if answer.opening is not None and answer.outcome is not None:
                self._disconnects.end_opening(answer.outcome)
        for account_key in self._ending:
            self._disconnects.cancel(account_key)

    # --- the tasks

    def _held(self) -> int:
        """Requests that are read and not answered."""
        return len(self._asked) + len(self._answers) + self._sending

    async def _read(self, requests: Receiver[bytes], reading: trio.CancelScope) -> None:
        try:
            with reading:
                while True:
                    while (room := STREAM_WINDOW - self._held()) <= 0:
                        await self._changed.wait()
                    arrived = await requests.receive_available(room)
                    await self._shard.verifier.wait_room()
                    now = trio.current_time()
                    self._asked.extend([self._parse(data, now) for data in arrived])
                    self._changed.tell()
        except trio.EndOfChannel:
            pass
        self._reading = False
        self._changed.tell()

    async def _queue(self) -> None:
        asked, answers = self._asked, self._answers
        at_once = 0
        while asked or self._reading:
            if not asked:
                at_once = 0
                await self._changed.wait()
                continue
            first = asked[0]
            if first.verdict is not None and not first.verdict.done:
                await first.verdict.wait_done()
            has_room = True
            if self._shard.sequencer.is_half_full:
                has_room = await self._wait_room(first.arrived_at)
            answers.append(self._judge(first, has_room))
            asked.popleft()
            if len(answers) == 1 or not asked:
                self._changed.tell()
            at_once += 1
            if at_once == QUEUED_AT_ONCE:
                at_once = 0
                await trio.lowlevel.checkpoint()
        self._queueing = False
        self._changed.tell()

    async def _answer(self, send: Sender[pb.OrderStreamResponse]) -> None:
        answers = self._answers
        while answers or self._queueing:
            if not answers:
                await self._changed.wait()
                continue
            await answers[0].wait()
            ready: list[pb.OrderStreamResponse] = []
            while answers and answers[0].done:
                ready.append(self._response(answers.popleft()))
            self._sending = len(ready)
            await send.send_many(ready)
            self._sending = 0
            self._changed.tell()

    async def _watch_sessions(self, reading: trio.CancelScope) -> None:
        """End the stream when nobody signs for a session in time. What was read is answered."""
        while True:
            dues = [session.due for session in self._sessions.values()]
            if not dues:
                self._session_opened = trio.Event()
                await self._session_opened.wait()
                continue
            await trio.sleep_until(min(dues))
            if any(session.is_late for session in self._sessions.values()):
                self._end = out_of_time()
                reading.cancel()
                return

    async def _wait_room(self, arrived_at: float) -> bool:
        """Wait for the sequencer; returns whether it has room."""
        with trio.move_on_at(arrived_at + STREAM_WAIT_SECONDS) as waiting:
            await self._shard.sequencer.wait_room()
        return not waiting.cancelled_caught

    # --- one request

    def _parse(self, data: bytes, now: float) -> _Asked:
        """Parse a request and start checking its signature, if it has one."""
        cooling = self._intake.admission.cooling(self._peer)
        if cooling is not None:
            return _Asked(_NO_REQUEST, None, cooling, now)
        order = session_order_in(data)
        if order:
            return _new(_Asked, (_NO_REQUEST, None, None, now, order))
        try:
            request = pb.OrderStreamRequest.FromString(data)
        except DecodeError:
            malformed = refuse(errors_pb2.ERROR_REASON_MALFORMED_MESSAGE)
            return _Asked(_NO_REQUEST, None, malformed, now)
        if request.HasField("session_order"):
            return _Asked(request, None, None, now, request.session_order.SerializeToString())
        try:
            verdict = self._intake.verify(request.envelope, self._peer)
        except RpcError as refusal:
            return _Asked(request, None, refusal, now)
        return _Asked(request, verdict, None, now)

    def _judge(self, asked: _Asked, has_room: bool) -> _Answer:
        """Queue what verifies, or say why not."""
        if asked.refusal is not None:
            return _refused(0, asked.refusal)
        if asked.verdict is None:
            return self._take_session_order(asked, has_room)
        if not has_room:
            return _refused(0, self._overloaded())
        return self._take_envelope(asked.request, asked.verdict.result())

    def _overloaded(self) -> RpcError:
        return refuse(
            errors_pb2.ERROR_REASON_OVERLOADED,
            retry_delay_ns=self._shard.sequencer.retry_delay_ns,
        )

    def _take_envelope(self, request: pb.OrderStreamRequest, verified: bool) -> _Answer:
        nonce = 0
        try:
            signed = self._intake.check(request.envelope, verified)
            nonce = signed.payload.nonce
            _check_action(signed, STREAM_ACTIONS)
            standing = self._intake.charge(signed, self._peer)
            if signed.action == "session_opening":
                return self._open(signed, standing)
            if signed.action == "session_countersignature":
                return self._countersign(signed, standing)
            outcome = self._intake.submit(signed)
            if request.cancel_on_disconnect:
                self._ending[signed.account_key] = None
            return _new(_Answer, (nonce, outcome, _NONE, standing, None, None, None))
        except RpcError as refusal:
            self._intake.admission.note_refusal(self._peer, refusal)
            return _refused(nonce, refusal)

    # --- sessions

    def _open(self, signed: Signed, standing: Standing | None) -> _Answer:
        opening = begin(signed)
        outcome = self._intake.submit_command(opening.command, signed.envelope)
        return _Answer(signed.payload.nonce, outcome, _NONE, standing, opening)

    def _countersign(self, signed: Signed, standing: Standing | None) -> _Answer:
        said = signed.payload.session_countersignature
        session = self._sessions.get(said.session_id)
        # Another key's would be refused in the exchange too, and nobody journals for strangers.
        if session is None or (
            (session.account_key, session.public_key) != (signed.account_key, signed.public_key)
        ):
            raise refuse(errors_pb2.ERROR_REASON_UNKNOWN_SESSION, field="session_id")
        outcome = self._intake.countersign(signed, session.key, bytes(session.skipped))
        under_way = session.promise(said.order_number)
        return _Answer(signed.payload.nonce, outcome, _NONE, standing, None, session, under_way)

    def _take_session_order(self, asked: _Asked, has_room: bool) -> _Answer:
        try:
            order = pb.SessionOrder.FromString(asked.order)
        except DecodeError:
            return _refused(0, refuse(errors_pb2.ERROR_REASON_MALFORMED_MESSAGE))
        payload, number = order.payload, order.order_number
        session = self._sessions.get(order.session_id)
        if session is None:
            unknown = errors_pb2.ERROR_REASON_UNKNOWN_SESSION
            return _refused(0, refuse(unknown, field="session_id"))
        try:
            session.check(number, payload, order.mac)
        except RpcError as refusal:
            self._end_session(session, refusal)
            return _refused(0, refusal)
        nonce = 0
        try:
            signed = self._intake.check_payload(payload, session.public_key)
            nonce = signed.payload.nonce
            _check_action(signed, ORDER_ACTIONS)
            if not has_room:
                raise self._overloaded()
            standing = self._intake.charge(signed, self._peer)
            outcome = self._intake.submit_in_session(
                signed, session.key, number, bytes(session.skipped), asked.order
            )
        except RpcError as refusal:
            session.skip(payload)
            self._intake.admission.note_refusal(self._peer, refusal)
            return _refused(nonce, refusal)
        session.skipped.clear()
        if asked.request.cancel_on_disconnect:
            self._ending[signed.account_key] = None
        return _new(_Answer, (nonce, outcome, _NONE, standing, None, session, None))

    def _end_session(self, session: StreamSession, refusal: RpcError) -> None:
        """A session ends at its first fault."""
        self._intake.admission.note_refusal(self._peer, refusal)
        del self._sessions[session.id]
        self._disconnects.end_session(session.key, rejection_of(refusal).reason)

    # --- answers

    def _response(self, answer: _Answer) -> pb.OrderStreamResponse:
        response = pb.OrderStreamResponse(nonce=answer.nonce)
        standing = answer.standing
        if standing is not None:
            left = response.rate_limit
            left.limit = standing.limit
            left.remaining = standing.remaining
            left.reset_ms = -(-standing.reset_ns // 1_000_000)
        if answer.outcome is None:
            response.rejection.CopyFrom(rejection_of(answer.refusal))
            return response
        try:
            outcome = result_of(answer.outcome)
        except RpcError as full:
            response.rejection.CopyFrom(rejection_of(full))
            return response
        if answer.session is not None and answer.countersigning is not None:
            is_signed = outcome.reason == Reason.NONE and not outcome.repeated
            answer.session.settle(answer.countersigning, is_signed)
        if outcome.reason != Reason.NONE:
            response.rejection.CopyFrom(rejection(outcome.reason, outcome.field))
            self._forget_ended(answer.session)
        elif answer.opening is None:
            render.fill_outcome(self._ids, response, outcome)
        else:
            self._fill_opened(response, outcome, answer.opening)
        return response

    def _forget_ended(self, session: StreamSession | None) -> None:
        """A session may have ended in the exchange."""
        if session is not None and session.key not in self._shard.exchange.sessions.by_key:
            self._sessions.pop(session.id, None)

    def _fill_opened(
        self, response: pb.OrderStreamResponse, outcome: Outcome, opening: Opening
    ) -> None:
        if outcome.repeated:
            # The key is that of the first handshake, which nobody has any more.
            reused = rejection(
                errors_pb2.ERROR_REASON_NONCE_REUSED, message="A session is opened once: sign anew."
            )
            response.rejection.CopyFrom(reused)
            return
        session_id = self._ids.format(outcome.key)
        self._sessions[session_id] = StreamSession(session_id, outcome.key, opening)
        self._session_opened.set()
        render.fill_applied(response.applied, outcome)
        fill_opened(response.session_opened, session_id, opening, self._node_key)


def session_order_in(data: bytes) -> bytes:
    """The serialized order of a request that is nothing else; empty for any other request.

    Reading it alone, and keeping it as it came, is half the price of reading the whole.
    """
    if len(data) < 3 or data[0] != _ORDER_TAG:
        return b""
    size, at = data[1], 2
    if size > 0x7F:
        # A varint of two bytes: up to 16,383. What is longer is read as a whole.
        size, at = size & 0x7F | data[2] << 7, 3
        if data[2] > 0x7F:
            return b""
    return data[at:] if len(data) == at + size else b""


def _check_action(signed: Signed, actions: frozenset[str]) -> None:
    if signed.action not in actions:
        raise refuse(
            errors_pb2.ERROR_REASON_ACTION_MISMATCH,
            f"an order stream does not perform {signed.action} here",
            field=f"envelope.payload.{signed.action}",
        )


def _refused(nonce: int, refusal: RpcError) -> _Answer:
    standing = refusal.standing if isinstance(refusal, RateLimited) else None
    return _Answer(nonce, None, refusal, standing)
