"""Performs effects by blocking the calling thread: the synchronous face of the same operations."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, final

from dex.matching.v1 import quote_pb2 as quotes
from dex.orders.v1 import order_intake_pb2 as orders
from dexsdk import quote_operations
from dexsdk.channel import Channel, Stream, Tls
from dexsdk.effects import (
    Effect,
    Emit,
    Feed,
    Open,
    Operation,
    Pull,
    Read,
    Send,
    Sleep,
    Write,
    checked,
)
from dexsdk.errors import CallerError, DexError, Unavailable
from dexsdk.flight import pull_table
from dexsdk.order_window import OrderWindow
from dexsdk.session import Session, Signed
from dexsdk.times import NS_PER_SECOND
from dexsdk.types import Action, BatchAction

_P = ParamSpec("_P")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class SyncFace:
    """A session, a connection, and the drivers that bring operations and them together."""

    def __init__(self, session: Session, channel: Channel, flight: tuple[str, Tls | None]) -> None:
        self._session: Final = session
        self._channel: Final = channel
        self._flight: Final = flight

    def _run(self, operation: Operation[_Result]) -> _Result:
        return _Performer(self._channel, self._flight).run(operation)


@final
class SyncFeed(Generic[_Item]):
    """A stream of items: `with` it, then iterate. It reconnects by itself.

    The wait for the next item blocks; `close` from another thread ends it.
    """

    def __init__(self, face: SyncFace, program: Feed[_Item]) -> None:
        self._program: Final = program
        self._performer: Final = _Performer(face._channel, face._flight)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._performer.close()

    def __iter__(self) -> Iterator[_Item]:
        return self

    def __next__(self) -> _Item:
        """The next item; the DexError that ended the feed for good."""
        effect = self._program.send(None)
        while not isinstance(effect, Emit):
            try:
                answer = self._performer.perform(effect)
            except DexError as error:
                effect = self._program.throw(error)
            else:
                effect = self._program.send(answer)
        return effect.item


@final
class SyncOrderStream:
    """A pipelined stream of actions: `with` it, in one thread.

    Answers come in the order of the actions. After a broken connection `receive` opens a new one
    and sends what is unanswered again. Leaving the block drops what was not yet answered.
    """

    def __init__(
        self,
        face: SyncFace,
        window: int,
        cancel_on_disconnect: bool,
        session: bool,
        node_key: bytes | None,
    ) -> None:
        self._window: Final = OrderWindow(
            face._session, window, cancel_on_disconnect, session, node_key
        )
        self._performer: Final = _Performer(face._channel, face._flight)

    def __enter__(self) -> Self:
        try:
            self._performer.run(self._window.start())
        except BaseException:
            self._performer.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._performer.run(self._window.finish())
        except Unavailable:
            pass
        finally:
            self._performer.close()

    def send(self, action: Action | Sequence[BatchAction] | Signed) -> int:
        """Sends one action, or several as one batch; returns the payload's nonce.

        CallerError (OVERLOADED) when the window is full: receive an answer first.
        """
        if self._window.is_full():
            raise CallerError("OVERLOADED", "receive an answer first", field="window")
        nonce, requests = self._window.add(action)
        for request in requests:
            self._performer.write(request)
        return nonce

    def receive(self) -> orders.OrderStreamResponse:
        """The answer to the oldest unanswered action. A refusal is data: see `rejection`."""
        return self._performer.run(self._window.receive())

    def unanswered(self) -> int:
        """How many actions wait for an answer."""
        return len(self._window)

    @property
    def breaks(self) -> int:
        """How often the connection broke; with `cancel_on_disconnect` each break cancelled every
        open order of the account."""
        return self._window.breaks


@final
class SyncQuoteSession:
    """A maker's session: `with` it, in one thread.

    `receive` gives open requests first (`opened`), then what happens, with the answers to what was
    sent in between. Leaving the block withdraws the open quotes that it gave, unless `keep_quotes`.
    A session whose connection broke is over: open another, after the last sequence seen.
    """

    def __init__(self, face: SyncFace, after_sequence: int, keep_quotes: bool) -> None:
        self._session: Final = face._session
        self._open: Final = partial(
            quote_operations.open_session, face._session, after_sequence, keep_quotes=keep_quotes
        )
        self._performer: Final = _Performer(face._channel, face._flight)

    def __enter__(self) -> Self:
        self._performer.perform(self._open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._performer.close()

    def quote(
        self,
        quote_request_id: str,
        *,
        bid_price_ticks: int = 0,
        ask_price_ticks: int = 0,
        seconds: float = 30.0,
        client_quote_id: int = 0,
    ) -> int:
        """Sends a firm quote on the whole size of a request; the payload's nonce."""
        signed = quote_operations.sign_quote(
            self._session,
            quote_request_id,
            bid_price_ticks=bid_price_ticks,
            ask_price_ticks=ask_price_ticks,
            seconds=seconds,
            client_quote_id=client_quote_id,
        )
        return self._write(signed)

    def withdraw(self, quote_id: str = "") -> int:
        """Withdraws one open quote, or all of the account; the payload's nonce."""
        return self._write(quote_operations.sign_quote_cancel(self._session, quote_id))

    def _write(self, signed: Signed) -> int:
        self._performer.write(quote_operations.message_of(signed))
        return signed.nonce

    def receive(self) -> quotes.QuoteStreamResponse:
        """The next item. A refused envelope is data: see `result.rejection`."""
        return self._performer.run(quote_operations.receive())


class _Performer:
    """Performs the effects of one operation; holds its open stream, if any."""

    def __init__(self, channel: Channel, flight: tuple[str, Tls | None]) -> None:
        self._channel = channel
        self._flight = flight
        self._stream: Stream | None = None

    def run(self, operation: Operation[_Result]) -> _Result:
        step: Callable[..., Effect] = operation.send
        argument: Any = None
        while True:
            try:
                effect = step(argument)
            except StopIteration as stop:
                result: _Result = stop.value
                return result
            try:
                argument = self.perform(effect)
                step = operation.send
            except DexError as error:
                step, argument = operation.throw, error

    def perform(self, effect: Effect) -> Any:
        match effect:
            case Send():
                return self._channel.call(effect)
            case Read():
                assert self._stream is not None, "an operation opens before it reads"
                return self._stream.read()
            case Write():
                self.write(effect.request)
            case Open():
                self.close()
                self._stream = self._channel.open(effect)
            case Sleep():
                time.sleep(effect.duration_ns / NS_PER_SECOND)
            case Pull():
                return pull_table(*self._flight, effect, threading.Event())
        return None

    def write(self, request: bytes) -> None:
        if self._stream is not None:
            self._stream.write(request)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def blocking(
    build: Callable[Concatenate[Session, _P], Operation[_Result]],
) -> Callable[Concatenate[SyncFace, _P], _Result]:
    """A blocking method out of an operation."""

    @wraps(build)
    def method(face: SyncFace, /, *args: _P.args, **kwargs: _P.kwargs) -> _Result:
        return face._run(checked(build(face._session, *args, **kwargs)))

    return method


def iterated(
    build: Callable[Concatenate[Session, _P], Feed[_Item]],
) -> Callable[Concatenate[SyncFace, _P], SyncFeed[_Item]]:
    """A method that returns a stream out of a feed."""

    @wraps(build)
    def method(face: SyncFace, /, *args: _P.args, **kwargs: _P.kwargs) -> SyncFeed[_Item]:
        return SyncFeed(face, checked(build(face._session, *args, **kwargs)))

    return method
