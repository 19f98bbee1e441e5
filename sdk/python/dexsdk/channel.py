"""The gRPC channel both faces use, and the one place where grpcio's errors become DexErrors."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import grpc

from dexsdk.effects import Open, Send
from dexsdk.errors import DexError, PeerError, from_status
from dexsdk.times import NS_PER_SECOND

Pem: TypeAlias = bytes | str | os.PathLike[str]
"""PEM bytes, or the path of a PEM file."""

_STATUS_DETAILS: Final = "grpc-status-details-bin"
_OPTIONS: Final = (
    # The SDK retries by itself, with the payload's expiry in view.
    ("grpc.enable_retries", 0),
    # Two clients of one process share no connection: closing one leaves the other alone.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A page of 10,000 trades or K-lines is below 4 MiB; leave room for what may be added.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # A stream on a dead line would wait for ever.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to the node. `certificate` and `private_key` show who calls (mTLS).

    Without `ca` the system's roots are trusted.
    """

    ca: Pem | None = None
    certificate: Pem | None = None
    private_key: Pem | None = None

    def pems(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The CA, the private key and the certificate as PEM bytes."""
        return _pem(self.ca), _pem(self.private_key), _pem(self.certificate)

    def __repr__(self) -> str:
        return f"Tls(mtls={self.certificate is not None})"


class Channel:
    """A connection to one node: raw bytes in, raw bytes out."""

    def __init__(self, address: str, tls: Tls | None) -> None:
        """Connects at the first call, not now. `address` is host:port."""
        if tls is None:
            self._channel = grpc.insecure_channel(address, _OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(*tls.pems())
            self._channel = grpc.secure_channel(address, credentials, _OPTIONS)
        # Without serializers grpcio passes bytes through; its types cannot say so.
        self._unary_stream: Any = self._channel.unary_stream
        self._stream_stream: Any = self._channel.stream_stream
        self._unary: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}

    def future(self, send: Send) -> grpc.Future[bytes]:
        """Starts a unary call."""
        stub = self._stub(send.path)
        return stub.future(
            send.request, timeout=send.timeout_ns / NS_PER_SECOND, metadata=send.metadata
        )

    def call(self, send: Send) -> bytes:
        """Makes a unary call and waits for it; raises DexError."""
        try:
            return self._stub(send.path)(
                send.request, timeout=send.timeout_ns / NS_PER_SECOND, metadata=send.metadata
            )
        except grpc.RpcError as error:
            raise dex_error(error) from None

    def open(self, open_: Open) -> Stream:
        """Starts a stream."""
        if not open_.duplex:
            once: Any = self._unary_stream(open_.path)
            return Stream(once(open_.requests[0], metadata=open_.metadata), None)
        requests = RequestQueue(open_.requests)
        many: Any = self._stream_stream(open_.path)
        return Stream(many(requests, metadata=open_.metadata), requests)

    def close(self) -> None:
        """Ends every call and the connection."""
        self._channel.close()

    def _stub(self, path: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
        stub = self._unary.get(path)
        if stub is None:
            stub = self._unary[path] = cast(
                "grpc.UnaryUnaryMultiCallable[bytes, bytes]",
                self._channel.unary_unary(path, None, None),
            )
        return stub


class RequestQueue(Iterator[bytes]):
    """What a bidirectional stream writes; grpcio takes from it on a thread of its own."""

    def __init__(self, requests: Iterable[bytes]) -> None:
        """Starts with `requests` in line."""
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for request in requests:
            self._queue.put(request)

    def put(self, request: bytes | None) -> None:
        """Puts a request in line, or None: there will be no more."""
        self._queue.put(request)

    def __next__(self) -> bytes:
        request = self._queue.get()
        if request is None:
            raise StopIteration
        return request


class Stream:
    """An open stream of raw messages; `read` blocks."""

    def __init__(self, call: Any, requests: RequestQueue | None) -> None:
        """Wraps grpcio's call object, which is an iterator and a grpc.Call."""
        self._call = call
        self._requests = requests

    def read(self) -> bytes | None:
        """The next message, None when the node ended the stream well; raises DexError."""
        try:
            message: bytes = next(self._call)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            raise dex_error(error) from None
        return message

    def write(self, request: bytes) -> None:
        """Puts a request in line; it is lost when the stream is already broken."""
        if self._requests is not None:
            self._requests.put(request)

    def close(self) -> None:
        """Cancels the call; a blocked `read` returns."""
        if self._requests is not None:
            self._requests.put(None)
        self._call.cancel()


def dex_error(error: BaseException) -> DexError:
    """What a failed grpcio call means."""
    if not isinstance(error, grpc.Call):
        return PeerError("INTERNAL", f"{type(error).__name__}: {error}")
    details: bytes | None = None
    for name, value in error.trailing_metadata() or ():
        if name == _STATUS_DETAILS and isinstance(value, bytes):
            details = value
    return from_status(error.code(), error.details() or "", details)


def _pem(source: Pem | None) -> bytes | None:
    return source if source is None or isinstance(source, bytes) else Path(source).read_bytes()
