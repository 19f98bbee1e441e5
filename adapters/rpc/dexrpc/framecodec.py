"""An own codec: server-side HTTP/2 with no more than gRPC needs, several times cheaper than h2.

Theory of operation
-------------------
`receive` walks the bytes frame by frame. DATA and HEADERS, which are nearly all of the traffic, are
handled inline; the rest goes through `_control`, one method per frame type. The rules are those of
RFC 9113; where it leaves a choice between ignoring and ending, this codec ends.

A stream is in `_streams` from its HEADERS until the owner forgets it; `remote_open` says whether
the peer may still send on it. Every other stream id is one of

    idle      above `_highest`: only HEADERS and PRIORITY may come
    reset     in `_reset_ids` (bounded): closed before the peer had ended it. If we closed it, what
              was in flight is ignored; if the peer did, more from it is a stream error
    closed    anything else: the peer had ended it, so more from it is a connection error

A header block is kept until END_HEADERS and decoded whatever becomes of its stream, since the
dynamic table must move on. Errors are two: `_Failure`, turned by `receive` into a GOAWAY and a
CodecError, and `_stream_error`, a RST_STREAM after which the connection goes on.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final, final

import hpack

from dexrpc.codec import (
    ENHANCE_YOUR_CALM,
    PROTOCOL_ERROR,
    CodecError,
    CodecLimits,
    CodecSink,
)
from dexrpc.header_blocks import CachingDecoder, StaticEncoder
from dexrpc.metadata import Headers

FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
COMPRESSION_ERROR: Final = 0x9

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE = range(6)
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(6, 10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT, INITIAL_WINDOW = 1, 2, 3, 4
MAX_FRAME_SIZE, MAX_HEADER_LIST = 5, 6

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DEFAULT_WINDOW: Final = 65535
_WINDOW_MAX: Final = 2**31 - 1
_FRAME_MAX: Final = 16384  # what we accept, and what a peer accepts unless it says more
_RESET_IDS_MAX: Final = 4096
_CONTINUATIONS_MAX: Final = 64
# The hard limit on a header list ends the connection, the announced one only the call.
_HEADER_LIST_HARD_FACTOR: Final = 4
_pack_head: Final = struct.Struct(">HBBBI").pack
_pack_setting: Final = struct.Struct(">HI").pack
_unpack_setting: Final = struct.Struct(">HI").unpack_from


class _Failure(Exception):
    """A connection error (RFC 9113 section 5.4.1)."""

    def __init__(self, code: int, message: str, flood: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.flood = flood


@final
class _Stream:
    __slots__ = ("content_left", "receive_window", "remote_open", "send_window")

    def __init__(self, send_window: int, receive_window: int, content_left: int) -> None:
        self.send_window = send_window
        self.receive_window = receive_window
        self.remote_open = True
        self.content_left = content_left
        """Bytes until the announced content-length, or -1 without one."""


@final
class FrameCodec:
    """A `Codec` of our own."""

    def __init__(self, sink: CodecSink, limits: CodecLimits) -> None:
        self._sink = sink
        self._limits = limits
        self._buffer = b""
        self._output = bytearray()
        self._decoder = CachingDecoder(limits.max_header_list_bytes * _HEADER_LIST_HARD_FACTOR)
        self._encoder = StaticEncoder()
        self._streams: dict[int, _Stream] = {}
        self._reset_ids: OrderedDict[int, bool] = OrderedDict()
        self._highest = 0
        self._block: tuple[int, int, list[bytes]] | None = None
        self._preface_left = _PREFACE
        self._has_settings = False
        self._send_window = self._peer_initial_window = _DEFAULT_WINDOW
        self._receive_window = limits.connection_window_bytes
        self._peer_frame_max = _FRAME_MAX

    # Commands

    def start(self) -> None:
        """See Codec.start."""
        limits = self._limits
        settings = (
            (MAX_CONCURRENT, limits.max_concurrent_streams),
            (INITIAL_WINDOW, limits.stream_window_bytes),
            (MAX_HEADER_LIST, limits.max_header_list_bytes),
        )
        self._frame(SETTINGS, 0, 0, b"".join(_pack_setting(*setting) for setting in settings))
        self._window_update(0, limits.connection_window_bytes - _DEFAULT_WINDOW)

    def receive(self, data: bytes) -> None:
        """See Codec.receive."""
        try:
            if self._preface_left:
                data = self._take_preface(data)
            self._buffer = self._walk(self._buffer + data if self._buffer else data)
        except _Failure as failure:
            self.goaway(failure.code)
            raise CodecError(failure.code, str(failure), failure.flood) from None

    def send_headers(self, stream_id: int, headers: Headers, end_stream: bool) -> None:
        """See Codec.send_headers."""
        if stream_id not in self._streams:
            return
        block = self._encoder.encode(headers)
        flags = END_HEADERS | END_STREAM if end_stream else END_HEADERS
        size, limit = len(block), self._peer_frame_max
        if size <= limit:
            self._output += _pack_head(size >> 8, size & 0xFF, HEADERS, flags, stream_id)
            self._output += block
            return
        self._frame(HEADERS, flags & END_STREAM, stream_id, block[:limit])
        for start in range(limit, size, limit):
            last = END_HEADERS if start + limit >= size else 0
            self._frame(CONTINUATION, last, stream_id, block[start : start + limit])

    def send_data(self, stream_id: int, data: bytes | memoryview) -> int:
        """See Codec.send_data."""
        stream = self._streams.get(stream_id)
        size = len(data)
        if stream is None:
            return size
        size = max(0, min(size, self._send_window, stream.send_window))
        stream.send_window -= size
        self._send_window -= size
        limit, output = self._peer_frame_max, self._output
        if size <= limit:
            if size:
                output += _pack_head(size >> 8, size & 0xFF, DATA, 0, stream_id)
                output += data if size == len(data) else data[:size]
            return size
        for start in range(0, size, limit):
            self._frame(DATA, 0, stream_id, data[start : min(start + limit, size)])
        return size

    def end_stream(self, stream_id: int) -> None:
        """See Codec.end_stream."""
        if stream_id in self._streams:
            self._frame(DATA, END_STREAM, stream_id, b"")

    def credit_stream(self, stream_id: int, flow_bytes: int) -> None:
        """See Codec.credit_stream."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.remote_open:
            stream.receive_window += flow_bytes
            self._window_update(stream_id, flow_bytes)

    def credit_connection(self, flow_bytes: int) -> None:
        """See Codec.credit_connection."""
        self._receive_window += flow_bytes
        self._window_update(0, flow_bytes)

    def reset(self, stream_id: int, code: int) -> None:
        """See Codec.reset."""
        if stream_id in self._streams:
            self._frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))
            del self._streams[stream_id]
            self._remember_reset(stream_id, False)

    def forget(self, stream_id: int) -> None:
        """See Codec.forget."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None and stream.remote_open:
            self._remember_reset(stream_id, False)

    def ping(self, data: bytes) -> None:
        """See Codec.ping."""
        self._frame(PING, 0, 0, data)

    def goaway(self, code: int, last_stream_id: int | None = None) -> None:
        """See Codec.goaway."""
        last = self._highest if last_stream_id is None else last_stream_id
        self._frame(GOAWAY, 0, 0, struct.pack(">II", last, code))

    def take_output(self) -> bytes:
        """See Codec.take_output."""
        output = bytes(self._output)
        self._output.clear()
        return output

    @property
    def output_bytes(self) -> int:
        """See Codec.output_bytes."""
        return len(self._output)

    # Output

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes | memoryview) -> None:
        size = len(payload)
        self._output += _pack_head(size >> 8, size & 0xFF, kind, flags, stream_id)
        self._output += payload

    def _window_update(self, stream_id: int, flow_bytes: int) -> None:
        if flow_bytes > 0:
            self._frame(WINDOW_UPDATE, 0, stream_id, flow_bytes.to_bytes(4, "big"))

    def _stream_error(self, stream_id: int, code: int) -> None:
        self._frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))
        if self._streams.pop(stream_id, None) is not None:
            self._remember_reset(stream_id, False)
            self._sink.stream_reset(stream_id, False)

    def _remember_reset(self, stream_id: int, by_peer: bool) -> None:
        self._reset_ids[stream_id] = by_peer
        if len(self._reset_ids) > _RESET_IDS_MAX:
            self._reset_ids.popitem(last=False)

    # Input

    def _take_preface(self, data: bytes) -> bytes:
        left = self._preface_left
        size = min(len(left), len(data))
        if data[:size] != left[:size]:
            raise _Failure(PROTOCOL_ERROR, "not an HTTP/2 preface")
        self._preface_left = left[size:]
        return data[size:]

    def _walk(self, data: bytes) -> bytes:
        """Handle every whole frame; returns the rest."""
        at, size = 0, len(data)
        while size - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > _FRAME_MAX:
                raise _Failure(FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = at + 9 + length
            if end > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream_id = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
            payload = data[at + 9 : end]
            at = end
            if not self._has_settings and (kind != SETTINGS or flags & ACK):
                raise _Failure(PROTOCOL_ERROR, "the first frame is not SETTINGS")
            if self._block is not None and kind != CONTINUATION:
                raise _Failure(PROTOCOL_ERROR, "a header block is interrupted")
            if kind == DATA:
                self._on_data(flags, stream_id, payload)
            elif kind == HEADERS:
                self._on_headers(flags, stream_id, payload)
            else:
                self._control(kind, flags, stream_id, payload)
        return data[at:] if at else data

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        flow_bytes = len(payload)
        self._receive_window -= flow_bytes
        if self._receive_window < 0:
            raise _Failure(FLOW_CONTROL_ERROR, "the connection's window is overrun")
        if flags & PADDED:
            payload = _strip_padding(payload)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._stray(stream_id, "DATA")
            # Nobody will credit these bytes otherwise.
            self._sink.data_received(stream_id, b"", flow_bytes, False)
            return
        stream.receive_window -= flow_bytes
        if not stream.remote_open:
            self._sink.data_received(0, b"", flow_bytes, False)
            self._stream_error(stream_id, STREAM_CLOSED)
            return
        if stream.receive_window < 0:
            self._sink.data_received(0, b"", flow_bytes, False)
            self._stream_error(stream_id, FLOW_CONTROL_ERROR)
            return
        ended = bool(flags & END_STREAM)
        if stream.content_left >= 0:
            stream.content_left -= len(payload)
            if stream.content_left < 0 or (ended and stream.content_left):
                self._sink.data_received(0, b"", flow_bytes, False)
                self._stream_error(stream_id, PROTOCOL_ERROR)
                return
        if ended:
            stream.remote_open = False
        elif not payload:
            self._sink.control_received(False)
        self._sink.data_received(stream_id, payload, flow_bytes, ended)

    def _stray(self, stream_id: int, what: str) -> None:
        """A frame on a stream that is not open: harmless only when the stream was reset."""
        by_peer = self._reset_ids.get(stream_id)
        if by_peer:
            self._stream_error(stream_id, STREAM_CLOSED)
        if by_peer is not None:
            return
        if stream_id == 0 or stream_id > self._highest or not stream_id & 1:
            raise _Failure(PROTOCOL_ERROR, f"{what} on stream {stream_id}")
        raise _Failure(STREAM_CLOSED, f"{what} on the closed stream {stream_id}")

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise _Failure(PROTOCOL_ERROR, f"HEADERS on stream {stream_id}")
        if flags & PADDED:
            payload = _strip_padding(payload)
        if flags & HAS_PRIORITY:
            if len(payload) < 5:
                raise _Failure(FRAME_SIZE_ERROR, "HEADERS is too short for its priority")
            if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream_id:
                raise _Failure(PROTOCOL_ERROR, "a stream depends on itself")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._on_block(flags, stream_id, payload)
        else:
            self._block = (stream_id, flags, [payload])

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise _Failure(PROTOCOL_ERROR, "CONTINUATION without a header block")
        _, first_flags, parts = self._block
        parts.append(payload)
        # A compressed block is never larger than the list it stands for.
        block_max = self._limits.max_header_list_bytes * _HEADER_LIST_HARD_FACTOR
        if len(parts) > _CONTINUATIONS_MAX or sum(map(len, parts)) > block_max:
            raise _Failure(ENHANCE_YOUR_CALM, "a header block without end", "CONTINUATION")
        if flags & END_HEADERS:
            self._block = None
            self._on_block(first_flags, stream_id, b"".join(parts))

    def _on_block(self, flags: int, stream_id: int, block: bytes) -> None:
        try:
            headers: Headers = self._decoder.decode(block, raw=True)  # type: ignore[assignment]
        except hpack.OversizedHeaderListError:
            raise _Failure(
                ENHANCE_YOUR_CALM, "the header list is far over the limit", "HEADERS"
            ) from None
        except (hpack.HPACKError, IndexError, ValueError) as error:
            raise _Failure(COMPRESSION_ERROR, f"the header block is broken: {error}") from None
        ended = bool(flags & END_STREAM)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, stream_id, headers, ended)
            return
        if stream_id <= self._highest:
            self._stray(stream_id, "HEADERS")
            return
        self._highest = stream_id
        content_left = _content_length(headers)
        stream = _Stream(
            self._peer_initial_window, self._limits.stream_window_bytes, max(content_left, -1)
        )
        self._streams[stream_id] = stream
        if content_left < -1 or (ended and content_left > 0):
            self._stream_error(stream_id, PROTOCOL_ERROR)
            return
        stream.remote_open = not ended
        self._sink.request_received(stream_id, headers, ended)

    def _on_trailers(self, stream: _Stream, stream_id: int, headers: Headers, ended: bool) -> None:
        if not stream.remote_open:
            self._stream_error(stream_id, STREAM_CLOSED)
        elif not ended or stream.content_left > 0 or any(k[:1] == b":" for k, _ in headers):
            self._stream_error(stream_id, PROTOCOL_ERROR)
        else:
            stream.remote_open = False
            self._sink.data_received(stream_id, b"", 0, True)

    def _control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            self._on_window_update(stream_id, payload)
        elif kind == RST_STREAM:
            self._on_reset(stream_id, payload)
        elif kind == SETTINGS:
            self._on_settings(flags, stream_id, payload)
        elif kind == PING:
            self._on_ping(flags, stream_id, payload)
        elif kind == CONTINUATION:
            self._on_continuation(flags, stream_id, payload)
        elif kind == PRIORITY:
            self._on_priority(stream_id, payload)
        elif kind == GOAWAY:
            if stream_id or len(payload) < 8:
                raise _Failure(PROTOCOL_ERROR, "a malformed GOAWAY")
            self._sink.goaway_received()
        elif kind == PUSH_PROMISE:
            raise _Failure(PROTOCOL_ERROR, "a client may not push")
        else:
            self._sink.control_received(False)  # unknown types are ignored (section 5.5)

    def _on_window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise _Failure(FRAME_SIZE_ERROR, "WINDOW_UPDATE takes 4 bytes")
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if stream_id == 0:
            self._send_window += increment
            if not increment or self._send_window > _WINDOW_MAX:
                code = FLOW_CONTROL_ERROR if increment else PROTOCOL_ERROR
                raise _Failure(code, "a wrong WINDOW_UPDATE")
        else:
            stream = self._streams.get(stream_id)
            if stream is None:
                if stream_id > self._highest:
                    raise _Failure(PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
                self._sink.control_received(False)
                return
            stream.send_window += increment
            if not increment or stream.send_window > _WINDOW_MAX:
                code = FLOW_CONTROL_ERROR if increment else PROTOCOL_ERROR
                self._stream_error(stream_id, code)
                return
        self._sink.window_opened(stream_id)

    def _on_reset(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise _Failure(FRAME_SIZE_ERROR, "RST_STREAM takes 4 bytes")
        if stream_id == 0 or stream_id > self._highest:
            raise _Failure(PROTOCOL_ERROR, f"RST_STREAM on stream {stream_id}")
        if self._streams.pop(stream_id, None) is not None:
            self._remember_reset(stream_id, True)
        self._sink.stream_reset(stream_id, True)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise _Failure(PROTOCOL_ERROR, f"SETTINGS on stream {stream_id}")
        if len(payload) % 6 or (flags & ACK and payload):
            raise _Failure(FRAME_SIZE_ERROR, "a SETTINGS frame of a wrong size")
        self._sink.control_received(True)
        if flags & ACK:
            return
        for at in range(0, len(payload), 6):
            self._apply_setting(*_unpack_setting(payload, at))
        self._frame(SETTINGS, ACK, 0, b"")
        if not self._has_settings:
            self._has_settings = True
            self._sink.preface_received()
        # A larger initial window opens every stream.
        self._sink.window_opened(0)

    def _apply_setting(self, key: int, value: int) -> None:
        if key == INITIAL_WINDOW:
            if value > _WINDOW_MAX:
                raise _Failure(FLOW_CONTROL_ERROR, "the initial window is too large")
            change = value - self._peer_initial_window
            self._peer_initial_window = value
            for stream in self._streams.values():
                stream.send_window += change
                if stream.send_window > _WINDOW_MAX:
                    raise _Failure(FLOW_CONTROL_ERROR, "a window grows over its limit")
        elif key == MAX_FRAME_SIZE:
            if not _FRAME_MAX <= value < 2**24:
                raise _Failure(PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE is out of range")
            self._peer_frame_max = value
        elif key == ENABLE_PUSH and value > 1:
            raise _Failure(PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH is out of range")
        elif key == HEADER_TABLE_SIZE and value < self._encoder.header_table_size:
            self._encoder.header_table_size = value

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise _Failure(PROTOCOL_ERROR, f"PING on stream {stream_id}")
        if len(payload) != 8:
            raise _Failure(FRAME_SIZE_ERROR, "PING takes 8 bytes")
        self._sink.control_received(False)
        if flags & ACK:
            self._sink.ping_acknowledged(payload)
        else:
            self._frame(PING, ACK, 0, payload)

    def _on_priority(self, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise _Failure(PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            if stream_id in self._streams:
                self._stream_error(stream_id, FRAME_SIZE_ERROR)
                return
            raise _Failure(FRAME_SIZE_ERROR, "PRIORITY takes 5 bytes")
        if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream_id:
            if stream_id in self._streams:
                self._stream_error(stream_id, PROTOCOL_ERROR)
                return
            raise _Failure(PROTOCOL_ERROR, "a stream depends on itself")
        self._sink.control_received(False)


def _strip_padding(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise _Failure(PROTOCOL_ERROR, "padding is longer than the frame")
    return payload[1 : len(payload) - payload[0]]


def _content_length(headers: Headers) -> int:
    """The announced length, -1 without one, -2 for one that is no number."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else -2
    return -1
