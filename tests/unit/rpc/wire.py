"""What the unit tests of the wire share: frames by hand, and a sink that remembers."""

from __future__ import annotations

import struct

import hpack

from dexrpc.codec import Codec, CodecLimits
from dexrpc.framecodec import FrameCodec
from dexrpc.h2codec import H2Codec
from dexrpc.metadata import Headers

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
CODECS: tuple[type[Codec], ...] = (FrameCodec, H2Codec)
LIMITS = CodecLimits(100, 16_384, 65_535, 1 << 20)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return (
        struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload
    )


HELLO = PREFACE + frame(SETTINGS, 0, 0)


def message(body: bytes) -> bytes:
    """One gRPC message."""
    return b"\0" + struct.pack(">I", len(body)) + body


def request(stream_id: int, path: str, body: bytes | None = b"", end: bool = True) -> bytes:
    """A whole request: HEADERS and, unless `body` is None, one message."""
    block = hpack.Encoder().encode(
        [
            hpack.NeverIndexedHeaderTuple(key, value)
            for key, value in (
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                ("content-type", "application/grpc"),
            )
        ]
    )
    head = frame(HEADERS, 4, stream_id, block)
    return head if body is None else head + frame(DATA, 1 if end else 0, stream_id, message(body))


def split(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Frames as (kind, flags, stream, payload)."""
    frames = []
    while data:
        size = int.from_bytes(data[:3], "big")
        kind, flags, stream_id = struct.unpack(">BBI", data[3:9])
        frames.append((kind, flags, stream_id, data[9 : 9 + size]))
        data = data[9 + size :]
    return frames


class RecordingSink:
    """A CodecSink that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def preface_received(self) -> None:
        self.heard.append(("preface",))

    def request_received(self, stream_id: int, headers: Headers, end_stream: bool) -> None:
        self.heard.append(("request", stream_id, tuple(map(tuple, headers)), end_stream))

    def data_received(self, stream_id: int, data: bytes, flow_bytes: int, end_stream: bool) -> None:
        self.heard.append(("data", stream_id, bytes(data), flow_bytes, end_stream))

    def stream_reset(self, stream_id: int, by_peer: bool) -> None:
        self.heard.append(("reset", stream_id, by_peer))

    def window_opened(self, stream_id: int) -> None:
        self.heard.append(("window", stream_id))

    def ping_acknowledged(self, data: bytes) -> None:
        self.heard.append(("pong", bytes(data)))

    def control_received(self, is_settings: bool) -> None:
        self.heard.append(("control", is_settings))

    def goaway_received(self) -> None:
        self.heard.append(("goaway",))
