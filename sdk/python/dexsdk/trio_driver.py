"""Performs effects on Trio over grpcio's own threads: no thread per call, one per stream.

grpcio's callbacks run on its threads; `TrioToken.run_sync_soon` is the one door back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, final

import grpc
import trio

from dex.matching.v1 import quote_pb2 as quotes
from dex.orders.v1 import order_intake_pb2 as orders
from dexsdk import quote_operations
from dexsdk.channel import Channel, Stream, Tls, dex_error
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
from dexsdk.errors import DexError, Unavailable
from dexsdk.flight import pull_table
from dexsdk.order_window import OrderWindow
from dexsdk.session import Session, Signed
from dexsdk.times import NS_PER_SECOND
from dexsdk.types import Action, BatchAction

_P = ParamSpec("_P")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_STREAM_BUFFER: Final = 256


class TrioFace:
    """A session, a connection, and the drivers that bring operations and them together."""

    def __init__(self, session: Session, channel: Channel, flight: tuple[str, Tls | None]) -> None:
        self._session: Final = session
        self._channel: Final = channel
        self._flight: Final = flight

    async def _run(self, operation: Operation[_Result]) -> _Result:
        return await _Performer(self._channel, self._flight).run(operation)


@final
class TrioFeed(Generic[_Item]):
    """A stream of items: `async with` it, then `async for` over it. It reconnects by itself.

    A cancelled wait for the next item loses nothing: wait again.
    """

    def __init__(self, face: TrioFace, program: Feed[_Item]) -> None:
        self._program: Final = program
        self._performer: Final = _Performer(face._channel, face._flight)
        self._pending: Effect | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._program.close()
        self._performer.close()

    def __aiter__(self) -> AsyncIterator[_Item]:
        return self

    async def __anext__(self) -> _Item:
        """The next item; the DexError that ended the feed for good."""
        effect: Effect | Emit[_Item] = self._pending or self._next(self._program.send, None)
        while not isinstance(effect, Emit):
            self._pending = effect
            try:
                answer = await self._performer.perform(effect)
            except DexError as error:
                self._pending = None
                effect = self._next(self._program.throw, error)
            else:
                self._pending = None
                effect = self._next(self._program.send, answer)
        return effect.item

    def _next(self, step: Any, value: Any) -> Effect | Emit[_Item]:
        try:
            effect: Effect | Emit[_Item] = step(value)
        except StopIteration:
            raise StopAsyncIteration from None
        return effect


@final
class TrioOrderStream:
    """A pipelined stream of actions: `async with` it.

    `send` and `receive` may run in two tasks; each by one task at a time. Answers come in the
    order of the actions. After a broken connection `receive` opens a new one and sends what is
    unanswered again. Leaving the block drops what was not yet answered: receive every answer first.
    """

    def __init__(
        self,
        face: TrioFace,
        window: int,
        cancel_on_disconnect: bool,
        session: bool,
        node_key: bytes | None,
    ) -> None:
        self._window: Final = OrderWindow(
            face._session, window, cancel_on_disconnect, session, node_key
        )
        self._performer: Final = _Performer(face._channel, face._flight)
        self._answered: Final = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        try:
            await self._performer.run(self._window.start())
        except BaseException:
            self._performer.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self._performer.run(self._window.finish())
        except Unavailable:
            pass
        finally:
            self._performer.close()

    async def send(self, action: Action | Sequence[BatchAction] | Signed) -> int:
        """Sends one action, or several as one batch; returns the payload's nonce.

        Waits while the window is full of unanswered actions. `Signed` is sent as it is.
        """
        await trio.lowlevel.checkpoint()
        while self._window.is_full():
            await self._answered.park()
        nonce, requests = self._window.add(action)
        for request in requests:
            self._performer.write(request)
        return nonce

    async def receive(self) -> orders.OrderStreamResponse:
        """The answer to the oldest unanswered action. A refusal is data: see `rejection`."""
        answer = await self._performer.run(self._window.receive())
        self._answered.unpark()
        return answer

    def unanswered(self) -> int:
        """How many actions wait for an answer."""
        return len(self._window)

    @property
    def breaks(self) -> int:
        """How often the connection broke; with `cancel_on_disconnect` each break cancelled every
        open order of the account."""
        return self._window.breaks


@final
class TrioQuoteSession:
    """A maker's session: `async with` it.

    `receive` gives open requests first (`opened`), then what happens, with the answers to what was
    sent in between. Leaving the block withdraws the open quotes that it gave, unless `keep_quotes`.
    A session whose connection broke is over: open another, after the last sequence seen.
    """

    def __init__(self, face: TrioFace, after_sequence: int, keep_quotes: bool) -> None:
        self._session: Final = face._session
        self._open: Final = partial(
            quote_operations.open_session, face._session, after_sequence, keep_quotes=keep_quotes
        )
        self._performer: Final = _Performer(face._channel, face._flight)

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        await self._performer.perform(self._open())
        return self

    async def __aexit__(
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

    async def receive(self) -> quotes.QuoteStreamResponse:
        """The next item. A refused envelope is data: see `result.rejection`."""
        return await self._performer.run(quote_operations.receive())


class _Performer:
    """Performs the effects of one operation; holds its open stream, if any."""

    def __init__(self, channel: Channel, flight: tuple[str, Tls | None]) -> None:
        self._channel = channel
        self._flight = flight
        self._stream: _Mailbox | None = None

    async def run(self, operation: Operation[_Result]) -> _Result:
        step: Callable[..., Effect] = operation.send
        argument: Any = None
        while True:
            try:
                effect = step(argument)
            except StopIteration as stop:
                result: _Result = stop.value
                return result
            try:
                argument = await self.perform(effect)
                step = operation.send
            except DexError as error:
                step, argument = operation.throw, error

    async def perform(self, effect: Effect) -> Any:
        match effect:
            case Send():
                return await _unary(self._channel.future(effect))
            case Read():
                assert self._stream is not None, "an operation opens before it reads"
                return await self._stream.read()
            case Write():
                self.write(effect.request)
            case Open():
                # No checkpoint: what another task wrote meanwhile would go to the old stream.
                self.close()
                self._stream = _Mailbox(self._channel.open(effect))
            case Sleep():
                await trio.sleep(effect.duration_ns / NS_PER_SECOND)
            case Pull():
                return await self._pull(effect)
        return None

    def write(self, request: bytes) -> None:
        if self._stream is not None:
            self._stream.write(request)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def _pull(self, pull: Pull) -> Any:
        stop = threading.Event()
        try:
            return await trio.to_thread.run_sync(
                partial(pull_table, *self._flight, pull, stop), abandon_on_cancel=True
            )
        finally:
            stop.set()


class _Mailbox:
    """A stream read by one thread into a bounded buffer."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._token = trio.lowlevel.current_trio_token()
        self._news = trio.lowlevel.ParkingLot()
        self._room = threading.Semaphore(_STREAM_BUFFER)
        self._messages: deque[bytes] = deque()
        self._end: tuple[DexError | None] | None = None
        threading.Thread(target=self._fill, name="dexsdk-stream", daemon=True).start()

    async def read(self) -> bytes | None:
        await trio.lowlevel.checkpoint()
        while not self._messages:
            if self._end is not None:
                if self._end[0] is not None:
                    raise self._end[0]
                return None
            await self._news.park()
        self._room.release()
        return self._messages.popleft()

    def write(self, request: bytes) -> None:
        self._stream.write(request)

    def close(self) -> None:
        self._stream.close()
        self._room.release()

    def _fill(self) -> None:
        error: DexError | None = None
        try:
            while (message := self._stream.read()) is not None:
                self._messages.append(message)
                self._tell()
                self._room.acquire()
        except DexError as raised:
            error = raised
        self._end = (error,)
        self._tell()

    def _tell(self) -> None:
        try:
            self._token.run_sync_soon(self._news.unpark_all, idempotent=True)
        except trio.RunFinishedError:
            pass


