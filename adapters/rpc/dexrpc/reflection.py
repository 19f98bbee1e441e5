"""Server reflection, grpc.reflection.v1 and v1alpha: how grpcurl and buf learn the contract.

Both versions have the same messages, byte for byte. The installed package carries v1alpha; a v1
descriptor is made from it by renaming, so that a client can also describe the v1 service itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2

from dexrpc.context import CallContext, Receiver, Sender
from dexrpc.method import Method, MethodKind, message_parser
from dexrpc.status import StatusCode

_ALPHA: Final = "grpc.reflection.v1alpha"
_STABLE: Final = "grpc.reflection.v1"
_Request = reflection_pb2.ServerReflectionRequest
_Response = reflection_pb2.ServerReflectionResponse


def reflection_methods(service_names: Iterable[str], pool: DescriptorPool) -> list[Method]:
    """Methods of both reflection services, describing `service_names` out of `pool`."""
    own = _own_pool()
    names = sorted({*service_names, f"{_ALPHA}.ServerReflection", f"{_STABLE}.ServerReflection"})
    service = _ReflectionService(names, (pool, own))
    return [
        Method(
            f"/{package}.ServerReflection/ServerReflectionInfo",
            MethodKind.STREAM_STREAM,
            service.answer_stream,
            message_parser(_Request),
            _Response.SerializeToString,
        )
        for package in (_ALPHA, _STABLE)
    ]


def _own_pool() -> DescriptorPool:
    """A pool with the reflection services alone."""
    alpha = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    stable = FileDescriptorProto()
    stable.CopyFrom(alpha)
    _rename(stable)
    pool = DescriptorPool()
    for file in (alpha, stable):
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _rename(file: FileDescriptorProto) -> None:
    file.name = file.name.replace("v1alpha", "v1")
    file.package = _STABLE
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_ALPHA, _STABLE)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(_ALPHA, _STABLE)
            method.output_type = method.output_type.replace(_ALPHA, _STABLE)


@final
class _ReflectionService:
    def __init__(self, service_names: Sequence[str], pools: Sequence[DescriptorPool]) -> None:
        self._service_names = service_names
        self._pools = pools

    async def answer_stream(
        self, requests: Receiver[Any], _ctx: CallContext, send: Sender[Any]
    ) -> None:
        async for request in requests:
            await send.send(self._answer(request))

    def _answer(self, request: Any) -> Any:
        response = _Response(valid_host=request.host, original_request=request)
        kind = request.WhichOneof("message_request")
        try:
            if kind == "list_services":
                for name in self._service_names:
                    response.list_services_response.service.add(name=name)
            elif kind == "file_by_filename":
                name = request.file_by_filename
                self._put_files(response, lambda pool: pool.FindFileByName(name))
            elif kind == "file_containing_symbol":
                symbol = request.file_containing_symbol
                self._put_files(response, lambda pool: _symbol_file(pool, symbol))
            elif kind == "file_containing_extension":
                extension = request.file_containing_extension
                self._put_files(response, lambda pool: _extension_file(pool, extension))
            elif kind == "all_extension_numbers_of_type":
                self._put_extension_numbers(response, request.all_extension_numbers_of_type)
            else:
                _put_error(response, StatusCode.INVALID_ARGUMENT, "empty request")
        except KeyError:
            _put_error(response, StatusCode.NOT_FOUND, "not found")
        return response

    def _find(self, look_up: Callable[[DescriptorPool], Any]) -> Any:
        for pool in self._pools[:-1]:
            try:
                return look_up(pool)
            except KeyError:
                continue
        return look_up(self._pools[-1])

    def _put_files(
        self, response: Any, look_up: Callable[[DescriptorPool], FileDescriptor]
    ) -> None:
        files: dict[str, bytes] = {}
        _collect(self._find(look_up), files)
        response.file_descriptor_response.file_descriptor_proto.extend(files.values())

    def _put_extension_numbers(self, response: Any, type_name: str) -> None:
        def numbers(pool: DescriptorPool) -> list[int]:
            message = pool.FindMessageTypeByName(type_name)
            return sorted(extension.number for extension in pool.FindAllExtensions(message))

        response.all_extension_numbers_response.base_type_name = type_name
        response.all_extension_numbers_response.extension_number.extend(self._find(numbers))


def _symbol_file(pool: DescriptorPool, symbol: str) -> FileDescriptor:
    try:
        return pool.FindFileContainingSymbol(symbol)
    except KeyError:
        # The pool does not count methods as symbols; clients do.
        service, _, method = symbol.rpartition(".")
        return pool.FindServiceByName(service).methods_by_name[method].containing_service.file


def _extension_file(pool: DescriptorPool, request: Any) -> FileDescriptor:
    message = pool.FindMessageTypeByName(request.containing_type)
    extension: Any = pool.FindExtensionByNumber(message, request.extension_number)
    file: FileDescriptor = extension.file
    return file


def _collect(file: FileDescriptor, files: dict[str, bytes]) -> None:
    """`file` first, then everything it needs, each once."""
    if file.name not in files:
        files[file.name] = file.serialized_pb
        for dependency in file.dependencies:
            _collect(dependency, files)


def _put_error(response: Any, code: StatusCode, message: str) -> None:
    response.error_response.error_code = int(code)
    response.error_response.error_message = message
