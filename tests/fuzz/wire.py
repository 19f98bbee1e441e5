"""The wire: HTTP/2 bytes, gRPC messages and metadata, as any peer may send them.

A stream fed in one piece or byte by byte means the same and is answered the same; what breaks a
rule ends in the typed error and nothing else; answers stay in proportion to what was sent; and what
both HTTP/2 codecs take as requests, they take as the same requests.
"""

from __future__ import annotations

import struct

from dexrpc import RpcError
from dexrpc.codec import Codec, CodecError
from dexrpc.framecodec import FrameCodec
from dexrpc.framing import MessageReader
from dexrpc.h2codec import H2Codec
from dexrpc.metadata import MetadataView, encode_metadata
from dexrpc.request import MalformedRequest, RequestHead
from tests.fuzz.family import Family, Target
from tests.unit.rpc.wire import (
    DATA,
    GOAWAY,
    HELLO,
    LIMITS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    RecordingSink,
    frame,
    request,
)

MESSAGE_BYTES_MAX = 1 << 12
# RFC 9113 section 6.5.2: what a peer may send before SETTINGS say more, which ours never do.
FRAME_BYTES_MAX = 16_384
CHUNKS = (1, 5, 9, 24, 64, 300)
SLOTS = ("whole", "chunks", "whole", "chunks", "messages", "heads", "whole", "agree")

Heard = list[tuple[object, ...]]


def hear(kind: type[Codec], data: bytes, size: int) -> tuple[Heard, bytes, int | None]:
    """What a codec hears in pieces of a size, what it answers, and the code it ended with."""
    sink = RecordingSink()
    codec = kind(sink, LIMITS)
    codec.start()
    greeting = len(codec.take_output())
    code = None
    try:
        for start in range(0, len(data), size):
            codec.receive(data[start : start + size])
    except CodecError as error:
        code = error.code
    answer = codec.take_output()
    # The longest answers: an acknowledged PING, and one GOAWAY with its reason.
    assert len(answer) <= greeting + 2 * len(data) + 200, "an answer out of proportion"
    return sink.heard, answer, code


def whole(data: bytes) -> bool:
    """Any bytes after a good greeting."""
    code = hear(FrameCodec, HELLO + data, 1 << 20)[2]
    assert code is not None or not over_the_limit(data), "a frame over the limit was taken"
    return code is None


def over_the_limit(data: bytes) -> bool:
    """Whether the head of some frame names more than a frame may have."""
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        if size > FRAME_BYTES_MAX:
            return True
        data = data[9 + size :]
    return False


def chunks(data: bytes) -> bool:
    """The first byte says in what pieces; even the greeting may be broken."""
    size = CHUNKS[data[0] % len(CHUNKS)] if data else 1
    at_once = hear(FrameCodec, data[1:], 1 << 20)
    assert hear(FrameCodec, data[1:], size) == at_once, (
        f"in pieces of {size} it means another thing"
    )
    return at_once[2] is None


def agree(data: bytes) -> bool:
    """Both codecs: of what both take to its end, the streams that live have the same requests and
    bodies. DATA of a stream that is gone is only credited (as stream 0), and not by both."""
    ours, theirs = (hear(kind, HELLO + data, 1 << 20) for kind in (FrameCodec, H2Codec))
    if ours[2] is not None or theirs[2] is not None:
        return False
    gone = {0} | {event[1] for event in ours[0] + theirs[0] if event[0] == "reset"}
    asked, also_asked = (
        [event for event in heard if event[0] in {"request", "data"} and event[1] not in gone]
        for heard in (ours[0], theirs[0])
    )
    assert asked == also_asked, "the codecs disagree about what was asked"
    return bool(asked)


