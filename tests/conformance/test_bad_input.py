"""Peers that break the rules: their connection ends cleanly, everyone else's goes on."""

from __future__ import annotations

import random
import socket
import ssl
import struct
from collections.abc import Callable, Iterator

import grpc
import hpack
import pytest

from tests.conformance import raw
from tests.conformance.clients import DEADLINE_SECONDS, counters, eventually, unary
from tests.conformance.conftest import ServerProcess
from tests.conformance.probe_service import PREFIX
from tests.conformance.raw import RawClient, frame, message, request_block

ECHO = PREFIX + "Echo"


@pytest.fixture(autouse=True)
def lives_on(own_server: ServerProcess, own_tls_server: ServerProcess) -> Iterator[None]:
    """A connection opened before the abuse must still work after it, and so must a new one."""
    servers = (own_server, own_tls_server)
    channels = [server.channel() for server in servers]
    for channel in channels:
        assert unary(channel, "Echo")(b"before", timeout=DEADLINE_SECONDS) == b"before"
    yield
    for server, channel in zip(servers, channels, strict=True):
        assert unary(channel, "Echo")(b"after", timeout=DEADLINE_SECONDS) == b"after"
        channel.close()
        with server.channel() as fresh:
            assert unary(fresh, "Echo")(b"fresh", timeout=DEADLINE_SECONDS) == b"fresh"


