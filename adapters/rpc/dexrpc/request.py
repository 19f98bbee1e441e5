"""The head of a request: HTTP/2 validity first, then what gRPC says with it.

Rules: RFC 9113 sections 8.2 and 8.3 (a malformed request is a stream error), and gRPC over HTTP/2,
"Requests".
"""

from __future__ import annotations

import math
from typing import Final, final

from dexrpc.metadata import Headers

_CONNECTION_HEADERS: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_PSEUDO_HEADERS: Final = frozenset((b":method", b":scheme", b":path", b":authority"))
_UNIT_SECONDS: Final = {
    b"H": 3600.0,
    b"M": 60.0,
    b"S": 1.0,
    b"m": 1e-3,
    b"u": 1e-6,
    b"n": 1e-9,
}
# RFC 9113 section 6.5.2: what SETTINGS_MAX_HEADER_LIST_SIZE counts for a field beside its bytes.
_FIELD_OVERHEAD_BYTES: Final = 32
_FORBIDDEN_VALUE: Final = (b"\0", b"\r", b"\n")


class MalformedRequest(Exception):
    """The request breaks HTTP/2: the stream is reset, nothing is answered."""


@final
class RequestHead:
    """What a request's headers say."""

    __slots__ = (
        "content_type",
        "encoding",
        "header_bytes",
        "headers",
        "http_method",
        "path",
        "timeout",
    )

    def __init__(self, headers: Headers) -> None:
        """Raises MalformedRequest."""
        fields = _check(headers)
        self.headers = headers
        self.header_bytes = sum(len(k) + len(v) + _FIELD_OVERHEAD_BYTES for k, v in headers)
        self.http_method = fields[b":method"]
        self.path = fields[b":path"].decode("ascii", "replace")
        self.content_type = fields.get(b"content-type", b"")
        self.encoding = fields.get(b"grpc-encoding", b"identity").decode("ascii", "replace")
        raw_timeout = fields.get(b"grpc-timeout")
        self.timeout = math.inf if raw_timeout is None else parse_timeout(raw_timeout)
        """Seconds the call may take: infinite when not limited, None when unreadable."""

    @property
    def is_grpc(self) -> bool:
        """Whether the content type is gRPC's (`application/grpc`, `application/grpc+proto`)."""
        kind = self.content_type
        return kind == b"application/grpc" or kind.startswith(
            (b"application/grpc+", b"application/grpc;")
        )


def _check(headers: Headers) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    regular = False
    for name, value in headers:
        if name.startswith(b":"):
            if regular or name in fields or name not in _PSEUDO_HEADERS:
                raise MalformedRequest(f"pseudo-header {name!r} out of place")
        else:
            regular = True
            if not name or name != name.lower() or name in _CONNECTION_HEADERS:
                raise MalformedRequest(f"header {name!r} is not allowed")
            if name == b"te" and value != b"trailers":
                raise MalformedRequest("te may only say trailers")
        if any(byte in value for byte in _FORBIDDEN_VALUE):
            raise MalformedRequest(f"header {name!r} holds a forbidden byte")
        fields.setdefault(name, value)
    if not (fields.get(b":method") and fields.get(b":scheme") and fields.get(b":path")):
        raise MalformedRequest(":method, :scheme and :path are required")
    return fields


def parse_timeout(value: bytes) -> float | None:
    """Seconds in a `grpc-timeout` (one to eight digits and a unit), None when it is not one."""
    digits, unit = value[:-1], _UNIT_SECONDS.get(value[-1:])
    if unit is None or not digits.isdigit() or len(digits) > 8:
        return None
    return int(digits) * unit
