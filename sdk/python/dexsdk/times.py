"""Times: int64 nanoseconds since the Unix epoch inside, google.protobuf.Timestamp on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from dexsdk.errors import CallerError

NS_PER_SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp_of(time_ns: int) -> Timestamp:
    """The wire form of a time."""
    seconds, nanos = divmod(time_ns, NS_PER_SECOND)
    return Timestamp(seconds=seconds, nanos=nanos)


def time_ns_of(timestamp: Timestamp) -> int:
    """Nanoseconds since the epoch of a time from the wire."""
    return timestamp.seconds * NS_PER_SECOND + timestamp.nanos


def optional_timestamp(time: int | datetime | None) -> Timestamp | None:
    """The wire form of a bound: nanoseconds, a datetime with a time zone, or None for no bound."""
    if time is None:
        return None
    if not isinstance(time, datetime):
        return timestamp_of(time)
    if time.tzinfo is None:
        raise CallerError("FIELD_INVALID", "a datetime needs a time zone", field="time")
    since = time - _EPOCH
    return timestamp_of(
        (since.days * 86_400 + since.seconds) * NS_PER_SECOND + since.microseconds * 1_000
    )