def messages(data: bytes) -> bool:
    """gRPC messages: the same in any pieces, and never longer than the limit."""
    encoding = "gzip" if data[:1] < b"\x80" else "identity"
    size = 1 + (data[1] if len(data) > 1 else 0)
    ends = []
    for step in (1 << 20, size):
        reader = MessageReader(encoding, MESSAGE_BYTES_MAX)
        found: list[tuple[bytes, int]] = []
        code = None
        try:
            for start in range(2, len(data), step):
                found += reader.feed(data[start : start + step])
                assert reader.partial_bytes <= MESSAGE_BYTES_MAX + 5
        except RpcError as error:
            code = error.code
        sizes = [len(message) for message, _ in found]
        assert all(size <= MESSAGE_BYTES_MAX for size in sizes), "a message is over the limit"
        ends.append((found if code is None else None, code))
    assert ends[0] == ends[1], f"in pieces of {size} they are other messages"
    return ends[0][1] is None and bool(ends[0][0])


def heads(data: bytes) -> bool:
    """Header lists: a head that is taken has a method and a path, and its metadata travels on."""
    fields = [tuple(line.split(b"=", 1)) for line in data.split(b"\n") if b"=" in line]
    headers = [(name, value) for name, value in fields]
    try:
        head = RequestHead(headers)
    except MalformedRequest:
        return False
    assert head.path
    assert head.http_method
    assert head.timeout is None or head.timeout >= 0
    for key, value in MetadataView(headers).items():
        try:
            sent = encode_metadata([(key, value)])
        except (ValueError, UnicodeEncodeError):
            continue  # it may come in and not go out: keys that only peers may choose
        assert list(MetadataView(sent).items()) == [(key, value)], "metadata changes on its way"
    return head.is_grpc


def make() -> Target:
    """All handlers."""
    handlers = {"whole": whole, "chunks": chunks, "agree": agree, "messages": messages}
    return Target(SLOTS, {**handlers, "heads": heads})


def seeds(target: Target) -> list[bytes]:
    """Conversations that a client may have."""
    import gzip

    streams = [
        request(1, "/a/B", b"hi"),
        request(1, "/a/B", bytes(50), end=False) + request(3, "/c/D", None),
        b"".join(request(n, "/a/B", b"x" * n) for n in (1, 3, 5)),
        request(1, "/a/B", b"y", end=False) + frame(RST_STREAM, 0, 1, struct.pack(">I", 8)),
        request(1, "/a/B", None) + frame(DATA, 8, 1, b"\x02abcd\0\0"),
        frame(PING, 0, 0, b"12345678") + frame(PING, 1, 0, b"12345678"),
        frame(SETTINGS, 0, 0, struct.pack(">HIHI", 4, 70_000, 1, 100)) + frame(SETTINGS, 1, 0),
        frame(WINDOW, 0, 0, struct.pack(">I", 9)) + request(1, "/a/B", b"z"),
        frame(GOAWAY, 0, 0, bytes(8)) + request(1, "/a/B", b"after"),
    ]
    inputs = [target.input_for(kind, data) for data in streams for kind in ("whole", "agree")]
    inputs += [target.input_for("chunks", bytes([n]) + HELLO + d) for n, d in enumerate(streams)]
    packed = gzip.compress(b"a message " * 9, mtime=0)
    plain = b"\0" + struct.pack(">I", 5) + b"hello"
    inputs += [target.input_for("messages", b"\xff\x03" + plain * 2)]
    inputs += [
        target.input_for("messages", b"\x00\x03\x01" + struct.pack(">I", len(packed)) + packed)
    ]
    lines = [b":method=POST", b":scheme=http", b":path=/a/B", b"content-type=application/grpc"]
    lines += [b"grpc-timeout=10m", b"x-a-bin=AAEC", b"x-b=c", b"te=trailers"]
    return [*inputs, target.input_for("heads", b"\n".join(lines))]


FAMILY = Family(
    "HTTP/2, gRPC messages and metadata: the same in any pieces, refused with the typed error, "
    "answered in proportion, and the same requests for both codecs.",
    make,
    seeds,
    bytes_max=2048,
)
