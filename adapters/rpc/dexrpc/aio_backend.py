"""The second backend: the same methods and handlers, served by grpc.aio.

Theory of operation
-------------------
`run_with_aio` runs an asyncio loop with Trio as its guest, both in one thread. grpc.aio accepts a
call on the asyncio side; a Trio task is started for it and runs the same `invoke` as the own server
does. Two bridges join them:

    asyncio -> Trio   `TrioToken.run_sync_soon` starts and cancels the call's Trio task
    Trio -> asyncio   `in_asyncio` runs one coroutine (a read, a write) on the host loop and sleeps

Every kind of call is served as stream-stream: on the wire they are the same, and the handler's kind
is `invoke`'s business. Cancellation crosses in both directions: grpc.aio cancels the coroutine of a
call whose client is gone, which cancels the Trio scope; a Trio cancellation cancels the read or
write under way.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - the host loop of grpc.aio
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

import grpc
import trio
from grpc import aio

from dexrpc.config import ServerConfig
from dexrpc.context import CallContext, Interceptor, Peer, Receiver, Sender
from dexrpc.gate import Gate, OpenGate
from dexrpc.metadata import Metadata, MetadataView, encode_metadata
from dexrpc.method import Method, invoke, method_table
from dexrpc.observer import NullObserver, RpcObserver
from dexrpc.status import DETAILS_KEY, RpcError, StatusCode, explain

T = TypeVar("T")
logger = logging.getLogger("dexrpc")

# Connections whose state is kept; the least recently heard of goes first.
_STATES_MAX = 20_000
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def run_with_aio(async_main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """`trio.run(async_main, *args)`, with an asyncio loop under it for `AioServer`."""

    async def host() -> Any:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            async_main,
            *args,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        return (await done).unwrap()

    result: T = asyncio.run(host())
    return result


async def in_asyncio(coroutine: Coroutine[Any, Any, T]) -> T:
    """From a Trio task: run `coroutine` on the host loop and wait for it."""
    waiter = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()
    task = asyncio.get_running_loop().create_task(coroutine)
    raise_cancel: Callable[[], Any] | None = None

    def wake() -> None:
        trio.lowlevel.reschedule(waiter)

    def abort(raise_cancelled: Callable[[], Any]) -> trio.lowlevel.Abort:
        nonlocal raise_cancel
        raise_cancel = raise_cancelled
        task.cancel()
        return trio.lowlevel.Abort.FAILED  # the task says when it is over

    task.add_done_callback(lambda _task: token.run_sync_soon(wake))
    await trio.lowlevel.wait_task_rescheduled(abort)
    if task.cancelled():
        if raise_cancel is not None:
            raise_cancel()
        # asyncio's cancellation means nothing to Trio: here it says that the call is over.
        raise trio.BrokenResourceError("the call has ended")
    return task.result()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an AioServer listens; with a certificate it speaks TLS, with `client_ca` mTLS."""

    host: str
    port: int
    certificate: Path | None = None
    private_key: Path | None = None
    client_ca: Path | None = None


class _Context(CallContext):
    def __init__(self, method: Method, context: Any, peer: Peer) -> None:
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else trio.current_time() + remaining
        metadata = [
            (key, value)
            for key, value in context.invocation_metadata() or ()
            if not key.startswith("grpc-")
        ]
        super().__init__(method, MetadataView.decoded(metadata), peer, deadline)
        self._context = context

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        encode_metadata(metadata)  # refuses what may not travel
        await in_asyncio(self._context.send_initial_metadata(tuple(metadata)))


def _peer(context: Any, states: OrderedDict[str, dict[str, Any]]) -> Peer:
    """Who calls. grpc.aio does not tell of connections: what is kept of one hangs on its address
    and port, for as many as there may be connections."""
    auth = context.auth_context()
    names = [
        name.decode("utf-8", "replace")
        for key in ("peer_dns", "peer_uri", "peer_email", "x509_common_name")
        for name in auth.get(key, ())
    ]
    address = context.peer().removeprefix("ipv4:").removeprefix("ipv6:")
    state = states.setdefault(address, {})
    states.move_to_end(address)
    if len(states) > _STATES_MAX:
        states.popitem(last=False)
    return Peer(address, auth.get("transport_security_type") == [b"ssl"], tuple(names), state)


