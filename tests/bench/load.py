"""An open-loop load on one OrderStream: ``python -m tests.bench.load PLAN``.

Runs in its own process so that it shares nothing with the node but the machine. The
messages are signed and framed beforehand; each has a time at which it is due, and a
latency counts from that time, sent late or not (no coordinated omission). Answers
come in order, so the n-th answer belongs to the n-th message. HTTP/2 is spoken by
hand, just enough for one stream, to leave the cores to the node.

PLAN is a JSON file: address, messages (file of length-prefixed gRPC messages), or parts (names of
such files, which somebody goes on writing while this runs) and count, interval_ns between two
messages, grace_seconds to wait for answers after the last one was due, answers and result (files to
write). With sessions (seed, account and network of each) the messages are payloads: message n
belongs to session n modulo their number, and each session is signed for once a second.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import struct
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from hpack import Encoder

from dex.orders.v1 import order_intake_pb2 as orders_pb
from dexsdk import Key
from dexsdk.order_session import Handshake
from dexsdk.session import Session
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

# Longest wait without looking.
LOOK_NS: Final = 100_000_000
METHOD: Final = "/dex.orders.v1.OrderIntake/OrderStream"
# How long a session of the load goes on without a countersignature.
COUNTERSIGN_NS: Final = 1_000_000_000
# One of each session fits beside an order.
COUNTERSIGNATURE_BYTES_MAX: Final = 4_096


class Connection:
    """One connection with one open stream."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection_window = 65_535
        self.stream_window = 65_535
        self.frame_bytes_max = 16_384
        self.received = bytearray()
        self.data = bytearray()
        self.ended = ""
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", METHOD),
            (":authority", address),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        # SETTINGS_INITIAL_WINDOW_SIZE as large as it goes: answers never wait for us.
        self.socket.sendall(
            PREFACE
            + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, WINDOW_MAX))
            + frame(WINDOW, 0, 0, struct.pack(">I", WINDOW_MAX - 65_535))
            + frame(HEADERS, END_HEADERS, 1, Encoder().encode(headers))
        )
        self.settled = False
        while not self.settled:
            self.read()
        self.socket.setblocking(False)

    def read(self) -> None:
        """Take in what has arrived."""
        try:
            chunk = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        if not chunk:
            self.ended = self.ended or "connection closed"
            return
        self.received += chunk
        position = 0
        received = self.received
        while len(received) - position >= 9:
            high, low, kind, flags, stream_id = struct.unpack_from(">BHBBI", received, position)
            end = position + 9 + (high << 16 | low)
            if len(received) < end:
                break
            self._handle(kind, flags, stream_id, bytes(received[position + 9 : end]))
            position = end
        del received[:position]

    def _handle(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == DATA:
            self.data += payload
        elif kind == WINDOW:
            (credit,) = struct.unpack(">I", payload)
            if stream_id:
                self.stream_window += credit
            else:
                self.connection_window += credit
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                key, value = struct.unpack_from(">HI", payload, at)
                if key == 4:
                    self.stream_window += value - 65_535
                elif key == 5:
                    self.frame_bytes_max = value
            self.socket.sendall(frame(SETTINGS, ACK, 0))
            self.settled = True
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, payload))
        elif kind in (RST, GOAWAY):
            self.ended = f"frame type {kind}: {payload!r}"
        elif kind == HEADERS and flags & END_STREAM:
            self.ended = "trailers"


def read_messages(path: Path) -> list[bytes]:
    """Length-prefixed messages of a file."""
    data = path.read_bytes()
    messages = []
    position = 0
    while position < len(data):
        (size,) = struct.unpack_from("<I", data, position)
        messages.append(data[position + 4 : position + 4 + size])
        position += 4 + size
    return messages


