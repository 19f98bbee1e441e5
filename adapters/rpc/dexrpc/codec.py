"""The frame codec: HTTP/2 without I/O, clocks or tasks.

Theory of operation
-------------------
A `Codec` owns one connection's HTTP/2 state: preface, settings, HPACK, stream states and both
directions of flow control. Bytes go in through `receive`, which reports what they meant to a
`CodecSink` before it returns; commands (`send_headers`, `send_data`, ...) append bytes to an
output that `take_output` hands to whoever owns the socket. Nothing blocks and nothing is called
later, so one codec can be replaced by another and both be tested with plain bytes.

The rules both sides keep:

* The codec answers what the protocol answers by itself: SETTINGS and PING acknowledgements, stream
  errors (RST_STREAM), connection errors (a GOAWAY in the output and a `CodecError` raised).
* After a `CodecError` only `take_output` may be called.
* A stream is known to the codec from `request_received` to `forget`, which the owner calls when it
  is done with it. Commands on a stream that the peer has reset are ignored: the peer's RST_STREAM
  may be in flight when the owner acts.
* Received DATA is not credited to the peer until the owner says so (`credit_stream`,
  `credit_connection`).
* `send_data` takes what the windows allow and says how much that was; `window_opened` is the sign
  to offer the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dexrpc.metadata import Headers

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
REFUSED_STREAM = 0x7
CANCEL = 0x8
ENHANCE_YOUR_CALM = 0xB
"""HTTP/2 error codes the server uses (RFC 9113 section 7)."""

STREAM_ID_MAX = 2**31 - 1


class CodecError(Exception):
    """The peer broke the protocol; the connection cannot go on. `code` is what GOAWAY carries,
    `flood` names the frames there were too many of, if that was it."""

    def __init__(self, code: int, message: str, flood: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.flood = flood


@dataclass(frozen=True, slots=True)
class CodecLimits:
    """What a codec announces and enforces; meanings as in ServerConfig."""

    max_concurrent_streams: int
    max_header_list_bytes: int
    stream_window_bytes: int
    connection_window_bytes: int


class CodecSink(Protocol):
    """Hears what received bytes meant, in order, while `Codec.receive` runs."""

    def preface_received(self) -> None:
        """The peer's first SETTINGS arrived: it speaks HTTP/2."""

    def request_received(self, stream_id: int, headers: Headers, end_stream: bool) -> None:
        """A request opened a stream. `headers` is validated as HTTP/2, not as gRPC; equal header
        blocks may be the same object."""

    def data_received(self, stream_id: int, data: bytes, flow_bytes: int, end_stream: bool) -> None:
        """DATA (or trailers, with no data and `end_stream`) arrived. `flow_bytes`, padding
        included, is what the owner must credit."""

    def stream_reset(self, stream_id: int, by_peer: bool) -> None:
        """The stream is dead: the peer sent RST_STREAM, or broke the rules and was sent one."""

    def window_opened(self, stream_id: int) -> None:
        """More may be sent on the stream, or with 0 on the connection."""

    def ping_acknowledged(self, data: bytes) -> None:
        """The peer answered a `ping`."""

    def control_received(self, is_settings: bool) -> None:
        """A frame that asks for work without carrying a call: SETTINGS, PING, PRIORITY, empty DATA
        or one of an unknown type. For flood limits."""

    def goaway_received(self) -> None:
        """The peer will open no more streams; those that run go on."""


class Codec(Protocol):
    """One server-side HTTP/2 connection."""

    def __init__(self, sink: CodecSink, limits: CodecLimits) -> None: ...

    def start(self) -> None:
        """Put the server's SETTINGS and window into the output."""

    def receive(self, data: bytes) -> None:
        """Parse all of `data`. Raises CodecError."""

    def send_headers(self, stream_id: int, headers: Headers, end_stream: bool) -> None:
        """Response headers, or trailers when they end the stream. Tuples that are sent often should
        be the same object each time: codecs cache their encoding."""

    def send_data(self, stream_id: int, data: bytes | memoryview) -> int:
        """Send as much of `data` as the windows allow; returns how many bytes that was."""

    def end_stream(self, stream_id: int) -> None:
        """End the stream with an empty DATA frame."""

    def credit_stream(self, stream_id: int, flow_bytes: int) -> None:
        """The handler consumed request bytes: give the peer that much window again."""

    def credit_connection(self, flow_bytes: int) -> None:
        """The same for the connection's window."""

    def reset(self, stream_id: int, code: int) -> None:
        """Abort the stream."""

    def forget(self, stream_id: int) -> None:
        """The owner is done with the stream."""

    def ping(self, data: bytes) -> None:
        """Ask for a PING acknowledgement; `data` is 8 bytes."""

    def goaway(self, code: int, last_stream_id: int | None = None) -> None:
        """Tell the peer to open no more streams above `last_stream_id` (default: the highest seen).
        Streams that run go on."""

    def take_output(self) -> bytes:
        """All bytes waiting to be sent."""

    @property
    def output_bytes(self) -> int:
        """How many bytes wait to be sent."""
