"""A codec over the `h2` library, tuned and mended.

Theory of operation
-------------------
`h2` validates the protocol; this module translates its events and calls. `_Connection` changes what
a gRPC server needs otherwise:

* GOAWAY, sent or received, does not end the connection: running streams must finish (RFC 9113
  section 6.8), where h2 stops all traffic at once.
* Streams are counted and forgotten by the owner. h2 walks all streams for every new one, which is
  quadratic in the number of calls in flight, and answers one stream too many with the death of the
  connection where RST_STREAM(REFUSED_STREAM) does.
* A header block without end is answered with ENHANCE_YOUR_CALM, and bounded in bytes too.
* Header blocks are coded through `dexrpc.header_blocks`, and h2's own validation of each header is
  off: the connection validates a header list once and remembers the verdict.

Flow control credit is written by this module, not by h2's window manager, whose bookkeeping would
hold credit back until half of a window is used even when the owner has already coalesced it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from h2.frame_buffer import CONTINUATION_BACKLOG
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import Frame, GoAwayFrame

from dexrpc.codec import (
    ENHANCE_YOUR_CALM,
    PROTOCOL_ERROR,
    CodecError,
    CodecLimits,
    CodecSink,
)
from dexrpc.header_blocks import CachingDecoder, StaticEncoder
from dexrpc.metadata import Headers

_CONFIG = h2.config.H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_inbound_headers=False,
    normalize_outbound_headers=False,
)
# The hard limit on a header list ends the connection, the announced one only the call.
HEADER_LIST_HARD_FACTOR = 4


class _Connection(h2.connection.H2Connection):
    """h2's connection with the changes named above."""

    def __init__(self, limits: CodecLimits) -> None:
        super().__init__(config=_CONFIG)
        codes = h2.settings.SettingCodes
        self.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
                codes.MAX_HEADER_LIST_SIZE: limits.max_header_list_bytes,
                codes.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                codes.ENABLE_PUSH: 0,
            },
        )
        self.decoder = CachingDecoder(limits.max_header_list_bytes * HEADER_LIST_HARD_FACTOR)
        self.encoder: Any = StaticEncoder()

    @property
    def open_inbound_streams(self) -> int:
        return 0  # the owner counts

    @property
    def output_bytes(self) -> int:
        return len(self._data_to_send)

    def _local_settings_acked(self) -> dict[Any, Any]:
        # h2 would lower the decoder's hard limit to the announced one.
        limit = self.decoder.max_header_list_size
        changes: dict[Any, Any] = super()._local_settings_acked()
        self.decoder.max_header_list_size = limit
        return changes

    @property
    def header_block(self) -> Sequence[Any]:
        """Frames of a header block that has not ended."""
        return self.incoming_buffer._headers_buffer

    def _terminate_connection(self, error_code: Any) -> None:
        # h2 calls a header block without end PROTOCOL_ERROR; it is a flood (CVE-2024-27316).
        flood = len(self.header_block) > CONTINUATION_BACKLOG
        super()._terminate_connection(
            h2.errors.ErrorCodes.ENHANCE_YOUR_CALM if flood else error_code
        )

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Any]]:
        event = h2.events.ConnectionTerminated()
        event.last_stream_id = frame.last_stream_id
        return [], [event]

    def write_goaway(self, code: int, last_stream_id: int | None) -> None:
        frame = GoAwayFrame(0)
        frame.error_code = code
        frame.last_stream_id = (
            self.highest_inbound_stream_id if last_stream_id is None else last_stream_id
        )
        self._prepare_for_sending([frame])

    def forget(self, stream_id: int) -> None:
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._closed_streams[stream_id] = stream.closed_by