def follow_messages(paths: Iterable[Path]) -> Iterator[bytes]:
    """Length-prefixed messages of files that are there, whole, by the time they are needed.

    Each is removed once it is read. Raises FileNotFoundError where the writer is too slow.
    """
    for path in paths:
        with path.open("rb") as file:
            while head := file.read(4):
                yield file.read(struct.unpack("<I", head)[0])
        path.unlink()


def _data_frame(message: bytes) -> bytes:
    return frame(DATA, 0, 1, b"\0" + struct.pack(">I", len(message)) + message)


class Sessions:
    """One session for each account, open on the connection's stream."""

    def __init__(self, connection: Connection, rows: list[list[str]]) -> None:
        self._clients = [
            Session(network_id, Key(bytes.fromhex(seed)), account_id)
            for seed, account_id, network_id in rows
        ]
        handshakes = [Handshake(client) for client in self._clients]
        for handshake in handshakes:
            request = orders_pb.OrderStreamRequest(envelope=handshake.opening.envelope)
            connection.socket.sendall(_data_frame(request.SerializeToString()))
        answers: list[bytes] = []
        while len(answers) < len(rows) and not connection.ended:
            select.select([connection.socket], [], [])
            connection.read()
            answers += take_answers(connection.data)
        # How many orders each has signed for, and when the next signature is due.
        self._signed = [0] * len(rows)
        self._due_ns = [0] * len(rows)
        # The running hash after each order, of the session it is in.
        self._hashes: list[bytes] = []
        self._sessions = []
        for handshake, answer in zip(handshakes, answers, strict=True):
            opened = orders_pb.OrderStreamResponse.FromString(answer).session_opened
            self._sessions.append(handshake.finish(opened, None))

    def frames(self, payloads: list[bytes]) -> list[bytes]:
        """The orders to send, with their MACs."""
        frames = []
        for number, payload in enumerate(payloads):
            session = self._sessions[number % len(self._sessions)]
            request = orders_pb.OrderStreamRequest(session_order=session.order(payload, 0))
            frames.append(_data_frame(request.SerializeToString()))
            self._hashes.append(session.running_hash)
        return frames

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._sessions)

    def countersignature(self, turn: int, queued: int, now_ns: int) -> bytes:
        """What the session of this turn sends to sign for its orders, when so many are sent in all;
        empty when it did less than a second ago, or has signed for all of them."""
        orders = -(-(queued - turn) // self.count)
        if orders <= self._signed[turn] or now_ns < self._due_ns[turn]:
            return b""
        self._signed[turn], self._due_ns[turn] = orders, now_ns + COUNTERSIGN_NS
        client = self._clients[turn]
        payload = client.payload()
        said = payload.session_countersignature
        said.session_id, said.order_number = self._sessions[turn].id, orders
        said.running_hash = self._hashes[turn + (orders - 1) * self.count]
        request = orders_pb.OrderStreamRequest(envelope=client.sign(payload).envelope)
        return _data_frame(request.SerializeToString())


class OpenLoop:
    """Messages with the times at which they are due, on their way through one connection."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._frames: Iterator[bytes]
        self._sessions: Sessions | None = None
        self._connection = Connection(plan["address"])
        self._interval_ns: int = plan["interval_ns"]
        if "parts" in plan:
            self._count: int = plan["count"]
            self._frames = map(_data_frame, follow_messages(map(Path, plan["parts"])))
        else:
            given = read_messages(Path(plan["messages"]))
            self._count = len(given)
            if "sessions" in plan:
                self._sessions = Sessions(self._connection, plan["sessions"])
                self._frames = iter(self._sessions.frames(given))
            else:
                self._frames = iter([_data_frame(message) for message in given])
        self._next = next(self._frames, b"")
        self._grace_ns = int(plan["grace_seconds"] * 1e9)
        self._start_ns = 0
        self._queued = 0
        # Of each request whose answer is to come, whether it is an order.
        self._unanswered: deque[bool] = deque()
        self._outgoing = bytearray()
        self.answers: list[bytes] = []
        self.latencies_ns = array("q")
        self.late_ns = array("q")

    def run(self) -> dict[str, Any]:
        """Send everything, wait for the answers, and say what was measured."""
        # A collection among that many objects would stop the clockwork for too long.
        gc.disable()
        connection, count = self._connection, self._count
        cpu_start = time.process_time()
        self._start_ns = time.perf_counter_ns() + 50_000_000
        deadline_ns = self._start_ns + self._interval_ns * count + self._grace_ns
        while len(self.answers) < count and not connection.ended:
            now_ns = time.perf_counter_ns()
            if now_ns > deadline_ns:
                break
            due_ns = self._queue_due(now_ns)
            self._send()
            wait = max(0, due_ns - time.perf_counter_ns()) / 1e9
            writing = [connection.socket] if self._outgoing else []
            select.select([connection.socket], writing, [], wait)
            connection.read()
            self._take_answers()
        return {
            "latencies_ns": self.latencies_ns.tolist(),
            "sent": self._queued,
            "answered": len(self.answers),
            "elapsed_ns": time.perf_counter_ns() - self._start_ns,
            "ended": connection.ended,
            "client_cpu_seconds": time.process_time() - cpu_start,
            "late_ns": self.late_ns.tolist(),
        }

    def _queue_due(self, now_ns: int) -> int:
        """Queue what is due and fits the windows; returns when to look again."""
        connection = self._connection
        while self._queued < self._count:
            due_ns = self._start_ns + self._queued * self._interval_ns
            if due_ns > now_ns:
                return min(due_ns, now_ns + LOOK_NS)
            data = self._next
            room = min(connection.stream_window, connection.connection_window)
            if len(data) + COUNTERSIGNATURE_BYTES_MAX > room:
                # Only the node can end this wait; looking again at once would take its core.
                break
            if self._sessions is not None:
                self._countersign(self._sessions, self._queued % self._sessions.count, now_ns)
            self.late_ns.append(now_ns - due_ns)
            self._put(data, is_order=True)
            self._queued += 1
            self._next = next(self._frames, b"")
        if self._sessions is not None and self._queued == self._count:
            for turn in range(self._sessions.count):
                self._countersign(self._sessions, turn, now_ns)
        return now_ns + LOOK_NS

    def _countersign(self, sessions: Sessions, turn: int, now_ns: int) -> None:
        data = sessions.countersignature(turn, self._queued, now_ns)
        if data:
            self._put(data, is_order=False)

    def _put(self, data: bytes, *, is_order: bool) -> None:
        self._connection.stream_window -= len(data) - 9
        self._connection.connection_window -= len(data) - 9
        self._outgoing += data
        self._unanswered.append(is_order)

    def _send(self) -> None:
        if self._outgoing:
            try:
                del self._outgoing[: self._connection.socket.send(self._outgoing)]
            except BlockingIOError:
                pass

    def _take_answers(self) -> None:
        """The n-th answer belongs to the n-th request."""
        if self._connection.data:
            now_ns = time.perf_counter_ns()
            for answer in take_answers(self._connection.data):
                if not self._unanswered.popleft():
                    continue
                due_ns = self._start_ns + len(self.answers) * self._interval_ns
                self.latencies_ns.append(now_ns - due_ns)
                self.answers.append(answer)


def take_answers(data: bytearray) -> list[bytes]:
    """Whole gRPC messages at the front of the buffer, taken out of it."""
    answers = []
    position = 0
    while len(data) - position >= 5:
        (size,) = struct.unpack_from(">I", data, position + 1)
        if len(data) - position - 5 < size:
            break
        answers.append(bytes(data[position + 5 : position + 5 + size]))
        position += 5 + size
    del data[:position]
    return answers


def main() -> None:
    """Run the plan named on the command line."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    load = OpenLoop(plan)
    result = load.run()
    with Path(plan["answers"]).open("wb") as file:
        file.writelines(struct.pack("<I", len(answer)) + answer for answer in load.answers)
    Path(plan["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
