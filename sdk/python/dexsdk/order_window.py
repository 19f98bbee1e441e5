"""A pipelined session of signed envelopes (OrderStream), as effects.

Envelopes are remembered until they are answered. When the connection breaks, those without an
answer are sent again, byte for byte and in order: the node answers the ones it had applied with
their first result. That ends with the oldest one's expiry, after which nobody could tell.

With cancel_on_disconnect the node cancels all orders of the account at each break; envelopes that
are sent again and had not been applied are applied after that.
"""

from __future__ import annotations

from collections import deque
from typing import Final, final

from dex.orders.v1 import order_intake_pb2 as orders
from dexsdk import methods
from dexsdk.effects import Backoff, Open, Operation, Read, decode
from dexsdk.errors import PeerError, Unavailable
from dexsdk.session import Session, Signed

WINDOW_DEFAULT: Final = 256


@final
class OrderWindow:
    """The envelopes of one session that wait for an answer; at most `limit`."""

    __slots__ = ("_cancel_on_disconnect", "_session", "_unanswered", "breaks", "limit")

    breaks: int
    """How often the connection broke."""

    def __init__(self, session: Session, limit: int, cancel_on_disconnect: bool) -> None:
        self._session = session
        self._cancel_on_disconnect = cancel_on_disconnect
        self.breaks = 0
        self._unanswered: deque[tuple[int, int, bytes]] = deque()
        self.limit: Final = limit

    def __len__(self) -> int:
        return len(self._unanswered)

    def is_full(self) -> bool:
        """Whether an answer must come before the next envelope may go."""
        return len(self._unanswered) >= self.limit

    def add(self, signed: Signed) -> bytes:
        """Remembers an envelope and returns the request to write."""
        data = orders.OrderStreamRequest(
            envelope=signed.envelope, cancel_on_disconnect=self._cancel_on_disconnect
        ).SerializeToString()
        self._unanswered.append((signed.nonce, signed.expire_time_ns, data))
        return data

    def open(self) -> Open:
        """Opens the stream with all that waits for an answer."""
        waiting = tuple(data for _, _, data in self._unanswered)
        return Open(methods.ORDER_STREAM.path, waiting, (), duplex=True)

    def receive(self) -> Operation[orders.OrderStreamResponse]:
        """The answer to the oldest unanswered envelope, over as many connections as it takes."""
        outage: Backoff | None = None
        while True:
            try:
                data = yield Read()
                if data is None:
                    raise Unavailable("UNAVAILABLE", "the node ended the stream")
                return self._answer(data)
            except Unavailable as error:
                self.breaks += 1
                if outage is None:
                    outage = Backoff(self._session, self._deadline_ns())
                yield outage.after(error)
                yield self.open()

    def _deadline_ns(self) -> int:
        deadline_ns = self._session.now_ns() + self._session.reconnect_timeout_ns
        return min((deadline_ns, *(expire for _, expire, _ in self._unanswered)))

    def _answer(self, data: bytes) -> orders.OrderStreamResponse:
        answer = decode(methods.ORDER_STREAM, data)
        if not self._unanswered:
            raise PeerError("MALFORMED_MESSAGE", "an answer to nothing")
        nonce = self._unanswered.popleft()[0]
        if answer.nonce not in {nonce, 0}:
            problem = f"an answer to {answer.nonce} where {nonce} was due"
            raise PeerError("MALFORMED_MESSAGE", problem)
        return answer
