"""Both codecs, with plain bytes: the same input means the same, and windows hold both ways."""

from __future__ import annotations

import random
import struct

import hpack
import pytest

from dexrpc.codec import Codec, CodecError
from tests.unit.rpc.wire import (
    CODECS,
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    HELLO,
    LIMITS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    RecordingSink,
    frame,
    request,
    split,
)

RESPONSE = ((b":status", b"200"), (b"content-type", b"application/grpc"))
both_codecs = pytest.mark.parametrize("codec_class", CODECS, ids=lambda codec: codec.__name__)


def opened(codec_class: type[Codec]) -> tuple[Codec, RecordingSink]:
    """A codec past its handshake, with nothing left to send."""
    sink = RecordingSink()
    codec = codec_class(sink, LIMITS)
    codec.start()
    codec.receive(HELLO + frame(SETTINGS, 1, 0))
    codec.take_output()
    sink.heard.clear()
    return codec, sink


@both_codecs
def test_chunks_do_not_matter(codec_class: type[Codec]) -> None:
    data = HELLO + request(1, "/a/B", b"x" * 300) + frame(PING, 0, 0, b"12345678")
    data += request(3, "/a/C", b"y", end=False) + frame(RST_STREAM, 0, 3, struct.pack(">I", 8))
    heard, output = [], []
    for size in (1, 7, len(data)):
        sink = RecordingSink()
        codec = codec_class(sink, LIMITS)
        codec.start()
        for start in range(0, len(data), size):
            codec.receive(data[start : start + size])
        heard.append(sink.heard)
        output.append(codec.take_output())
    assert heard[0] == heard[1] == heard[2]
    assert output[0] == output[1] == output[2]
    assert ("reset", 3, True) in heard[0]


def test_codecs_hear_the_same() -> None:
    data = HELLO + request(1, "/a/B", b"x") + request(3, "/a/B", None)
    data += frame(DATA, 8, 3, b"\x02abcd\0\0") + frame(WINDOW, 0, 3, struct.pack(">I", 9))
    data += frame(GOAWAY, 0, 0, bytes(8)) + request(5, "/a/B", b"after the peer's GOAWAY")
    heard = []
    for codec_class in CODECS:
        sink = RecordingSink()
        codec = codec_class(sink, LIMITS)
        codec.start()
        codec.receive(data)
        # When SETTINGS counts as control is each codec's own affair.
        heard.append([event for event in sink.heard if event[0] != "control"])
    assert sorted(heard[0], key=repr) == sorted(heard[1], key=repr)


@both_codecs
def test_junk_ends_in_codec_error_alone(codec_class: type[Codec]) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}; replay: random.Random({seed})")
    source = random.Random(seed)
    for _ in range(300):
        codec, _ = opened(codec_class)
        junk = request(1, "/a/B", b"x", end=False)
        for _ in range(source.randrange(1, 12)):
            kind, flags = source.randrange(12), source.randrange(256)
            payload = source.randbytes(source.choice((0, 4, 5, 6, 8, 30)))
            junk += frame(kind, flags, source.choice((0, 1, 2, 3)), payload)
        failed = False
        try:
            codec.receive(junk)
        except CodecError:
            failed = True
        kinds = [kind for kind, *_ in split(codec.take_output())]
        assert (kinds[-1:] == [GOAWAY]) is failed


@both_codecs
def test_sending_stops_at_the_stream_window(codec_class: type[Codec]) -> None:
    codec, sink = opened(codec_class)
    codec.receive(request(1, "/a/B"))
    codec.send_headers(1, RESPONSE, False)
    assert codec.send_data(1, bytes(100_000)) == 65_535
    assert codec.send_data(1, b"more") == 0
    sizes = [len(payload) for kind, _, _, payload in split(codec.take_output()) if kind == DATA]
    assert sum(sizes) == 65_535
    assert max(sizes) <= 16_384
    codec.receive(frame(WINDOW, 0, 0, struct.pack(">I", 50)))
    assert codec.send_data(1, b"more") == 0
    codec.receive(frame(WINDOW, 0, 1, struct.pack(">I", 3)))
    assert ("window", 1) in sink.heard
    assert codec.send_data(1, b"more") == 3