@final
class H2Codec:
    """A `Codec` over h2."""

    def __init__(self, sink: CodecSink, limits: CodecLimits) -> None:
        self._sink = sink
        self._limits = limits
        self._h2 = _Connection(limits)
        self._has_settings = False
        self._handlers: dict[type[Any], Any] = {
            h2.events.RequestReceived: self._on_request,
            h2.events.DataReceived: self._on_data,
            h2.events.TrailersReceived: self._on_trailers,
            h2.events.StreamReset: self._on_reset,
            h2.events.WindowUpdated: self._on_window,
            h2.events.RemoteSettingsChanged: self._on_settings,
            h2.events.PingReceived: self._on_control,
            h2.events.PriorityUpdated: self._on_control,
            h2.events.UnknownFrameReceived: self._on_control,
            h2.events.PingAckReceived: self._on_ping_ack,
            h2.events.ConnectionTerminated: self._on_goaway,
        }

    # Commands

    def start(self) -> None:
        """See Codec.start."""
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(self._limits.connection_window_bytes - 65535)

    def receive(self, data: bytes) -> None:
        """See Codec.receive."""
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.DenialOfServiceError as error:
            raise CodecError(ENHANCE_YOUR_CALM, str(error), "HEADERS") from error
        except h2.exceptions.ProtocolError as error:
            if len(self._h2.header_block) > CONTINUATION_BACKLOG:
                raise CodecError(ENHANCE_YOUR_CALM, str(error), "CONTINUATION") from error
            raise CodecError(int(error.error_code), str(error)) from error
        except (HyperframeError, ValueError, KeyError, AssertionError) as error:
            # Bytes h2 itself stumbles over are the peer's fault all the same.
            self.goaway(PROTOCOL_ERROR)
            raise CodecError(PROTOCOL_ERROR, f"unreadable frame: {error!r}") from error
        if self._h2.header_block:
            self._check_header_block()
        handlers = self._handlers
        for event in events:
            handler = handlers.get(event.__class__)
            if handler is not None:
                handler(event)

    def _check_header_block(self) -> None:
        """h2 counts the frames of a header block, not their bytes."""
        size = sum(len(part.data) for part in self._h2.header_block)
        if size > self._limits.max_header_list_bytes * HEADER_LIST_HARD_FACTOR:
            self.goaway(ENHANCE_YOUR_CALM)
            raise CodecError(ENHANCE_YOUR_CALM, "a header block without end", "CONTINUATION")

    def send_headers(self, stream_id: int, headers: Headers, end_stream: bool) -> None:
        """See Codec.send_headers."""
        if self._writable(stream_id):
            self._h2.send_headers(stream_id, headers, end_stream)

    def send_data(self, stream_id: int, data: bytes | memoryview) -> int:
        """See Codec.send_data."""
        size = len(data)
        if not self._writable(stream_id):
            return size
        connection = self._h2
        room = min(
            connection.outbound_flow_control_window,
            connection.streams[stream_id].outbound_flow_control_window,
        )
        frame_max = connection.max_outbound_frame_size
        if size <= room and size <= frame_max:
            connection.send_data(stream_id, data)
            return size
        size = min(size, max(room, 0))
        for start in range(0, size, frame_max):
            connection.send_data(stream_id, data[start : min(start + frame_max, size)])
        return size

    def end_stream(self, stream_id: int) -> None:
        """See Codec.end_stream."""
        if self._writable(stream_id):
            self._h2.end_stream(stream_id)

    def credit_stream(self, stream_id: int, flow_bytes: int) -> None:
        """See Codec.credit_stream."""
        stream = self._h2.streams.get(stream_id)
        if stream is not None and not stream.closed:
            self._h2.increment_flow_control_window(flow_bytes, stream_id)

    def credit_connection(self, flow_bytes: int) -> None:
        """See Codec.credit_connection."""
        self._h2.increment_flow_control_window(flow_bytes)

    def reset(self, stream_id: int, code: int) -> None:
        """See Codec.reset."""
        if self._writable(stream_id):
            self._h2.reset_stream(stream_id, code)

    def forget(self, stream_id: int) -> None:
        """See Codec.forget."""
        self._h2.forget(stream_id)

    def ping(self, data: bytes) -> None:
        """See Codec.ping."""
        self._h2.ping(data)

    def goaway(self, code: int, last_stream_id: int | None = None) -> None:
        """See Codec.goaway."""
        self._h2.write_goaway(code, last_stream_id)

    def take_output(self) -> bytes:
        """See Codec.take_output."""
        return self._h2.data_to_send()

    @property
    def output_bytes(self) -> int:
        """See Codec.output_bytes."""
        return self._h2.output_bytes

    def _writable(self, stream_id: int) -> bool:
        stream = self._h2.streams.get(stream_id)
        return stream is not None and not stream.closed

    # Events

    def _on_request(self, event: Any) -> None:
        self._sink.request_received(event.stream_id, event.headers, event.stream_ended is not None)

    def _on_data(self, event: Any) -> None:
        ended = event.stream_ended is not None
        if not event.data and not ended:
            self._sink.control_received(False)
        self._sink.data_received(event.stream_id, event.data, event.flow_controlled_length, ended)

    def _on_trailers(self, event: Any) -> None:
        self._sink.data_received(event.stream_id, b"", 0, True)

    def _on_reset(self, event: Any) -> None:
        self._sink.stream_reset(event.stream_id, event.remote_reset)

    def _on_window(self, event: Any) -> None:
        self._sink.window_opened(event.stream_id)

    def _on_settings(self, _event: Any) -> None:
        if not self._has_settings:
            self._has_settings = True
            self._sink.preface_received()
        self._sink.control_received(True)
        # A larger initial window opens every stream.
        self._sink.window_opened(0)

    def _on_control(self, _event: Any) -> None:
        self._sink.control_received(False)

    def _on_ping_ack(self, event: Any) -> None:
        self._sink.ping_acknowledged(event.ping_data)

    def _on_goaway(self, _event: Any) -> None:
        self._sink.goaway_received()
