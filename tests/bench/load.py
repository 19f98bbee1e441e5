"""An open-loop load on one OrderStream: ``python -m tests.bench.load PLAN``.

Runs in its own process so that it shares nothing with the node but the machine. The
messages are signed and framed beforehand; each has a time at which it is due, and a
latency counts from that time, sent late or not (no coordinated omission). Answers
come in order, so the n-th answer belongs to the n-th message. HTTP/2 is spoken by
hand, just enough for one stream, to leave the cores to the node.

PLAN is a JSON file: address, messages (file of length-prefixed gRPC messages),
interval_ns between two messages, grace_seconds to wait for answers after the last
one was due, answers and result (files to write).
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
from pathlib import Path
from typing import Any, Final

from hpack import Encoder

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
WINDOW_MAX: Final = 2**31 - 1
METHOD: Final = "/dex.orders.v1.OrderIntake/OrderStream"


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame."""
    size = len(payload)
    return struct.pack(">BHBBI", size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


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


def run(plan: dict[str, Any]) -> dict[str, Any]:
    """Send the plan's messages and measure."""
    frames = [
        frame(DATA, 0, 1, b"\0" + struct.pack(">I", len(message)) + message)
        for message in read_messages(Path(plan["messages"]))
    ]
    connection = Connection(plan["address"])
    interval_ns: int = plan["interval_ns"]
    # A collection among that many objects would stop the clockwork for too long.
    gc.disable()
    latencies = array("q", bytes(8 * len(frames)))
    answers: list[bytes] = []
    late_ns = array("q")
    start_ns = time.perf_counter_ns() + 50_000_000
    cpu_start = time.process_time()
    sent = queued = answered = 0
    outgoing = bytearray()
    deadline_ns = start_ns + interval_ns * len(frames) + int(plan["grace_seconds"] * 1e9)
    while answered < len(frames) and not connection.ended:
        now_ns = time.perf_counter_ns()
        if now_ns > deadline_ns:
            break
        while queued < len(frames) and start_ns + queued * interval_ns <= now_ns:
            size = len(frames[queued])
            if size > min(connection.stream_window, connection.connection_window):
                break
            connection.stream_window -= size - 9
            connection.connection_window -= size - 9
            late_ns.append(now_ns - start_ns - queued * interval_ns)
            outgoing += frames[queued]
            queued += 1
        if outgoing:
            try:
                done = connection.socket.send(outgoing)
                sent += done
                del outgoing[:done]
            except BlockingIOError:
                pass
        due_ns = start_ns + queued * interval_ns if queued < len(frames) else now_ns + 10**8
        wait = max(0, due_ns - time.perf_counter_ns()) / 1e9
        select.select(
            [connection.socket], [connection.socket] if outgoing else [], [], min(wait, 0.1)
        )
        connection.read()
        if connection.data:
            now_ns = time.perf_counter_ns()
            for answer in take_answers(connection.data):
                latencies[answered] = now_ns - start_ns - answered * interval_ns
                answers.append(answer)
                answered += 1
    elapsed_ns = time.perf_counter_ns() - start_ns
    return {
        "latencies_ns": latencies[:answered].tolist(),
        "answers": answers,
        "sent": queued,
        "answered": answered,
        "elapsed_ns": elapsed_ns,
        "ended": connection.ended,
        "client_cpu_seconds": time.process_time() - cpu_start,
        "late_ns": late_ns.tolist(),
    }


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
    result = run(plan)
    answers = result.pop("answers")
    with Path(plan["answers"]).open("wb") as file:
        file.writelines(struct.pack("<I", len(answer)) + answer for answer in answers)
    Path(plan["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