def read_to_end(connection: socket.socket) -> bytes:
    """All bytes until the server closes."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except (ConnectionResetError, ssl.SSLError):
        pass
    return received


@pytest.mark.parametrize(
    "hello",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        raw.PREFACE[:-1] + b"X",
        bytes(1000),
    ],
    ids=["http1", "tls", "ssh", "preface", "zeros"],
)
def test_not_http2(own_server: ServerProcess, own_tls_server: ServerProcess, hello: bytes) -> None:
    for server in (own_server, own_tls_server):
        with RawClient(server.port, hello) as client:
            client.socket.shutdown(socket.SHUT_WR)
            read_to_end(client.socket)


def test_plaintext_http2_to_the_tls_port(own_tls_server: ServerProcess) -> None:
    with RawClient(own_tls_server.port) as client:
        read_to_end(client.socket)


def test_tls_without_h2(own_tls_server: ServerProcess) -> None:
    certificates = own_tls_server.certificates
    assert certificates is not None
    context = ssl.create_default_context(cafile=str(certificates.ca))
    context.load_cert_chain(certificates.client, certificates.client_key)
    context.set_alpn_protocols(["http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", own_tls_server.port), 15) as plain,
        pytest.raises((ssl.SSLError, ConnectionResetError, AssertionError)),
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.recv(1) != b"", "the server closed"


@pytest.mark.parametrize("tls", [False, True])
def test_silence_is_ended(
    own_server: ServerProcess, own_tls_server: ServerProcess, tls: bool
) -> None:
    """The server under test allows 3 s for the handshake."""
    port = (own_tls_server if tls else own_server).port
    with socket.create_connection(("127.0.0.1", port), 15) as connection:
        read_to_end(connection)


def test_random_frames(own_server: ServerProcess) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}; replay: random.Random({seed})")
    source = random.Random(seed)
    for _ in range(60):
        junk = b"".join(
            frame(
                source.randrange(12),
                source.randrange(256),
                source.choice((0, 1, 2, 3, 5)),
                source.randbytes(source.choice((0, 1, 4, 5, 6, 8, 20, 300))),
            )
            for _ in range(source.randrange(1, 20))
        )
        with RawClient(own_server.port) as client:
            client.send(junk + source.randbytes(source.randrange(40)))
            client.socket.shutdown(socket.SHUT_WR)
            read_to_end(client.socket)


def test_oversized_frame(own_server: ServerProcess) -> None:
    with RawClient(own_server.port) as client:
        client.send(struct.pack(">I", 1 << 20)[1:] + struct.pack(">BBI", raw.DATA, 0, 1))
        client.send(bytes(1 << 20))
        assert client.goaway_code() in (6, None)


def test_message_length_over_the_limit_is_refused_at_once(own_server: ServerProcess) -> None:
    with RawClient(own_server.port) as client:
        client.send(frame(raw.HEADERS, raw.END_HEADERS, 1, request_block(ECHO)))
        client.send(frame(raw.DATA, 0, 1, b"\0\xff\xff\xff\xff"))
        assert client.headers(1)["grpc-status"] == "8"


def test_request_that_ends_inside_a_message(own_server: ServerProcess) -> None:
    with RawClient(own_server.port) as client:
        client.send(frame(raw.HEADERS, raw.END_HEADERS, 1, request_block(ECHO)))
        client.send(frame(raw.DATA, raw.END_STREAM, 1, message(b"whole")[:-1]))
        assert client.headers(1)["grpc-status"] == "13"


def test_compressed_flag_without_encoding(own_server: ServerProcess) -> None:
    with RawClient(own_server.port) as client:
        client.send(frame(raw.HEADERS, raw.END_HEADERS, 1, request_block(ECHO)))
        client.send(frame(raw.DATA, raw.END_STREAM, 1, b"\1" + message(b"x")[1:]))
        assert client.headers(1)["grpc-status"] == "13"


def test_unknown_encoding(own_server: ServerProcess) -> None:
    with RawClient(own_server.port) as client:
        block = request_block(ECHO, ("grpc-encoding", "snappy"))
        client.send(frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, 1, block))
        headers = client.headers(1)
        assert headers["grpc-status"] == "12"
        assert headers["grpc-accept-encoding"] == "identity,gzip"


def test_no_request_message(own_server: ServerProcess) -> None:
    with RawClient(own_server.port) as client:
        flags = raw.END_HEADERS | raw.END_STREAM
        client.send(frame(raw.HEADERS, flags, 1, request_block(ECHO)))
        assert client.headers(1)["grpc-status"] == "12"


@pytest.mark.parametrize(
    ("extra", "method", "status"),
    [((), "GET", "405"), ((("content-type", "text/html"),), "POST", "415")],
)
def test_not_grpc(
    own_server: ServerProcess, extra: tuple[tuple[str, str], ...], method: str, status: str
) -> None:
    headers = [(":method", method), (":scheme", "http"), (":path", "/"), *extra]
    with RawClient(own_server.port) as client:
        block = hpack.Encoder().encode(headers)
        client.send(frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, 1, block))
        assert client.headers(1)[":status"] == status


@pytest.mark.parametrize("timeout", ["", "5", "S", "123456789S", "-1S", "1x"])
def test_malformed_timeout(own_server: ServerProcess, timeout: str) -> None:
    with RawClient(own_server.port) as client:
        block = request_block(ECHO, ("grpc-timeout", timeout))
        client.send(frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, 1, block))
        assert client.headers(1)["grpc-status"] == "3"


def test_too_much_metadata_ends_the_call(own_server: ServerProcess) -> None:
    with RawClient(own_server.port) as client:
        block = request_block(ECHO, ("x-long", "y" * 16_384))
        client.send(frame(raw.HEADERS, 0, 1, block[:16_000]))
        client.send(
            frame(raw.CONTINUATION, raw.END_HEADERS, 1, block[16_000:])
            + frame(raw.DATA, raw.END_STREAM, 1, message(b""))
        )
        assert client.headers(1)["grpc-status"] == "8"


def test_header_bomb(own_server: ServerProcess) -> None:
    """One table entry, referred to again and again."""
    encoder = hpack.Encoder()
    bomb = encoder.encode([("x-bomb", "y" * 4000)])
    bomb += encoder.encode([("x-bomb", "y" * 4000)]) * 10_000
    with RawClient(own_server.port) as client:
        client.send(frame(raw.HEADERS, raw.END_HEADERS, 1, bomb))
        assert client.goaway_code() == raw.ENHANCE_YOUR_CALM


def test_continuation_flood(own_server: ServerProcess) -> None:
    with RawClient(own_server.port) as client:
        client.send(frame(raw.HEADERS, 0, 1, request_block(ECHO)))
        for _ in range(2000):
            client.send(frame(raw.CONTINUATION, 0, 1))
        assert client.goaway_code() in (raw.ENHANCE_YOUR_CALM, raw.PROTOCOL_ERROR)


def rapid_reset() -> bytes:
    block = request_block(PREFIX + "Hang")
    return b"".join(
        frame(raw.HEADERS, raw.END_HEADERS, number, block)
        + frame(raw.RST_STREAM, 0, number, struct.pack(">I", 8))
        for number in range(1, 6001, 2)
    )


def settings_flood() -> bytes:
    return frame(raw.SETTINGS, 0, 0) * 1000


def ping_flood() -> bytes:
    return frame(raw.PING, 0, 0, bytes(8)) * 30_000


def empty_data_flood() -> bytes:
    opening = frame(raw.HEADERS, raw.END_HEADERS, 1, request_block(PREFIX + "CollectLater"))
    return opening + frame(raw.DATA, 0, 1) * 30_000


@pytest.mark.parametrize("flood", [rapid_reset, settings_flood, ping_flood, empty_data_flood])
def test_floods(own_server: ServerProcess, flood: Callable[[], bytes]) -> None:
    with RawClient(own_server.port) as client:
        client.socket.setblocking(True)
        client.socket.settimeout(raw.TIMEOUT_SECONDS)
        data = flood()
        for start in range(0, len(data), 65536):
            client.send(data[start : start + 65536])
        assert client.goaway_code() == raw.ENHANCE_YOUR_CALM


def test_one_stream_too_many_is_refused(own_server: ServerProcess) -> None:
    block = request_block(PREFIX + "Hang")
    with own_server.channel() as channel, RawClient(own_server.port) as client:
        ended = counters(channel).get("hang_ended", 0)
        started = counters(channel).get("hang_started", 0)
        for number in range(1001):
            client.send(
                frame(raw.HEADERS, raw.END_HEADERS, 2 * number + 1, block)
                + frame(raw.DATA, raw.END_STREAM, 2 * number + 1, message(b""))
            )
        refused = client.wait_for(raw.RST_STREAM, 2001)
        assert int.from_bytes(refused, "big") == raw.REFUSED_STREAM
        eventually(
            lambda: counters(channel).get("hang_started", 0) - started == 1000, "1000 calls run"
        )
        client.socket.close()
        eventually(
            lambda: counters(channel).get("hang_ended", 0) - ended == 1000, "all were cancelled"
        )


def test_answers_nobody_reads_are_bounded(own_server: ServerProcess) -> None:
    """A peer that asks (PING) and never reads the answers is not read any more, then cut off."""
    with RawClient(own_server.port) as client:
        client.socket.settimeout(0.5)
        sent = 0
        ping = frame(raw.PING, 0, 0, bytes(8)) * 500
        try:
            for _ in range(20_000):
                client.socket.sendall(ping)
                sent += len(ping)
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
        assert sent < 20_000 * len(ping)


def test_handlers_see_no_forged_lines(own_server: ServerProcess) -> None:
    with RawClient(own_server.port) as client:
        block = hpack.Encoder().encode(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", ECHO),
                ("content-type", "application/grpc"),
                ("x-a", "1\r\nx-b: 2"),
            ]
        )
        client.send(frame(raw.HEADERS, raw.END_HEADERS, 1, block))
        code = int.from_bytes(client.wait_for(raw.RST_STREAM, 1), "big")
        assert code == raw.PROTOCOL_ERROR


def test_grpc_clients_see_unavailable_not_hangs(own_tls_server: ServerProcess) -> None:
    """A plaintext client on the TLS port."""
    with (
        grpc.insecure_channel(f"127.0.0.1:{own_tls_server.port}") as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        unary(channel, "Echo")(b"", timeout=DEADLINE_SECONDS)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
