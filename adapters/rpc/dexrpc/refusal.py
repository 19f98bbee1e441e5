"""Answers to requests that reach no handler."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import final

import trio

from dexrpc.call import RESPONSE_HEADERS, HeaderTuples, status_headers
from dexrpc.codec import ENHANCE_YOUR_CALM, Codec
from dexrpc.config import ServerConfig
from dexrpc.framing import ENCODINGS
from dexrpc.metadata import encode_metadata
from dexrpc.method import Method
from dexrpc.request import RequestHead
from dexrpc.status import RpcError, StatusCode

_NOT_GRPC = b"this port speaks gRPC\n"
_ACCEPT_ENCODING = ((b"grpc-accept-encoding", ",".join(ENCODINGS).encode("ascii")),)


def http_refusal(head: RequestHead) -> HeaderTuples | None:
    """The HTTP response headers for a request that is not gRPC (gRPC over HTTP/2, "Responses")."""
    if head.http_method != b"POST":
        return ((b":status", b"405"), (b"allow", b"POST"))
    if not head.is_grpc:
        return ((b":status", b"415"), (b"content-type", b"text/plain"))
    return None


def rpc_refusal(head: RequestHead, method: Method | None, config: ServerConfig) -> RpcError | None:
    """Why a gRPC request may not run, or None for one that may."""
    if head.header_bytes > config.max_header_list_bytes:
        return RpcError(
            StatusCode.RESOURCE_EXHAUSTED,
            f"metadata is over the limit of {config.max_header_list_bytes} bytes",
        )
    if method is None:
        return RpcError(StatusCode.UNIMPLEMENTED, f"unknown method {head.path}")
    if head.encoding not in ENCODINGS:
        return RpcError(StatusCode.UNIMPLEMENTED, f"grpc-encoding {head.encoding} is not supported")
    if head.timeout is None:
        return RpcError(StatusCode.INVALID_ARGUMENT, "malformed grpc-timeout")
    return None


def refusal_headers(head: RequestHead, error: RpcError) -> HeaderTuples:
    """The one header list that is the whole answer (Trailers-Only)."""
    extra = () if head.encoding in ENCODINGS else _ACCEPT_ENCODING
    return RESPONSE_HEADERS + extra + status_headers(error)


@lru_cache(maxsize=256)
def gate_headers(error: RpcError) -> HeaderTuples:
    """The same for a refusal of the gate, remembered by the error's identity: under overload this
    is most of what a server sends."""
    extra = tuple(encode_metadata(error.trailing_metadata))
    return RESPONSE_HEADERS + status_headers(error) + extra


@final
class PlainAnswer:
    """An HTTP answer with a line of text, sent when the request has ended.

    It obeys flow control like everything else, and throws the request's body away.
    """

    def __init__(self, codec: Codec, stream_id: int, headers: HeaderTuples) -> None:
        self._codec = codec
        self._stream_id = stream_id
        self._headers = headers
        self._rest = _NOT_GRPC
        self.blocked_since = math.inf

    def discard(self, flow_bytes: int) -> None:
        """Let the peer go on sending what nobody reads."""
        if flow_bytes:
            self._codec.credit_stream(self._stream_id, flow_bytes)

    def start(self) -> bool:
        """The request has ended: answer it. True once the stream is over."""
        self.blocked_since = trio.current_time()
        self._codec.send_headers(self._stream_id, self._headers, False)
        return self.pump()

    def pump(self) -> bool:
        """Send what the windows allow. True once the stream is over."""
        codec, stream_id = self._codec, self._stream_id
        self._rest = self._rest[codec.send_data(stream_id, self._rest) :]
        if self._rest:
            return False
        codec.end_stream(stream_id)
        codec.forget(stream_id)
        return True

    def stall(self) -> None:
        """The peer takes nothing of it: give up. The owner hears of the end as of any other."""
        self._codec.reset(self._stream_id, ENHANCE_YOUR_CALM)
        self._codec.forget(self._stream_id)
