"""Times that come in: google.protobuf.Timestamp, checked, as UTC nanoseconds since the epoch, and
Duration as nanoseconds."""

from __future__ import annotations

from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from dex.errors.v1 import errors_pb2
from dexcore.limits import INT64_MAX
from dexnode.errors import refuse, refuse_field

SECOND_NS: Final = 10**9
# google/protobuf/timestamp.proto: years 1 to 9999, nanos 0 to 999,999,999.
_SECONDS_MIN: Final = -62_135_596_800
_SECONDS_MAX: Final = 253_402_300_799


def time_ns_of(value: Timestamp, field: str) -> int:
    """A Timestamp as int64 nanoseconds; a time they cannot hold (before 1677, after 2262) becomes
    the nearest they can. An unset one is 1970.

    Raises:
        RpcError: FIELD_INVALID naming ``field``, for what is no time at all.
    """
    seconds, nanos = value.seconds, value.nanos
    if not (_SECONDS_MIN <= seconds <= _SECONDS_MAX and 0 <= nanos < SECOND_NS):
        raise refuse(
            errors_pb2.ERROR_REASON_FIELD_INVALID,
            f"{field} must be a time between the years 1 and 9999 with 0 to 999,999,999 nanos",
            field=field,
        )
    return min(max(seconds * SECOND_NS + nanos, -INT64_MAX - 1), INT64_MAX)


def duration_ns_of(value: Duration, field: str) -> int:
    """A Duration as int64 nanoseconds.

    Raises:
        RpcError: FIELD_INVALID naming ``field``, for a negative one and one they cannot hold.
    """
    seconds, nanos = value.seconds, value.nanos
    if not (0 <= seconds < INT64_MAX // SECOND_NS and 0 <= nanos < SECOND_NS):
        raise refuse_field(field, "must be a duration of zero to 292 years")
    return seconds * SECOND_NS + nanos