@both_codecs
def test_a_shrunken_window_goes_negative_and_comes_back(codec_class: type[Codec]) -> None:
    codec, _ = opened(codec_class)
    codec.receive(request(1, "/a/B"))
    codec.send_headers(1, RESPONSE, False)
    assert codec.send_data(1, bytes(1000)) == 1000
    codec.receive(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 900)))
    assert codec.send_data(1, b"x") == 0
    codec.receive(frame(WINDOW, 0, 1, struct.pack(">I", 101)))
    assert codec.send_data(1, b"xy") == 1


@both_codecs
def test_overrunning_the_receive_window_is_an_error(codec_class: type[Codec]) -> None:
    codec, sink = opened(codec_class)
    codec.receive(request(1, "/a/B", None))
    for _ in range(3):
        codec.receive(frame(DATA, 0, 1, bytes(16_384)))
    codec.credit_stream(1, 16_384)
    codec.receive(frame(DATA, 0, 1, bytes(16_384)))
    try:
        codec.receive(frame(DATA, 0, 1, bytes(16_384)) * 2)
        ended = ("reset", 1, False) in sink.heard
    except CodecError:
        ended = True  # h2 ends the connection, which is allowed too
    assert ended


@both_codecs
def test_goaway_lets_streams_run(codec_class: type[Codec]) -> None:
    codec, sink = opened(codec_class)
    codec.receive(request(1, "/a/B", b"x", end=False))
    codec.goaway(0)
    codec.receive(frame(GOAWAY, 0, 0, bytes(8)) + frame(DATA, 1, 1, b"late"))
    assert ("data", 1, b"late", 4, True) in sink.heard
    codec.send_headers(1, RESPONSE, False)
    assert codec.send_data(1, b"answer") == 6
    codec.end_stream(1)
    kinds = [kind for kind, *_ in split(codec.take_output())]
    assert kinds == [GOAWAY, HEADERS, DATA, DATA]


@both_codecs
def test_long_headers_are_continued(codec_class: type[Codec]) -> None:
    codec, _ = opened(codec_class)
    codec.receive(request(1, "/a/B"))
    headers = (*RESPONSE, (b"x-long", b"y" * 40_000))
    codec.send_headers(1, headers, True)
    frames = split(codec.take_output())
    assert [kind for kind, *_ in frames] == [HEADERS, CONTINUATION, CONTINUATION]
    assert [flags & 4 for _, flags, *_ in frames] == [0, 0, 4]
    decoder = hpack.Decoder(max_header_list_size=1 << 20)
    block = b"".join(payload for *_, payload in frames)
    assert tuple(map(tuple, decoder.decode(block, raw=True))) == headers


@both_codecs
def test_commands_on_a_dead_stream_do_nothing(codec_class: type[Codec]) -> None:
    codec, _ = opened(codec_class)
    codec.receive(request(1, "/a/B") + frame(RST_STREAM, 0, 1, struct.pack(">I", 8)))
    codec.send_headers(1, RESPONSE, False)
    assert codec.send_data(1, b"gone") == 4
    codec.end_stream(1)
    codec.credit_stream(1, 100)
    codec.reset(1, 8)
    codec.forget(1)
    assert codec.take_output() == b""


@both_codecs
def test_a_shrunken_header_table_is_acknowledged_in_the_block(codec_class: type[Codec]) -> None:
    codec, _ = opened(codec_class)
    codec.receive(frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 0)) + request(1, "/a/B"))
    codec.take_output()
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 0
    for end in (False, True):
        codec.send_headers(1, RESPONSE, end)
    blocks = [payload for *_, payload in split(codec.take_output())]
    assert [tuple(map(tuple, decoder.decode(block, raw=True))) for block in blocks] == [
        RESPONSE
    ] * 2


@both_codecs
def test_repeated_blocks_follow_the_table(codec_class: type[Codec]) -> None:
    """The same bytes mean something else once the dynamic table has moved."""
    codec, sink = opened(codec_class)
    encoder = hpack.Encoder()
    base = [(":method", "POST"), (":scheme", "http"), (":path", "/a/B")]
    seen = []
    for number, value in enumerate("aabbaabb"):
        block = encoder.encode([*base, ("x-value", value)])
        codec.receive(frame(HEADERS, 5, 2 * number + 1, block))
        seen.append(value.encode())
    values = [dict(event[2])[b"x-value"] for event in sink.heard if event[0] == "request"]  # type: ignore[call-overload]
    assert values == seen
