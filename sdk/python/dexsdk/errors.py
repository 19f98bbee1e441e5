"""Every error of the SDK, in one tree.

    DexError
      CallerError    the request is at fault: sending it again changes nothing
        OffGrid      a decimal that is no whole number of ticks, lots or atoms; a ValueError too
      Unavailable    the exchange or the way to it is at fault, for now: try again
      PeerError      the exchange answered something that the contract rules out

`reason` is a name of dex.errors.v1.ErrorReason without its prefix; branch on it, never on the
message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from dex.errors.v1 import errors_pb2

_DOMAIN: Final = "triodex"
_REASON_PREFIX: Final = "ERROR_REASON_"
_OVERLOAD_REASONS: Final = frozenset(
    {"OVERLOADED", "SLOW_CONSUMER", "NODE_DRAINING", "RATE_LIMITED", "COOLING_DOWN"}
)
_UNAVAILABLE_CODES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
    }
)
# What gRPC itself reports, with no ErrorInfo, when a connection or a stream breaks under a call.
_TRANSPORT_CODES: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
_PEER_CODES: Final = frozenset({*_TRANSPORT_CODES, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.OK})

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class DexError(Exception):
    """The base of everything the SDK raises on purpose."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after_ns: int | None = None,
    ) -> None:
        """Holds what is known; `code` is None for an error the SDK found by itself."""
        super().__init__(message)
        self.reason: Final = reason
        self.message: Final = message
        self.code: Final = code
        self.field: Final = field
        self.metadata: Final = dict(metadata or {})
        self.retry_after_ns: Final = retry_after_ns

    def __str__(self) -> str:
        place = f" ({self.field})" if self.field else ""
        return f"{self.reason}{place}: {self.message}"


class CallerError(DexError):
    """The request is at fault; sending the same again will be refused again."""


class Unavailable(DexError):
    """Nobody answered, or the node asked for patience. The outcome of a mutation is unknown."""


class PeerError(DexError):
    """The node failed, or answered against the contract."""


@final
class OffGrid(CallerError, ValueError):
    """A decimal value that is not a whole number of ticks, lots or atoms."""


@contextmanager
def checked_fields() -> Iterator[None]:
    """Turns protobuf's refusal of a value, by range or by type, into CallerError."""
    try:
        yield
    except DexError:
        raise
    except (ValueError, TypeError) as error:
        raise CallerError("FIELD_INVALID", str(error)) from error


def from_status(code: grpc.StatusCode, message: str, details: bytes | None) -> DexError:
    """The error of a call that ended with `code` and a serialized google.rpc.Status, if any."""
    reason, metadata, retry_after_ns = _read_details(details)
    kind: type[DexError]
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        patient = reason in _OVERLOAD_REASONS or retry_after_ns is not None
        kind = Unavailable if patient else CallerError
    elif code in _UNAVAILABLE_CODES or (code in _TRANSPORT_CODES and not reason):
        kind = Unavailable
    else:
        kind = PeerError if code in _PEER_CODES else CallerError
    return kind(
        reason or code.name,
        message,
        code=code,
        field=metadata.get("field"),
        metadata=metadata,
        retry_after_ns=retry_after_ns,
    )


def status_code(details: bytes) -> grpc.StatusCode | None:
    """The code inside a serialized google.rpc.Status; None when it holds none."""
    try:
        number = status_pb2.Status.FromString(details).code
    except DecodeError:
        return None
    return _CODES.get(number) if number else None


def from_rejection(rejection: errors_pb2.Rejection) -> DexError | None:
    """The error an item's rejection stands for; None when the item was accepted."""
    if rejection.reason == errors_pb2.ERROR_REASON_UNSPECIFIED:
        return None
    reason = reason_name(rejection.reason)
    kind = Unavailable if reason in _OVERLOAD_REASONS else CallerError
    retry_after_ns = rejection.retry_delay.ToNanoseconds() or None
    return kind(
        reason, rejection.message, field=rejection.field or None, retry_after_ns=retry_after_ns
    )


def reason_name(reason: int) -> str:
    """The name of an ErrorReason without its prefix; its number when this SDK is older."""
    known = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(reason)
    return known.name.removeprefix(_REASON_PREFIX) if known else str(reason)


def _read_details(details: bytes | None) -> tuple[str, dict[str, str], int | None]:
    reason, metadata, retry_after_ns = "", dict[str, str](), None
    if not details:
        return reason, metadata, retry_after_ns
    try:
        status = status_pb2.Status.FromString(details)
        for detail in status.details:
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            if detail.Unpack(info) and info.domain == _DOMAIN:
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(retry):
                retry_after_ns = retry.retry_delay.ToNanoseconds()
    except DecodeError:
        return "", {}, None
    return reason, metadata, retry_after_ns
