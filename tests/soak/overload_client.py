"""Unary calls spoken by hand over HTTP/2: signed and framed beforehand, so that the load is cheap.

Nothing here is the product's: a refusal is read off the wire as any client would read it.
"""

from __future__ import annotations

import base64
import select
import socket
import struct
import time
from array import array
from collections.abc import Iterator, Sequence
from typing import Final, final

import hpack
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tests.support.http2_frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST,
    SETTINGS,
    WINDOW,
    WINDOW_MAX,
    frame,
)

SUBMIT_BATCH: Final = "/dex.orders.v1.OrderIntake/SubmitBatch"
RESOURCE_EXHAUSTED: Final = 8
CLOSED_FILL_SECONDS: Final = 0.5


def header_block(path: str) -> bytes:
    """A request's header block that leaves the dynamic table alone."""
    pairs = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "soak"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    )
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*pair) for pair in pairs])


def hello(initial_window: int = WINDOW_MAX) -> bytes:
    """Preface, SETTINGS and a connection window as large as it goes."""
    return (
        PREFACE
        + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, initial_window))
        + frame(WINDOW, 0, 0, struct.pack(">I", WINDOW_MAX - 65_535))
    )


@final
class Tally:
    """What became of calls."""

    def __init__(self) -> None:
        self.sent = self.ok = self.refused = self.other = 0
        self.without_retry_info = 0
        self.latencies_ns = array("q")
        self.examples: list[str] = []


