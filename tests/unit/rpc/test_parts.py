"""Framing, metadata, status messages, request heads, method tables."""

from __future__ import annotations

import gzip
import math
import random
import zlib
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from dexrpc import (
    MetadataView,
    Method,
    MethodKind,
    RpcError,
    Server,
    StatusCode,
    bind_service,
)
from dexrpc.framing import MessageReader, frame_message
from dexrpc.metadata import encode_metadata
from dexrpc.method import message_parser, snake_case
from dexrpc.request import MalformedRequest, RequestHead, parse_timeout
from dexrpc.status import decode_message, encode_message, explain
from dexrpc.tls import certificate_names


def test_messages_in_any_chunks() -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}; replay: random.Random({seed})")
    source = random.Random(seed)
    messages = [source.randbytes(source.choice((0, 1, 5, 1000))) for _ in range(100)]
    data = b"".join(map(frame_message, messages))
    reader, got, at = MessageReader("identity", 1000), [], 0
    while at < len(data):
        size = source.randrange(1, 50)
        got += reader.feed(data[at : at + size])
        at += size
    assert [message for message, _ in got] == messages
    assert sum(wire_bytes for _, wire_bytes in got) == len(data)
    assert reader.partial_bytes == 0


def test_compressed_messages() -> None:
    reader = MessageReader("gzip", 1000)
    packed = gzip.compress(b"hello" * 100)
    frame = b"\1" + len(packed).to_bytes(4, "big") + packed
    assert reader.feed(frame_message(b"plain") + frame) == [
        (b"plain", 10),
        (b"hello" * 100, len(frame)),
    ]


@pytest.mark.parametrize(
    ("encoding", "frame", "code"),
    [
        ("identity", b"\0\0\0\x03\xe9", StatusCode.RESOURCE_EXHAUSTED),
        ("gzip", gzip.compress(bytes(1001)), StatusCode.RESOURCE_EXHAUSTED),
        ("gzip", gzip.compress(b"cut short")[:-4], StatusCode.INTERNAL),
        ("gzip", zlib.compress(b"not gzip"), StatusCode.INTERNAL),
        ("identity", gzip.compress(b"x"), StatusCode.INTERNAL),
    ],
    # gzip writes the time into its header, and each lane of a run must find the same tests.
    ids=["too long", "too long inflated", "cut short", "not gzip", "not announced"],
)
def test_messages_that_are_refused(encoding: str, frame: bytes, code: StatusCode) -> None:
    if not frame.startswith(b"\0\0"):
        frame = b"\1" + len(frame).to_bytes(4, "big") + frame
    with pytest.raises(RpcError) as raised:
        MessageReader(encoding, 1000).feed(frame)
    assert raised.value.code is code


def test_metadata_view() -> None:
    headers = (
        (b":path", b"/a/B"),
        (b"te", b"trailers"),
        (b"grpc-timeout", b"1S"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"raw-bin", b"AAE,/w=="),
        (b"bad-bin", b"!"),
    )
    view = MetadataView(headers)
    assert view.items() == [("x-a", "1"), ("x-a", "2"), ("raw-bin", b"\0\1"), ("raw-bin", b"\xff")]
    assert (view.get("x-a"), view.get_all("x-a"), view.get("no")) == ("1", ["1", "2"], None)
    assert "x-a" in view
    assert len(view) == 4
    assert "1" not in repr(view), "values may be credentials"


@pytest.mark.parametrize(
    "pair",
    [
        ("Upper", "x"),
        ("", "x"),
        ("a b", "x"),
        ("grpc-status", "0"),
        (":status", "200"),
        ("x", "a\r\nb"),
        ("x", "é"),
        ("x-bin", "text"),
    ],
)
def test_metadata_that_may_not_travel(pair: tuple[str, str | bytes]) -> None:
    with pytest.raises(ValueError):
        encode_metadata([pair])


def test_status_message_round_trip() -> None:
    for text in ("", "plain", "50% é \n\t\0 \U0001f600", "a" * 2048):
        encoded = encode_message(text)
        assert all(0x20 <= byte <= 0x7E for byte in encoded)
        assert decode_message(encoded) == text
    assert encode_message("é %\n") == b"%C3%A9 %25%0A"
    assert len(decode_message(encode_message("a" * 9999))) == 2048


