"""Theory of operation: the SDK's logic is written once, without I/O.

An operation is a generator. It yields effects - send these bytes, wait, open or read a stream, hand
an item to the user - and is resumed with what came of them: response bytes, or a DexError thrown
in. It decides everything: what to sign, when to retry, how to page, when to take a new snapshot.
Two small drivers perform the effects: `trio_driver` with await and `sync_driver` by blocking.

    operation --Send(path, bytes)--> driver --gRPC--> node
              <--bytes or DexError--

An effect can be performed again after it was cancelled half-way: reads lose nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from dex.flight.v1 import flight_pb2
from dexsdk.errors import DexError, PeerError, Unavailable, checked_fields
from dexsdk.methods import Method
from dexsdk.session import Metadata, Session
from dexsdk.times import NS_PER_SECOND

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)
_Item = TypeVar("_Item")
_Yielded = TypeVar("_Yielded")
_Result = TypeVar("_Result")

BACKOFF_FIRST_NS: Final = NS_PER_SECOND // 20
BACKOFF_MAX_NS: Final = 2 * NS_PER_SECOND
# An attempt with less time than this would end in its deadline and hide why the last one failed.
ATTEMPT_MIN_NS: Final = NS_PER_SECOND // 20


@dataclass(frozen=True, slots=True)
class Send:
    """One attempt of a unary call; resumed with the response's bytes."""

    path: str
    request: bytes
    metadata: Metadata
    timeout_ns: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """Waits; resumed with b""."""

    duration_ns: int


@dataclass(frozen=True, slots=True)
class Open:
    """Opens a stream and sends `requests`, closing the stream before; resumed with b"" at once."""

    path: str
    requests: tuple[bytes, ...]
    metadata: Metadata
    duplex: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """Writes to the open stream; resumed with b"" at once."""

    request: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """Reads the open stream; resumed with a message's bytes, or None when the node ended it."""


@dataclass(frozen=True, slots=True)
class Emit(Generic[_Item]):
    """Hands an item to the user; resumed with b"" when the next one is wanted."""

    item: _Item


@dataclass(frozen=True, slots=True)
class Pull:
    """Pulls a table over Arrow Flight; resumed with the pyarrow.Table."""

    query: flight_pb2.Query
    metadata: Metadata


Effect: TypeAlias = Send | Sleep | Open | Write | Read | Pull
# What an effect is resumed with is said at each effect; one generator yields several kinds.
Operation: TypeAlias = Generator[Effect, Any, _Result]
Feed: TypeAlias = Generator[Effect | Emit[_Item], Any, None]


class Backoff:
    """Growing, jittered delays that end at a deadline.

    Full jitter over an exponential ceiling: many clients that lost one node come back spread out.
    """

    __slots__ = ("_attempt", "_deadline_ns", "_session")

    def __init__(self, session: Session, deadline_ns: int) -> None:
        self._session = session
        self._deadline_ns = deadline_ns
        self._attempt = 0

    def remaining_ns(self) -> int:
        """Time left before the deadline; not below zero."""
        return max(0, self._deadline_ns - self._session.now_ns())

    def after(self, error: DexError) -> Sleep:
        """The wait before the next attempt; raises `error` when there is no time for one."""
        ceiling_ns = min(BACKOFF_MAX_NS, BACKOFF_FIRST_NS << min(self._attempt, 16))
        self._attempt += 1
        delay_ns = int(ceiling_ns * (0.5 + self._session.uniform() / 2))
        delay_ns = max(delay_ns, error.retry_after_ns or 0)
        if delay_ns + ATTEMPT_MIN_NS >= self.remaining_ns():
            raise error
        return Sleep(delay_ns)


def checked(
    program: Generator[_Yielded, Any, _Result],
) -> Generator[_Yielded, Any, _Result]:
    """The same program; a value that no message can hold ends it with CallerError."""
    with checked_fields():
        return (yield from program)


def ask(
    session: Session,
    method: Method[_Request, _Response],
    request: _Request,
    expire_time_ns: int | None = None,
) -> Operation[_Response]:
    """Calls a method until it answers, refuses, or the deadline passes.

    The bytes are made once and sent again unchanged, so a signed mutation keeps its nonce and the
    node answers a retry with the first result. `expire_time_ns` is the signed payload's: past it a
    retry could not be told from a new request, so none is made.
    """
    data = request.SerializeToString()
    deadline_ns = session.now_ns() + session.timeout_ns
    if expire_time_ns is not None:
        deadline_ns = min(deadline_ns, expire_time_ns)
    backoff = Backoff(session, deadline_ns)
    while True:
        metadata = session.authorization() if method.authorized else ()
        try:
            answer = yield Send(method.path, data, metadata, max(1, backoff.remaining_ns()))
        except Unavailable as error:
            yield backoff.after(error)
        else:
            return decode(method, answer)


def ask_once(
    session: Session, method: Method[_Request, _Response], request: _Request, timeout_ns: int
) -> Operation[_Response]:
    """Calls a method one time: for long work, which a retry would start a second time."""
    metadata = session.authorization() if method.authorized else ()
    answer = yield Send(method.path, request.SerializeToString(), metadata, timeout_ns)
    return decode(method, answer)


def decode(method: Method[Any, _Response], data: bytes | None) -> _Response:
    """Parses an answer; PeerError when it is not the message the contract names."""
    try:
        return method.response.FromString(data or b"")
    except DecodeError as error:
        raise PeerError("MALFORMED_MESSAGE", f"{method.path} answered with garbage") from error