@final
class UnaryClient:
    """One connection and its calls."""

    def __init__(self, address: str, tally: Tally) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(hello())
        self.socket.setblocking(False)
        self.started: dict[int, int] = {}
        self.tally = tally
        self._next_id = 1
        self._head = header_block(SUBMIT_BATCH)
        self._incoming = bytearray()
        self.outgoing = bytearray()
        self._decoder = hpack.Decoder()
        self._has_retry: dict[bytes, tuple[int, bool]] = {}

    def call(self, body: bytes, now_ns: int) -> None:
        """Queue one call."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self.started[stream_id] = now_ns
        message = b"\0" + struct.pack(">I", len(body)) + body
        self.outgoing += frame(HEADERS, END_HEADERS, stream_id, self._head)
        self.outgoing += frame(DATA, END_STREAM, stream_id, message)
        self.tally.sent += 1

    def flush(self) -> None:
        """Send what the socket takes."""
        if self.outgoing:
            try:
                del self.outgoing[: self.socket.send(self.outgoing)]
            except BlockingIOError:
                pass

    def read(self) -> None:
        """Take in what has arrived."""
        try:
            chunk = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        if not chunk:
            raise AssertionError("the node closed an honest connection")
        now_ns = time.perf_counter_ns()
        incoming = self._incoming
        incoming += chunk
        at = 0
        while len(incoming) - at >= 9:
            high, low, kind, flags, stream_id = struct.unpack_from(">BHBBI", incoming, at)
            end = at + 9 + (high << 16 | low)
            if len(incoming) < end:
                break
            if kind == HEADERS and flags & END_STREAM:
                self._ended(stream_id, bytes(incoming[at + 9 : end]), now_ns)
            elif kind == RST and stream_id in self.started:
                del self.started[stream_id]
                self.tally.other += 1
                self.tally.examples.append(f"reset {bytes(incoming[at + 9 : end]).hex()}")
            elif kind == SETTINGS and not flags & ACK:
                self.outgoing += frame(SETTINGS, ACK, 0)
            elif kind == PING and not flags & ACK:
                self.outgoing += frame(PING, ACK, 0, bytes(incoming[at + 9 : end]))
            elif kind == GOAWAY:
                raise AssertionError(f"GOAWAY {bytes(incoming[at + 13 : end])!r}")
            at = end
        del incoming[:at]

    def _ended(self, stream_id: int, block: bytes, now_ns: int) -> None:
        started_ns = self.started.pop(stream_id, None)
        if started_ns is None:
            return
        tally = self.tally
        code, has_retry = self._status(block)
        if code == 0:
            tally.ok += 1
            tally.latencies_ns.append(now_ns - started_ns)
        elif code == RESOURCE_EXHAUSTED:
            tally.refused += 1
            tally.without_retry_info += not has_retry
        else:
            tally.other += 1
            tally.examples.append(f"status {code}")

    def _status(self, block: bytes) -> tuple[int, bool]:
        """grpc-status of trailers, and whether RetryInfo is in them; equal blocks are read once."""
        # The bulk of a block that says what is left of a budget differs; its status does not.
        found = self._has_retry.get(block)
        if found is None:
            fields = dict(self._decoder.decode(block, raw=True))
            details = fields.get(b"grpc-status-details-bin", b"")
            found = int(fields[b"grpc-status"]), details != b"" and _has_retry_info(details)
            if len(self._has_retry) < 4096:
                self._has_retry[block] = found
        return found


def _has_retry_info(value: bytes) -> bool:
    status = Status.FromString(base64.b64decode(value + b"=" * (-len(value) % 4)))
    retry = RetryInfo()
    details: Sequence[Any] = status.details
    return any(detail.Unpack(retry) and retry.retry_delay.ToNanoseconds() > 0 for detail in details)


def closed_loop(
    clients: Sequence[UnaryClient], bodies: Iterator[bytes], in_flight: int, seconds: float
) -> float:
    """Keep so many calls in flight on each connection; returns how many were taken a second, after
    a while in which the first of them have come back."""
    _keep_in_flight(clients, bodies, in_flight, CLOSED_FILL_SECONDS)
    ok = clients[0].tally.ok
    took = _keep_in_flight(clients, bodies, in_flight, seconds)
    # What was answered meanwhile, not what is caught up with afterwards.
    rate = (clients[0].tally.ok - ok) / took
    settle(clients)
    return rate


def _keep_in_flight(
    clients: Sequence[UnaryClient], bodies: Iterator[bytes], in_flight: int, seconds: float
) -> float:
    start_ns = now_ns = time.perf_counter_ns()
    end_ns = start_ns + round(seconds * 1e9)
    while now_ns < end_ns:
        for client in clients:
            while len(client.started) < in_flight:
                client.call(next(bodies), now_ns)
            client.flush()
        _turn(clients, 0.05)
        now_ns = time.perf_counter_ns()
    return (now_ns - start_ns) / 1e9


def open_loop(
    clients: Sequence[UnaryClient], bodies: Iterator[bytes], rate: float, seconds: float
) -> float:
    """Send at a rate whatever comes back; returns the seconds it took to send."""
    start_ns = time.perf_counter_ns()
    count, interval_ns = int(rate * seconds), 1e9 / rate
    number = 0
    while number < count:
        now_ns = time.perf_counter_ns()
        due = min(count, int((now_ns - start_ns) / interval_ns) + 1)
        while number < due:
            # A latency counts from when the call was due, sent late or not.
            clients[number % len(clients)].call(
                next(bodies), start_ns + round(number * interval_ns)
            )
            number += 1
        _turn(clients, interval_ns / 1e9)
    took_ns = time.perf_counter_ns() - start_ns
    return took_ns / 1e9


def settle(clients: Sequence[UnaryClient], seconds: float = 30.0) -> None:
    """Wait for what is in flight."""
    end = time.monotonic() + seconds
    while any(client.started for client in clients) and time.monotonic() < end:
        _turn(clients, 0.05)
    left = sum(len(client.started) for client in clients)
    assert not left, f"{left} calls were never answered"


def _turn(clients: Sequence[UnaryClient], wait_seconds: float) -> None:
    by_socket = {client.socket: client for client in clients}
    for client in clients:
        client.flush()
    writing = [client.socket for client in clients if client.outgoing]
    readable, _, _ = select.select(list(by_socket), writing, [], wait_seconds)
    for ready in readable:
        by_socket[ready].read()
