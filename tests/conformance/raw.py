"""A raw HTTP/2 client: frames by hand, to say what no proper client would."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
ENHANCE_YOUR_CALM, REFUSED_STREAM, PROTOCOL_ERROR = 0xB, 0x7, 0x1
TIMEOUT_SECONDS = 15.0


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return (
        struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload
    )


def request_block(path: str, *extra: tuple[str, str], method: str = "POST") -> bytes:
    """A header block that leaves the dynamic table alone."""
    headers = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *extra,
    ]
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*pair) for pair in headers])


def message(body: bytes) -> bytes:
    """A gRPC message frame."""
    return b"\0" + struct.pack(">I", len(body)) + body


class RawClient:
    """A connection that has said hello (unless told not to)."""

    def __init__(self, port: int, hello: bytes | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        self._buffer = b""
        self._decoder = hpack.Decoder()
        self.send(PREFACE + frame(SETTINGS, 0, 0) if hello is None else hello)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes; a server that has already closed is no error here."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Frames until the server closes."""
        while True:
            while len(self._buffer) < 9 or len(self._buffer) < 9 + self._length():
                try:
                    data = self.socket.recv(65536)
                except ConnectionResetError:
                    return
                if not data:
                    return
                self._buffer += data
            length = self._length()
            kind, flags, stream_id = struct.unpack(">BBI", self._buffer[3:9])
            payload, self._buffer = self._buffer[9 : 9 + length], self._buffer[9 + length :]
            yield kind, flags, stream_id, payload

    def _length(self) -> int:
        return int.from_bytes(self._buffer[:3], "big")

    def goaway_code(self) -> int | None:
        """Read until the connection is closed; the error code of the last GOAWAY, if any came."""
        code = None
        for kind, _, _, payload in self.frames():
            if kind == GOAWAY:
                code = int.from_bytes(payload[4:8], "big")
        return code

    def wait_for(self, wanted: int, stream_id: int) -> bytes:
        """The payload of the next frame of that kind on that stream."""
        for kind, _, at, payload in self.frames():
            if (kind, at) == (wanted, stream_id):
                return payload
        raise AssertionError(f"closed before frame {wanted} on stream {stream_id}")

    def headers(self, stream_id: int) -> dict[str, str]:
        """The next header list on the stream. The server's blocks need no dynamic table."""
        block = self.wait_for(HEADERS, stream_id)
        return {
            key.decode(): value.decode() for key, value in self._decoder.decode(block, raw=True)
        }
