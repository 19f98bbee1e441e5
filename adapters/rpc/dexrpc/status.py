"""How a call ends: status codes, the error a handler raises, and their wire form.

The wire form of a status is three trailers (gRPC over HTTP/2, "Responses"): `grpc-status` (a
decimal code), `grpc-message` (percent-encoded UTF-8) and, when there are details,
`grpc-status-details-bin` (a serialized `google.rpc.Status` holding the same code and message).
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from dexrpc.metadata import Metadata

logger = logging.getLogger("dexrpc")

DETAILS_KEY = "grpc-status-details-bin"
# Clients refuse trailers over about 8 KiB; a longer message would hide the status it explains.
MESSAGE_BYTES_MAX = 2048


class StatusCode(enum.IntEnum):
    """Canonical status codes (google.rpc.Code)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """Raise in a handler or an interceptor to end the call with a status.

    `details` are packed into `google.rpc.Status.details`; `trailing_metadata` is sent after the
    metadata set on the context. The message is for people and travels to the client.
    """

    def __init__(
        self,
        code: StatusCode,
        message: str,
        details: Sequence[Message] = (),
        trailing_metadata: Metadata = (),
    ) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.trailing_metadata = tuple(trailing_metadata)

    def details_bytes(self) -> bytes:
        """The serialized `google.rpc.Status`, or nothing when the error carries no details."""
        if not self.details:
            return b""
        packed = []
        for detail in self.details:
            wrapper = AnyMessage()
            wrapper.Pack(detail)
            packed.append(wrapper)
        status = Status(code=int(self.code), message=self.message, details=packed)
        serialized: bytes = status.SerializeToString()
        return serialized


def encode_message(message: str) -> bytes:
    """Percent-encode a `grpc-message`: everything but printable ASCII, and `%` itself."""
    raw = message.encode("utf-8", "replace")[:MESSAGE_BYTES_MAX]
    if raw.isascii() and message.isprintable() and b"%" not in raw:
        return raw
    return b"".join(
        bytes((byte,)) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte
        for byte in raw
    )


def decode_message(value: bytes) -> str:
    """Undo `encode_message`; never fails, as the specification demands of receivers."""
    return unquote_to_bytes(value).decode("utf-8", "replace")


def explain(raised: Exception, path: str) -> RpcError:
    """The status of a call whose handler raised; anything but an RpcError is logged and hidden.

    Groups that a handler's nursery wraps around its one error are looked through.
    """
    cause: BaseException = raised
    while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
        cause = cause.exceptions[0]
    if isinstance(cause, RpcError):
        return cause
    logger.error("the handler of %s failed", path, exc_info=cause)
    return RpcError(StatusCode.INTERNAL, "internal error")
