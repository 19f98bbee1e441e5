"""Every limit of the server: a name, a unit, a default and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass

from dexrpc.codec import Codec
from dexrpc.framecodec import FrameCodec


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Limits of one server. Reaching one ends a call or a connection, never the server."""

    codec: type[Codec] = FrameCodec
    """The HTTP/2 implementation: `FrameCodec`, or `H2Codec` for the one of the h2 library."""

    max_message_bytes: int = 4 * 1024 * 1024
    """Largest request message, after decompression. Over it: RESOURCE_EXHAUSTED."""

    max_connections: int = 20_000
    """Connections at once. One more is closed as soon as it is accepted."""

    max_connections_per_address: int = 15_000
    """The same from one address (a port apart; a Unix socket counts as one)."""

    max_concurrent_streams: int = 1000
    """Calls at once on one connection (SETTINGS_MAX_CONCURRENT_STREAMS). Over it:
    RST_STREAM(REFUSED_STREAM), which clients may retry."""

    max_header_list_bytes: int = 16 * 1024
    """Request metadata of one call, as RFC 9113 counts it (SETTINGS_MAX_HEADER_LIST_SIZE). Over
    it: RESOURCE_EXHAUSTED; over four times it the connection is ended."""

    stream_window_bytes: int = 1024 * 1024
    """Flow-control window of a request stream: what a handler that does not read can make the
    server hold, apart from one partial message."""

    connection_window_bytes: int = 16 * 1024 * 1024
    """Flow-control window of a connection. Returned on arrival, so that one slow handler does not
    stall its neighbours; `max_buffered_bytes` bounds what that lets in."""

    max_buffered_bytes: int = 64 * 1024 * 1024
    """Request bytes held for all calls of one connection. The call that passes it ends with
    RESOURCE_EXHAUSTED."""

    max_buffered_bytes_total: int = 512 * 1024 * 1024
    """The same for all connections together. The call that passes it ends with
    RESOURCE_EXHAUSTED."""

    max_output_bytes: int = 256 * 1024
    """Response bytes waiting for the socket of one connection. Over it `send` waits; over four
    times it (answers to PING and the like) the connection is not read until the peer reads."""

    max_message_batch: int = 1024
    """Most messages one `receive_available` returns."""

    max_resets_per_second: int = 200
    """RST_STREAM frames a peer may send in one second (rapid reset, CVE-2023-44487), beside
    `max_earned_resets`. Over it: GOAWAY(ENHANCE_YOUR_CALM)."""

    max_earned_resets: int = 1000
    """Further ones, earned one by one by calls that ended with their status: a client that waits
    for its answers may cancel as many calls at once as may be open."""

    max_refusals_per_second: int = 1000
    """Requests on one connection in one second that reach no handler because they break a rule:
    malformed, over a limit, of no known method, or on one stream too many; and streams the peer
    makes the server reset (CVE-2025-8671). Over it: GOAWAY(ENHANCE_YOUR_CALM). What the gate
    refuses is not counted: that may be the server's own fault."""

    max_window_updates_per_second: int = 50_000
    """WINDOW_UPDATE frames a peer may send in one second. Over it: GOAWAY(ENHANCE_YOUR_CALM)."""

    max_settings_per_second: int = 100
    """SETTINGS frames a peer may send in one second. Over it: GOAWAY(ENHANCE_YOUR_CALM)."""

    max_control_frames_per_second: int = 10_000
    """PING, PRIORITY, empty DATA and unknown frames a peer may send in one second. Generous: Go
    clients probe the bandwidth with a PING per received DATA frame. Over it:
    GOAWAY(ENHANCE_YOUR_CALM)."""

    max_floods_per_address: int = 10
    """Floods that one address (or IPv6 network of 64 bits) may owe for: connections that were ended
    with ENHANCE_YOUR_CALM, or closed by the peer with over half of such a limit used. Over it the
    next ones are held unread; those that are open are not touched."""

    flood_forgiven_after: float = 1.0
    """Seconds until one of those is forgiven. Twice as many as are free are remembered at most, so
    that nobody is held for longer than clients try to connect."""

    max_held_per_address: int = 16
    """Connections of one address held like that. One more is closed when it is accepted, and the
    listener then rests for a moment."""

    handshake_timeout: float = 10.0
    """Seconds from accept to the end of the TLS handshake, the preface and the first SETTINGS."""

    keepalive_interval: float = 60.0
    """Seconds without a byte from the peer after which it is sent a PING."""

    keepalive_timeout: float = 20.0
    """Seconds the peer has to answer that PING with any byte before the connection is closed."""

    idle_timeout: float = 3600.0
    """Seconds a connection may stay without a call before it is drained and closed."""

    stall_timeout: float = 3.0
    """Seconds a call's answer may wait without a byte of it moving, because the peer keeps its
    window shut or leaves the socket full. Then `send` raises `SendStalled`; looked at once a
    second, so that a stalled stream is cut within 5 s, also by a loop that is late."""

    write_timeout: float = 60.0
    """Seconds the peer may leave the socket full before the connection is closed."""

    backlog: int = 1024
    """Connections the kernel holds for a listener before they are accepted."""


CLOSE_GRACE_SECONDS = 1.0
"""How long a connection that ends in an error may take to deliver its GOAWAY."""
CLOSE_GRACE_BYTES = 1024 * 1024
"""What is read of it meanwhile, and thrown away."""
