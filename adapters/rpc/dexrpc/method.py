"""The methods a server answers, and how a servicer becomes methods.

A Method is data: a path, a kind, a handler and the two codecs of its messages. Handler shapes:

    UNARY_UNARY    async (request, ctx) -> response
    UNARY_STREAM   async (request, ctx, send: Sender) -> None
    STREAM_UNARY   async (requests: Receiver, ctx) -> response
    STREAM_STREAM  async (requests: Receiver, ctx, send: Sender) -> None
"""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any, final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from dexrpc.context import CallContext, Interceptor, Receiver, Sender
from dexrpc.status import RpcError, StatusCode

Handler = Callable[..., Awaitable[Any]]


class MethodKind(enum.Enum):
    """Which side of a call streams."""

    UNARY_UNARY = "unary_unary"
    UNARY_STREAM = "unary_stream"
    STREAM_UNARY = "stream_unary"
    STREAM_STREAM = "stream_stream"


@final
class Method:
    """One served method."""

    __slots__ = ("handler", "kind", "parse", "path", "serialize")

    def __init__(
        self,
        path: str,
        kind: MethodKind,
        handler: Handler,
        parse: Callable[[bytes], Any],
        serialize: Callable[[Any], bytes],
    ) -> None:
        """`path` is `/pkg.Service/Name`. `parse` raises RpcError for bytes it cannot read."""
        if not re.fullmatch(r"/[^/]+/[^/]+", path):
            raise ValueError(f"{path!r} is not a method path")
        self.path = path
        self.kind = kind
        self.handler = handler
        self.parse = parse
        self.serialize = serialize

    def __repr__(self) -> str:
        return f"Method({self.path}, {self.kind.value})"


def bind_service(
    descriptor: ServiceDescriptor, servicer: object, raw_requests: Collection[str] = ()
) -> list[Method]:
    """Methods of `descriptor`, answered by `servicer`'s snake_case methods (PlaceOrder ->
    place_order).

    A method the servicer lacks answers UNIMPLEMENTED and names itself. Those in `raw_requests` (by
    proto name) get the request's bytes unparsed. Raises ValueError for a raw name the service does
    not have.
    """
    unknown = set(raw_requests) - {method.name for method in descriptor.methods}
    if unknown:
        raise ValueError(f"{descriptor.full_name} has no method {', '.join(sorted(unknown))}")
    return [_bind(method, servicer, method.name in raw_requests) for method in descriptor.methods]


def _bind(method: MethodDescriptor, servicer: object, raw: bool) -> Method:
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = MethodKind(
        f"{'stream' if method.client_streaming else 'unary'}_"
        f"{'stream' if method.server_streaming else 'unary'}"
    )
    handler = getattr(servicer, snake_case(method.name), None)
    return Method(
        path,
        kind,
        _unimplemented(path) if handler is None else handler,
        bytes if raw else message_parser(GetMessageClass(method.input_type)),
        GetMessageClass(method.output_type).SerializeToString,
    )


def snake_case(name: str) -> str:
    """`PlaceOrder` -> `place_order`, `GetKYCStatus` -> `get_kyc_status`."""
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", spaced).lower()


def message_parser(message_class: type[Message]) -> Callable[[bytes], Message]:
    """A parser that answers INVALID_ARGUMENT, naming the type, for bytes that are not one."""
    from_string = message_class.FromString
    name = message_class.DESCRIPTOR.full_name

    def parse(data: bytes) -> Message:
        try:
            return from_string(data)
        except DecodeError:
            raise RpcError(
                StatusCode.INVALID_ARGUMENT, f"the request is not a valid {name}"
            ) from None

    return parse


def _unimplemented(path: str) -> Handler:
    async def refuse(*_arguments: object) -> None:
        raise RpcError(StatusCode.UNIMPLEMENTED, f"{path} is not implemented")

    return refuse


def method_table(methods: Collection[Method]) -> dict[str, Method]:
    """Methods by path. Raises ValueError when two share one: the second would never be served."""
    table = {method.path: method for method in methods}
    if len(table) != len(methods):
        paths = [method.path for method in methods]
        raise ValueError(f"served twice: {sorted({p for p in paths if paths.count(p) > 1})}")
    return table


async def invoke(
    context: CallContext,
    interceptors: tuple[Interceptor, ...],
    requests: Receiver[Any],
    responses: Sender[Any],
) -> None:
    """Run a call: the interceptors outermost first, then the handler.

    Shared by the backends, so that a handler cannot tell them apart.
    """
    if not interceptors:
        await _handle(context, requests, responses)
        return
    first, rest = interceptors[0], interceptors[1:]
    await first(context, lambda: invoke(context, rest, requests, responses))


async def _handle(context: CallContext, requests: Receiver[Any], responses: Sender[Any]) -> None:
    method = context.method
    kind = method.kind
    if kind is MethodKind.UNARY_UNARY:
        request = await receive_single(requests)
        await responses.send(await method.handler(request, context))
    elif kind is MethodKind.UNARY_STREAM:
        await method.handler(await receive_single(requests), context, responses)
    elif kind is MethodKind.STREAM_UNARY:
        await responses.send(await method.handler(requests, context))
    else:
        await method.handler(requests, context, responses)


async def receive_single(requests: Receiver[Any]) -> Any:
    """The one request of a unary call.

    None at all is a cardinality violation: UNIMPLEMENTED, as the status code table of gRPC has it.
    """
    async for request in requests:
        return request
    raise RpcError(StatusCode.UNIMPLEMENTED, "the call takes exactly one request, none came")
