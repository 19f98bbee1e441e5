"""Every kind of call, by stock grpcio clients: answers, statuses, metadata, limits."""

from __future__ import annotations

import asyncio  # noqa: TID251 - grpc.aio clients need it
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import aio
from grpc_status import rpc_status

from tests.conformance.clients import (
    DEADLINE_SECONDS,
    counters,
    stream_stream,
    unary,
    unary_stream,
)
from tests.conformance.conftest import CLIENT_COMMON_NAME, CLIENT_NAME, ServerProcess
from tests.conformance.probe_service import PREFIX


def failure(call: Any, *arguments: Any, **options: Any) -> Any:
    """The RpcError a call ends with."""
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, timeout=DEADLINE_SECONDS, **options)
    return raised.value


@pytest.mark.parametrize("size", [0, 1, 16_384, 65_536, 4 * 1024 * 1024])
def test_unary_echo_of_any_size(channel: grpc.Channel, size: int) -> None:
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert unary(channel, "Echo")(message, timeout=DEADLINE_SECONDS) == message


@pytest.mark.parametrize("name", ["EchoStream", "EchoBatches"])
def test_bidirectional_stream_keeps_order(channel: grpc.Channel, name: str) -> None:
    messages = [b"%d" % number for number in range(2000)]
    answers = stream_stream(channel, name)(iter(messages), timeout=DEADLINE_SECONDS)
    assert list(answers) == messages


def test_server_stream(channel: grpc.Channel) -> None:
    sizes = [len(m) for m in unary_stream(channel, "Flood")(b"500 3000")]
    assert sizes == [3000] * 500


def test_server_stream_without_messages(channel: grpc.Channel) -> None:
    assert list(unary_stream(channel, "Flood")(b"0 0")) == []


def test_many_calls_at_once_on_one_connection(channel: grpc.Channel) -> None:
    echo = unary(channel, "Echo")
    futures = [echo.future(b"%d" % number, timeout=DEADLINE_SECONDS) for number in range(300)]
    assert [future.result() for future in futures] == [b"%d" % number for number in range(300)]


def test_many_connections_at_once(server: ServerProcess) -> None:
    def one(number: int) -> bytes:
        with server.channel() as channel:
            answer: bytes = unary(channel, "Echo")(b"%d" % number, timeout=DEADLINE_SECONDS)
            return answer

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(32))) == [b"%d" % number for number in range(32)]


def test_aio_client(server: ServerProcess) -> None:
    async def run() -> tuple[bytes, list[bytes]]:
        if server.certificates is None:
            channel = aio.insecure_channel(f"127.0.0.1:{server.port}")
        else:
            channel = aio.secure_channel(server.address, server.credentials())
        async with channel:
            one = await unary(channel, "Echo")(b"hello", timeout=DEADLINE_SECONDS)
            call = stream_stream(channel, "EchoStream")(timeout=DEADLINE_SECONDS)
            answers = []
            for number in range(50):
                await call.write(b"%d" % number)
                answers.append(await call.read())
            await call.done_writing()
            assert await call.read() is aio.EOF
            return one, answers

    assert asyncio.run(run()) == (b"hello", [b"%d" % number for number in range(50)])


def test_status_with_details_and_trailers(channel: grpc.Channel) -> None:
    error = failure(unary(channel, "Fail"), b"")
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "héllo 100%\n"
    trailers = [(key, value) for key, value in error.trailing_metadata() if key.startswith("x-")]
    assert trailers == [("x-why", "because"), ("x-why-bin", b"\x00\xff")]
    status = rpc_status.from_call(error)
    assert status is not None
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("TEST", "dexrpc.test")


def test_error_raised_in_a_child_task_keeps_its_status(channel: grpc.Channel) -> None:
    error = failure(unary(channel, "FailInNursery"), b"")
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "from a child task")


def test_a_crashing_handler_tells_nothing(channel: grpc.Channel) -> None:
    error = failure(unary(channel, "Crash"), b"")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    assert unary(channel, "Echo")(b"alive") == b"alive"


@pytest.mark.parametrize("path", [PREFIX + "Nope", "/no.Service/Method"])
def test_unknown_method(channel: grpc.Channel, path: str) -> None:
    assert failure(channel.unary_unary(path), b"").code() is grpc.StatusCode.UNIMPLEMENTED


def test_malformed_protobuf_names_the_message(channel: grpc.Channel) -> None:
    typed = unary(channel, "Typed")
    error = failure(typed, b"\x0a\xff\xff")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "google.protobuf.StringValue" in error.details()
    answer = typed(StringValue(value="abc").SerializeToString(), timeout=DEADLINE_SECONDS)
    assert StringValue.FromString(answer).value == "ABC"


def test_oversized_message(channel: grpc.Channel) -> None:
    echo = unary(channel, "Echo")
    error = failure(echo, bytes(4 * 1024 * 1024 + 1))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert echo(b"alive", timeout=DEADLINE_SECONDS) == b"alive"


def test_metadata_both_ways(channel: grpc.Channel) -> None:
    sent = (("x-text", "a value"), ("x-raw-bin", b"\x00\x01\xfe\xff"), ("x-text", "again"))
    answer, call = unary(channel, "Metadata").with_call(
        b"", metadata=sent, timeout=DEADLINE_SECONDS
    )
    assert sorted(json.loads(answer)) == sorted(
        [["x-text", "a value"], ["x-raw-bin", "0001feff"], ["x-text", "again"]]
    )
    for received in (call.initial_metadata(), call.trailing_metadata()):
        ours = [(key, value) for key, value in received if key.startswith("x-")]
        assert sorted(ours, key=repr) == sorted(sent, key=repr)


def test_identity_of_the_peer(server: ServerProcess, channel: grpc.Channel) -> None:
    answer = json.loads(unary(channel, "WhoAmI")(b"", metadata=(("x-identity", "me"),), timeout=9))
    assert answer["identity"] == "me"
    # What is left of 9 s; grpcio turns it into a time of day and back, which may add a little.
    assert 0 < answer["seconds"] < 10
    if server.certificates is None:
        assert (answer["tls"], answer["names"]) == (False, [])
    else:
        assert answer["tls"] is True
        assert answer["names"] == [CLIENT_NAME, "maker@example.org", CLIENT_COMMON_NAME]


def test_no_deadline_is_infinite(channel: grpc.Channel) -> None:
    assert json.loads(unary(channel, "WhoAmI")(b""))["seconds"] is None


def test_interceptor_refuses_before_the_request_is_parsed(channel: grpc.Channel) -> None:
    refuse = (("x-refuse", "1"),)
    error = failure(channel.unary_unary(PREFIX + "Typed"), b"\x0a\xff\xff", metadata=refuse)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert counters(channel)["intercepted"] >= 0


def test_gzip_requests(channel: grpc.Channel) -> None:
    message = b"compress me " * 10_000
    answer = unary(channel, "Echo")(
        message, compression=grpc.Compression.Gzip, timeout=DEADLINE_SECONDS
    )
    assert answer == message


def test_gzip_bomb_is_refused(channel: grpc.Channel) -> None:
    error = failure(unary(channel, "Echo"), bytes(64 << 20), compression=grpc.Compression.Gzip)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_client_certificate_is_demanded(server: ServerProcess) -> None:
    if server.certificates is None:
        pytest.skip("h2c has no certificates")
    credentials = grpc.ssl_channel_credentials(server.certificates.ca.read_bytes())
    with grpc.secure_channel(server.address, credentials) as channel:
        error = failure(unary(channel, "Echo"), b"")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
