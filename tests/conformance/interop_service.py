"""The server side of the official gRPC interop test cases.

Semantics: the interop test descriptions of the gRPC project (what each case expects of the server:
payload sizes, echoed status, echoed metadata).
"""

from __future__ import annotations

from typing import Any

import trio
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass

from dexrpc import CallContext, Method, Receiver, RpcError, Sender, StatusCode, bind_service

ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"


def message(name: str) -> Any:
    """A message class of grpc.testing, from the descriptors compiled at test time."""
    return GetMessageClass(Default().FindMessageTypeByName(f"grpc.testing.{name}"))


def interop_methods() -> list[Method]:
    """TestService as methods; UnimplementedService is not served at all, which is its point."""
    return bind_service(Default().FindServiceByName("grpc.testing.TestService"), _TestService())


class _TestService:
    """UnimplementedCall is missing on purpose."""

    def __init__(self) -> None:
        self._empty = message("Empty")
        self._simple = message("SimpleResponse")
        self._output = message("StreamingOutputCallResponse")
        self._input_size = message("StreamingInputCallResponse")

    async def empty_call(self, request: Any, ctx: CallContext) -> Any:
        return self._empty()

    async def unary_call(self, request: Any, ctx: CallContext) -> Any:
        await _echo_metadata(ctx)
        _echo_status(request)
        return self._simple(payload={"body": bytes(request.response_size)})

    async def streaming_output_call(
        self, request: Any, ctx: CallContext, send: Sender[Any]
    ) -> None:
        await self._answer(request, send)

    async def streaming_input_call(self, requests: Receiver[Any], ctx: CallContext) -> Any:
        size = 0
        async for request in requests:
            size += len(request.payload.body)
        return self._input_size(aggregated_payload_size=size)

    async def full_duplex_call(
        self, requests: Receiver[Any], ctx: CallContext, send: Sender[Any]
    ) -> None:
        await _echo_metadata(ctx)
        async for request in requests:
            _echo_status(request)
            await self._answer(request, send)

    async def _answer(self, request: Any, send: Sender[Any]) -> None:
        for wanted in request.response_parameters:
            await trio.sleep(wanted.interval_us / 1e6)
            await send.send(self._output(payload={"body": bytes(wanted.size)}))


async def _echo_metadata(ctx: CallContext) -> None:
    trailing = ctx.metadata.get(ECHO_TRAILING)
    if trailing is not None:
        ctx.set_trailing_metadata(((ECHO_TRAILING, trailing),))
    initial = ctx.metadata.get(ECHO_INITIAL)
    if initial is not None:
        await ctx.send_initial_metadata(((ECHO_INITIAL, initial),))


def _echo_status(request: Any) -> None:
    if request.HasField("response_status"):
        wanted = request.response_status
        raise RpcError(StatusCode(wanted.code), wanted.message)