@final
class _AioReceiver(Receiver[Any]):
    def __init__(self, method: Method, context: Any) -> None:
        self._parse = method.parse
        self._context = context

    async def receive(self) -> Any:
        data = await in_asyncio(self._context.read())
        if data is aio.EOF:
            raise trio.EndOfChannel
        return self._parse(data)

    async def receive_available(self, count_max: int | None = None) -> list[Any]:
        del count_max
        return [await self.receive()]


@final
class _AioSender(Sender[Any]):
    def __init__(self, method: Method, context: Any, call: trio.CancelScope) -> None:
        self._serialize = method.serialize
        self._context = context
        self._call = call

    async def send(self, message: Any) -> None:
        try:
            await in_asyncio(self._context.write(self._serialize(message)))
        except aio.BaseError as error:
            # The client is gone, and this write learned it before the call did. To the handler
            # that is a cancellation, as on the own server.
            self._call.cancel()
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError("the call has ended") from error

    async def send_many(self, messages: Sequence[Any]) -> None:
        for message in messages:
            await self.send(message)


@final
class AioServer(grpc.GenericRpcHandler):
    """`Server`'s twin over grpc.aio. Only inside `run_with_aio`."""

    def __init__(
        self,
        methods: Iterable[Method],
        *,
        interceptors: Sequence[Interceptor] = (),
        config: ServerConfig | None = None,
        observer: RpcObserver | None = None,
        gate: Gate | None = None,
    ) -> None:
        """As for Server. grpc.aio does not tell of connections, so the observer hears of none, and
        of the limits it takes those for messages, streams and metadata, and keepalive."""
        self._methods = method_table(list(methods))
        self._interceptors = tuple(interceptors)
        self._config = config or ServerConfig()
        self._observer = observer or NullObserver()
        self._gate = gate or OpenGate()
        self._states: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._server: Any = None
        self._certificates: dict[int, Any] = {}
        self._nursery: trio.Nursery
        self._token: trio.lowlevel.TrioToken

    async def serve(
        self,
        endpoints: Sequence[Endpoint],
        *,
        task_status: trio.TaskStatus[list[int]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled or drained; `task_status` gets the ports. Raises RuntimeError for
        an endpoint that cannot be opened."""
        self._token = trio.lowlevel.current_trio_token()
        self._server = server = aio.server(handlers=(self,), options=_options(self._config))
        ports = [self._open(server, number, endpoint) for number, endpoint in enumerate(endpoints)]
        async with trio.open_nursery() as self._nursery:
            try:
                await in_asyncio(server.start())
                task_status.started(ports)
                await in_asyncio(server.wait_for_termination())
            finally:
                with trio.CancelScope(shield=True):
                    await in_asyncio(server.stop(0))

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - cuts off, raises nothing
        """Refuse new calls, let the running ones finish for up to `timeout` seconds, stop."""
        await in_asyncio(self._server.stop(timeout))

    def renew(self, endpoints: Sequence[Endpoint]) -> None:
        """Read the files of the endpoints again; their certificates count from the next handshake
        on. Raises OSError, and takes none then. What is wrong inside a file grpc tells the log
        alone, and keeps the certificate it has."""
        read = {number: _certificates(endpoint) for number, endpoint in enumerate(endpoints)}
        self._certificates = read

    def _open(self, server: Any, number: int, endpoint: Endpoint) -> int:
        address = f"{endpoint.host}:{endpoint.port}"
        if endpoint.certificate is None:
            return int(server.add_insecure_port(address))
        self._certificates[number] = certificates = _certificates(endpoint)
        credentials = grpc.dynamic_ssl_server_credentials(
            certificates, lambda: self._certificates[number], endpoint.client_ca is not None
        )
        return int(server.add_secure_port(address, credentials))

    def service(self, handler_call_details: Any) -> Any:
        """See grpc.GenericRpcHandler: called by grpc.aio for every call."""
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        served = method

        async def behave(_requests: Any, context: Any) -> None:
            await self._serve_call(served, context)

        return grpc.stream_stream_rpc_method_handler(behave)

    async def _serve_call(self, method: Method, context: Any) -> None:
        """The asyncio side of a call."""
        scope = trio.CancelScope()
        ended: asyncio.Future[RpcError | None] = asyncio.get_running_loop().create_future()
        self._token.run_sync_soon(
            self._nursery.start_soon, self._run_call, method, context, scope, ended
        )
        try:
            error = await asyncio.shield(ended)
        except asyncio.CancelledError:
            self._token.run_sync_soon(scope.cancel)
            await ended
            raise
        if error is not None:
            await context.abort(
                _CODES[int(error.code)], error.message, context.trailing_metadata() or ()
            )

    async def _run_call(
        self, method: Method, context: Any, scope: trio.CancelScope, ended: asyncio.Future[Any]
    ) -> None:
        """The Trio side of a call. Raises nothing but Cancelled of an outer scope."""
        started_at = trio.current_time()
        entered: Peer | None = None
        self._observer.call_started(method.path)
        error: RpcError | None = RpcError(StatusCode.CANCELLED, "the call was cancelled")
        try:
            call = _Context(method, context, _peer(context, self._states))
            error = self._gate.admit(method, call.peer)
            if error is not None:
                context.set_trailing_metadata(_trailing(call, error))
                return
            entered = call.peer
            error = RpcError(StatusCode.CANCELLED, "the call was cancelled")
            with scope, trio.CancelScope(deadline=call.deadline) as timed:
                error = await self._invoke(call, context, scope)
            if timed.cancelled_caught:
                error = RpcError(StatusCode.DEADLINE_EXCEEDED, "the deadline passed")
        finally:
            if entered is not None:
                self._gate.leave(method, entered)
            code = StatusCode.OK if error is None else error.code
            self._observer.call_finished(method.path, code, trio.current_time() - started_at)
            ended.set_result(error)

    async def _invoke(
        self, call: _Context, context: Any, scope: trio.CancelScope
    ) -> RpcError | None:
        method = call.method
        error: RpcError | None = None
        try:
            await invoke(
                call,
                self._interceptors,
                _AioReceiver(method, context),
                _AioSender(method, context, scope),
            )
        # Beside an error a nursery may raise a cancellation, which goes on to its scope.
        except* Exception as raised:  # noqa: BLE001
            error = explain(raised, method.path)
        try:
            context.set_trailing_metadata(_trailing(call, error))
        except ValueError:
            logger.exception("trailing metadata of %s may not be sent", method.path)
            error = RpcError(StatusCode.INTERNAL, "internal error")
        return error


def _trailing(call: CallContext, error: RpcError | None) -> Metadata:
    trailing = (*call.trailing_metadata, *(error.trailing_metadata if error else ()))
    encode_metadata(trailing)  # refuses what may not travel
    if error is not None and error.details:
        return (*trailing, (DETAILS_KEY, error.details_bytes()))
    return trailing


def _certificates(endpoint: Endpoint) -> Any:
    """What grpc's handshake needs of an endpoint's files; None for one without TLS."""
    if endpoint.certificate is None or endpoint.private_key is None:
        return None
    return grpc.ssl_server_certificate_configuration(
        [(endpoint.private_key.read_bytes(), endpoint.certificate.read_bytes())],
        endpoint.client_ca.read_bytes() if endpoint.client_ca else None,
    )


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", config.max_concurrent_streams),
        ("grpc.max_metadata_size", config.max_header_list_bytes),
        ("grpc.absolute_max_metadata_size", config.max_header_list_bytes * 4),
        ("grpc.keepalive_time_ms", int(config.keepalive_interval * 1000)),
        ("grpc.keepalive_timeout_ms", int(config.keepalive_timeout * 1000)),
        # Two servers on one port is a mistake, which SO_REUSEPORT would hide.
        ("grpc.so_reuseport", 0),
    ]