async def _unary(call: grpc.Future[bytes]) -> bytes:
    """Waits for a grpcio future; a Trio cancellation cancels the call."""
    task = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()
    waiting = True

    def wake() -> None:
        nonlocal waiting
        if waiting:
            waiting = False
            trio.lowlevel.reschedule(task)

    def done(_: object) -> None:
        try:
            token.run_sync_soon(wake)
        except trio.RunFinishedError:
            pass

    def abort(_: object) -> trio.lowlevel.Abort:
        nonlocal waiting
        waiting = False
        call.cancel()
        return trio.lowlevel.Abort.SUCCEEDED

    call.add_done_callback(done)
    await trio.lowlevel.wait_task_rescheduled(abort)
    try:
        return call.result()
    except grpc.RpcError as error:
        raise dex_error(error) from None


def awaited(
    build: Callable[Concatenate[Session, _P], Operation[_Result]],
) -> Callable[Concatenate[TrioFace, _P], Coroutine[Any, Any, _Result]]:
    """An async method out of an operation."""

    @wraps(build)
    async def method(face: TrioFace, /, *args: _P.args, **kwargs: _P.kwargs) -> _Result:
        return await face._run(checked(build(face._session, *args, **kwargs)))

    return method


def streamed(
    build: Callable[Concatenate[Session, _P], Feed[_Item]],
) -> Callable[Concatenate[TrioFace, _P], TrioFeed[_Item]]:
    """A method that returns a stream out of a feed."""

    @wraps(build)
    def method(face: TrioFace, /, *args: _P.args, **kwargs: _P.kwargs) -> TrioFeed[_Item]:
        return TrioFeed(face, checked(build(face._session, *args, **kwargs)))

    return method