def test_explain_looks_through_groups(caplog: pytest.LogCaptureFixture) -> None:
    error = RpcError(StatusCode.ABORTED, "inner")
    assert explain(ExceptionGroup("g", [ExceptionGroup("h", [error])]), "/a/B") is error
    assert not caplog.records
    both = explain(ExceptionGroup("g", [error, KeyError("secret")]), "/a/B")
    assert (both.code, both.message) == (StatusCode.INTERNAL, "internal error")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"99999999S", 99999999.0),
        (b"5m", 0.005),
        (b"5u", 5e-6),
        (b"5n", 5e-9),
        (b"", None),
        (b"S", None),
        (b"123456789S", None),
        (b"-1S", None),
        (b"1x", None),
        (b"1", None),
    ],
)
def test_timeouts(value: bytes, seconds: float | None) -> None:
    parsed = parse_timeout(value)
    assert parsed == seconds or (parsed and seconds and math.isclose(parsed, seconds))


GOOD = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/B"))


@pytest.mark.parametrize(
    "headers",
    [
        GOOD[1:],
        GOOD[:2],
        (*GOOD, GOOD[0]),
        (*GOOD, (b"X-Upper", b"")),
        (*GOOD, (b"", b"x")),
        ((b"a", b"b"), *GOOD),
        (*GOOD, (b":status", b"200")),
        (*GOOD, (b"connection", b"close")),
        (*GOOD, (b"te", b"gzip")),
        (*GOOD, (b"a", b"b\nc")),
        (*GOOD[:2], (b":path", b"")),
    ],
)
def test_malformed_requests(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    with pytest.raises(MalformedRequest):
        RequestHead(headers)


@pytest.mark.parametrize(
    ("content_type", "is_grpc"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;x=y", True),
        (b"application/grpc-web", False),
        (b"text/html", False),
    ],
)
def test_content_types(content_type: bytes, is_grpc: bool) -> None:
    assert RequestHead((*GOOD, (b"content-type", content_type))).is_grpc is is_grpc


async def test_binding_a_service() -> None:
    class Servicer:
        async def check(self, request: object, ctx: object) -> object:
            return request

    service: Any = health_pb2.DESCRIPTOR.services_by_name["Health"]
    methods = {m.path: m for m in bind_service(service, Servicer(), raw_requests=["Check"])}
    check, watch = methods["/grpc.health.v1.Health/Check"], methods["/grpc.health.v1.Health/Watch"]
    assert (check.kind, watch.kind) == (MethodKind.UNARY_UNARY, MethodKind.UNARY_STREAM)
    assert check.parse(b"raw") == b"raw"
    with pytest.raises(RpcError) as raised:
        await watch.handler(None, None, None)
    assert raised.value.code is StatusCode.UNIMPLEMENTED
    assert "/grpc.health.v1.Health/Watch" in raised.value.message
    with pytest.raises(ValueError, match="Nope"):
        bind_service(service, Servicer(), raw_requests=["Nope"])
    reflection: Any = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
    (info,) = bind_service(reflection, object())
    assert info.kind is MethodKind.STREAM_STREAM


def test_a_path_is_served_once() -> None:
    async def handler(_request: bytes, _ctx: object) -> bytes:
        return b""

    method = Method("/a/B", MethodKind.UNARY_UNARY, handler, bytes, bytes)
    with pytest.raises(ValueError, match="/a/B"):
        Server([method, method])
    with pytest.raises(ValueError, match="no-slash"):
        Method("no-slash", MethodKind.UNARY_UNARY, handler, bytes, bytes)


def test_snake_case() -> None:
    names = ("PlaceOrder", "GetKYCStatus", "StreamBook", "Check", "ListV2Keys")
    assert [snake_case(name) for name in names] == [
        "place_order",
        "get_kyc_status",
        "stream_book",
        "check",
        "list_v2_keys",
    ]


def test_a_parser_names_its_message() -> None:
    parse = message_parser(StringValue)
    assert parse(StringValue(value="x").SerializeToString()) == StringValue(value="x")
    with pytest.raises(RpcError, match=r"google\.protobuf\.StringValue"):
        parse(b"\x0a\xff")


def test_names_of_a_certificate() -> None:
    certificate = {
        "subject": ((("organizationName", "O"),), (("commonName", "cn"),)),
        "subjectAltName": (
            ("email", "a@b"),
            ("IP Address", "10.0.0.1"),
            ("DNS", "d"),
            ("URI", "u"),
        ),
    }
    assert certificate_names(certificate) == ("d", "u", "a@b", "cn")
    assert certificate_names(None) == certificate_names({}) == ()
