"""A pipelined order stream (OrderStream), as effects.

What is sent is remembered until it is answered. When the connection breaks, what has no answer is
sent again, byte for byte and in order: the node answers what it had applied with its first result.
That ends with the oldest payload's expiry, after which nobody could tell.

In a session payloads carry a MAC instead of a signature. The session is signed for once a second
while orders are sent, and when nothing is left unanswered. It ends with its connection, and
wherever the node ends it; then a new one is opened and the same payloads are sent in it, so that
no order counts twice.

With cancel_on_disconnect the node cancels all orders of the account at each break; what is sent
again and had not been applied is applied after that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from dex.orders.v1 import order_intake_pb2 as orders
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import methods
from dexsdk.effects import Backoff, Open, Operation, Read, Write, decode
from dexsdk.errors import DexError, PeerError, Unavailable, from_rejection
from dexsdk.order_session import Handshake, OrderSession
from dexsdk.session import Session, Signed
from dexsdk.types import Action, BatchAction

WINDOW_DEFAULT: Final = 256
# What a session ended of, or that it has: the order was not applied.
_SESSION_OVER: Final = frozenset(
    {
        "UNKNOWN_SESSION",
        "MAC_INVALID",
        "SESSION_OUT_OF_ORDER",
        "SESSION_UNSIGNED",
        "SESSION_HASH_MISMATCH",
    }
)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What waits for an answer: a payload of the session, a whole request, or, with neither, a
    countersignature."""

    nonce: int
    expire_time_ns: int
    payload: bytes = b""
    request: bytes = b""

    @property
    def is_countersignature(self) -> bool:
        return not self.payload and not self.request


