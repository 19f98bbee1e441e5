"""Refusals: a Flight error whose message starts with the reason and whose `extra_info` is the
google.rpc.Status with the one ErrorInfo that every refusal of the contract carries."""

from __future__ import annotations

from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from pyarrow import flight

from dex.errors.v1 import errors_pb2

_PREFIX = "ERROR_REASON_"


def bad_query(reason: errors_pb2.ErrorReason.ValueType, field: str, why: str) -> flight.FlightError:
    """The query is at fault; `field` is its path, e.g. "klines.interval".

    Not pyarrow.ArrowInvalid: pyarrow sends the server's traceback along with it.
    """
    code = (
        code_pb2.NOT_FOUND
        if reason == errors_pb2.ERROR_REASON_UNKNOWN_MARKET
        else (code_pb2.INVALID_ARGUMENT)
    )
    return flight.FlightServerError(*_parts(code, reason, field, why))


def unauthenticated(
    reason: errors_pb2.ErrorReason.ValueType, field: str, why: str
) -> flight.FlightError:
    """The ticket or the identity is at fault."""
    return flight.FlightUnauthenticatedError(*_parts(code_pb2.UNAUTHENTICATED, reason, field, why))


def overloaded(why: str) -> flight.FlightError:
    """The node does as much as it may; the client tries again."""
    reason = errors_pb2.ERROR_REASON_OVERLOADED
    return flight.FlightUnavailableError(*_parts(code_pb2.UNAVAILABLE, reason, "", why))


def not_served() -> flight.FlightError:
    """The verb is Flight's, and this node has nothing behind it."""
    reason = errors_pb2.ERROR_REASON_NOT_SERVED
    return flight.FlightUnavailableError(
        *_parts(code_pb2.UNIMPLEMENTED, reason, "", "no such verb")
    )


def internal() -> flight.FlightError:
    """A fault of the node; the log has the details."""
    reason = errors_pb2.ERROR_REASON_INTERNAL
    return flight.FlightInternalError(
        *_parts(code_pb2.INTERNAL, reason, "", "the node's log has the details")
    )


def plain(error: flight.FlightError) -> Exception:
    """The same refusal for GetSchema, which pyarrow refuses with Python's own errors alone: what it
    makes of a FlightError there starts with "Unknown error". Its code is the nearest Arrow has."""
    code = status_pb2.Status.FromString(error.extra_info).code
    kind = {code_pb2.INVALID_ARGUMENT: ValueError, code_pb2.NOT_FOUND: _NotFound}.get(code, OSError)
    return kind(error.args[0])


class _NotFound(KeyError):
    """A KeyError puts its message in quotes."""

    __str__ = Exception.__str__


def _parts(
    code: int, reason: errors_pb2.ErrorReason.ValueType, field: str, why: str
) -> tuple[str, bytes]:
    name = errors_pb2.ErrorReason.Name(reason).removeprefix(_PREFIX)
    info = error_details_pb2.ErrorInfo(reason=name, domain="triodex")
    if field:
        info.metadata["field"] = field
    message = ": ".join(part for part in (name, field, why) if part)
    detail = any_pb2.Any()
    detail.Pack(info)
    status = status_pb2.Status(code=code, message=message, details=[detail])
    return message, status.SerializeToString()