@final
class OrderWindow:
    """What one stream sent and has no answer yet; at most `limit`."""

    __slots__ = (
        "_cancel_on_disconnect",
        "_is_broken",
        "_is_session",
        "_node_key",
        "_open_session",
        "_session",
        "_unanswered",
        "breaks",
        "limit",
    )

    breaks: int
    """How often the connection broke or the session ended."""

    def __init__(
        self,
        session: Session,
        limit: int,
        cancel_on_disconnect: bool,
        is_session: bool = False,
        node_key: bytes | None = None,
    ) -> None:
        self._session = session
        self._cancel_on_disconnect = cancel_on_disconnect
        self._is_session = is_session
        self._node_key = node_key
        self._open_session: OrderSession | None = None
        # Kept here, since a cancelled `receive` leaves the next one to open the connection.
        self._is_broken = False
        self.breaks = 0
        self._unanswered: deque[_Sent] = deque()
        self.limit: Final = limit

    def __len__(self) -> int:
        return sum(1 for sent in self._unanswered if not sent.is_countersignature)

    def is_full(self) -> bool:
        """Whether an answer must come before the next may go."""
        return len(self._unanswered) >= self.limit and len(self) >= self.limit

    def add(self, action: Action | Sequence[BatchAction] | Signed) -> tuple[int, list[bytes]]:
        """Remembers an action; returns its nonce and the requests to write."""
        session = self._session
        if self._is_session and not isinstance(action, Signed):
            payload = session.payload_of(action)
            expire = payload.expire_time.ToNanoseconds()
            sent = _Sent(payload.nonce, expire, payload=payload.SerializeToString())
        else:
            signed = action if isinstance(action, Signed) else session.sign_action(action)
            request = self._request(envelope=signed.envelope)
            sent = _Sent(signed.nonce, signed.expire_time_ns, request=request)
        requests: list[bytes] = []
        if self._is_session and self._open_session is None:
            # It goes out when the session is open.
            self._unanswered.append(sent)
            return sent.nonce, requests
        if self._open_session is not None and self._open_session.is_due(session.now_ns()):
            requests.append(self._countersign(self._open_session))
        self._unanswered.append(sent)
        requests.append(self._bytes_of(sent))
        return sent.nonce, requests

    def start(self) -> Operation[None]:
        """Opens the stream, and its session if it has one."""
        outage: Backoff | None = None
        while True:
            try:
                yield from self._open()
                return
            except Unavailable as error:
                if outage is None:
                    outage = Backoff(self._session, self._deadline_ns())
                yield outage.after(error)

    def receive(self) -> Operation[orders.OrderStreamResponse]:
        """The answer to the oldest unanswered action, over as many connections as it takes."""
        outage: Backoff | None = None
        while True:
            try:
                if self._is_broken:
                    yield from self._open()
                return (yield from self._next_answer())
            except DexError as error:
                if not isinstance(error, Unavailable) and error.reason not in _SESSION_OVER:
                    raise
                self.breaks += 1
                self._is_broken = True
                # What is added from now on waits for the next session.
                self._open_session = None
                if outage is None:
                    outage = Backoff(self._session, self._deadline_ns())
                yield outage.after(error)

    def finish(self) -> Operation[None]:
        """Waits until the node has the last countersignature, if all else is answered."""
        while self._unanswered and not len(self) and not self._is_broken:
            data = yield Read()
            if data is None:
                return
            self._unanswered.popleft()

    # --- parts

    def _open(self) -> Operation[None]:
        """One connection, with all that waits for an answer."""
        path = methods.ORDER_STREAM.path
        if not self._is_session:
            waiting = tuple(sent.request for sent in self._unanswered)
            yield Open(path, waiting, (), duplex=True)
            self._is_broken = False
            return
        handshake = Handshake(self._session)
        request = self._request(envelope=handshake.opening.envelope)
        yield Open(path, (request,), (), duplex=True)
        answer = decode(methods.ORDER_STREAM, _whole((yield Read())))
        error = from_rejection(answer.rejection)
        if error is not None:
            raise error
        self._open_session = handshake.finish(answer.session_opened, self._node_key)
        # Old countersignatures are of a session that is over.
        waiting_again = [sent for sent in self._unanswered if not sent.is_countersignature]
        self._unanswered = deque(waiting_again)
        for sent in waiting_again:
            yield Write(self._bytes_of(sent))
        self._is_broken = False

    def _next_answer(self) -> Operation[orders.OrderStreamResponse]:
        while True:
            answer = decode(methods.ORDER_STREAM, _whole((yield Read())))
            sent = self._answered(answer)
            error = from_rejection(answer.rejection)
            if error is not None and error.reason in _SESSION_OVER and not sent.request:
                self._unanswered.appendleft(sent)
                raise error
            if sent.is_countersignature:
                continue
            session = self._open_session
            if session is not None and not self._unanswered and not session.is_signed:
                yield Write(self._countersign(session))
            return answer

    def _answered(self, answer: orders.OrderStreamResponse) -> _Sent:
        if not self._unanswered:
            raise PeerError("MALFORMED_MESSAGE", "an answer to nothing")
        sent = self._unanswered.popleft()
        if answer.nonce not in {sent.nonce, 0}:
            problem = f"an answer to {answer.nonce} where {sent.nonce} was due"
            raise PeerError("MALFORMED_MESSAGE", problem)
        return sent

    def _bytes_of(self, sent: _Sent) -> bytes:
        """The request to write, in this session."""
        if sent.request or self._open_session is None:
            return sent.request
        order = self._open_session.order(sent.payload, self._session.now_ns())
        return self._request(session_order=order)

    def _countersign(self, open_session: OrderSession) -> bytes:
        signed = open_session.countersign(self._session)
        self._unanswered.append(_Sent(signed.nonce, signed.expire_time_ns))
        return orders.OrderStreamRequest(envelope=signed.envelope).SerializeToString()

    def _request(
        self,
        envelope: wire.SignedEnvelope | None = None,
        session_order: orders.SessionOrder | None = None,
    ) -> bytes:
        return orders.OrderStreamRequest(
            envelope=envelope,
            session_order=session_order,
            cancel_on_disconnect=self._cancel_on_disconnect,
        ).SerializeToString()

    def _deadline_ns(self) -> int:
        deadline_ns = self._session.now_ns() + self._session.reconnect_timeout_ns
        return min((deadline_ns, *(sent.expire_time_ns for sent in self._unanswered)))


def _whole(data: bytes | None) -> bytes:
    """A message, where the end of the stream is none."""
    if data is None:
        raise Unavailable("UNAVAILABLE", "the node ended the stream")
    return data
