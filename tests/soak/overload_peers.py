"""Peers of the overload in processes of their own: `python -m tests.soak.overload_peers PLAN`.

A plan has a `role`: `flood` opens connections that break the rules, over and over; `come` opens
connections for one call each; `read` follows a market's trades on many connections, one of which
may stall. `source` is the address that the peer comes from.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from typing import Any, Final

from dex.matching.v1 import matching_pb2
from tests.soak.overload_client import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST,
    SUBMIT_BATCH,
    frame,
    header_block,
    hello,
)

STREAM_TRADES: Final = "/dex.matching.v1.Matching/StreamTrades"
ENHANCE_YOUR_CALM: Final = 0xB
CHECK: Final = "/grpc.health.v1.Health/Check"
STALLED_WINDOW: Final = 2_000
CUT_SECONDS_MAX: Final = 15.0
# A flooder that hears nothing for so long comes again.
PATIENCE_SECONDS: Final = 1.0
COME_EVERY_SECONDS: Final = 0.2
COME_SECONDS_MAX: Final = 2.0


def connect(address: str, source: str = "", seconds: float = 10.0) -> socket.socket:
    """A blocking connection, with so much patience for each thing it waits for."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), seconds, (source, 0) if source else None)


def rapid_reset() -> bytes:
    """Three thousand calls, none waited for."""
    block = header_block(SUBMIT_BATCH)
    cancel = struct.pack(">I", 8)
    return b"".join(
        frame(HEADERS, END_HEADERS, number, block) + frame(RST, 0, number, cancel)
        for number in range(1, 6_001, 2)
    )


def header_flood() -> bytes:
    """A header block without end."""
    return frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1, b"\x84") * 100


def flood(plan: dict[str, Any]) -> dict[str, int]:
    """Flood until the time is up, without a pause; how the connections ended."""
    kinds = {"rapid_reset": rapid_reset(), "header_flood": header_flood()}
    counts = dict.fromkeys((f"{kind} {end}" for kind in kinds for end in ("calmed", "other")), 0)
    counts |= {"turned away": 0, "left unread": 0}
    end = time.monotonic() + plan["seconds"]
    while time.monotonic() < end:
        for kind, data in kinds.items():
            ended = _flood_once(plan["address"], plan["source"], hello() + data)
            counts[ended if ended in counts else f"{kind} {ended}"] += 1
    return counts


def _flood_once(address: str, source: str, data: bytes) -> str:
    """What became of it: `calmed`, `other`, or of one to which the node never said a word
    `turned away` or `left unread`."""
    code, received, is_over = None, b"", True
    try:
        with connect(address, source, PATIENCE_SECONDS) as connection:
            try:
                connection.sendall(data)
            except ConnectionError:
                pass
            while chunk := connection.recv(65_536):
                received += chunk
                connection.settimeout(10.0)  # it is served: how it ends is of interest
    except TimeoutError:
        is_over = False
    except OSError:
        pass
    for kind, _, payload in _frames(bytearray(received)):
        if kind == GOAWAY:
            code = int.from_bytes(payload[4:8], "big")
    if not received:
        return "turned away" if is_over else "left unread"
    return "calmed" if code == ENHANCE_YOUR_CALM else "other"


def come(plan: dict[str, Any]) -> dict[str, Any]:
    """A new client every now and then: how long its first answer took, and how many got none."""
    ask = hello() + frame(HEADERS, END_HEADERS, 1, header_block(CHECK))
    ask += frame(DATA, END_STREAM, 1, bytes(5))
    latencies_ns: list[int] = []
    unserved = 0
    end = time.monotonic() + plan["seconds"]
    while True:
        start_ns = time.perf_counter_ns()
        if _is_answered(plan["address"], plan["source"], ask):
            latencies_ns.append(time.perf_counter_ns() - start_ns)
        else:
            unserved += 1
        if time.monotonic() > end:
            return {"latencies_ns": latencies_ns, "unserved": unserved}
        time.sleep(COME_EVERY_SECONDS)


def _is_answered(address: str, source: str, ask: bytes) -> bool:
    received = bytearray()
    try:
        with connect(address, source, COME_SECONDS_MAX) as connection:
            connection.sendall(ask)
            while chunk := connection.recv(65_536):
                received += chunk
                if any(
                    kind == HEADERS and flags & END_STREAM for kind, flags, _ in _frames(received)
                ):
                    return True
    except OSError:
        pass
    return False


def _frames(data: bytearray) -> list[tuple[int, int, bytes]]:
    """(kind, flags, payload) of the whole frames at the front, taken out of the buffer."""
    found, at = [], 0
    while len(data) - at >= 9:
        high, low, kind, flags, _ = struct.unpack_from(">BHBBI", data, at)
        end = at + 9 + (high << 16 | low)
        if len(data) < end:
            break
        found.append((kind, flags, bytes(data[at + 9 : end])))
        at = end
    del data[:at]
    return found


class Reader:
    """One subscriber of a market's trades."""

    def __init__(self, address: str, market_id: str, start: int, *, stalled: bool = False) -> None:
        self.socket = connect(address)
        request = matching_pb2.StreamTradesRequest(market_id=market_id, start_sequence=start)
        body = request.SerializeToString()
        message = b"\0" + struct.pack(">I", len(body)) + body
        window = hello(STALLED_WINDOW) if stalled else hello()
        self.socket.sendall(
            window
            + frame(HEADERS, END_HEADERS, 1, header_block(STREAM_TRADES))
            + frame(DATA, END_STREAM, 1, message)
        )
        self._incoming = bytearray()
        self._messages = bytearray()
        self.sequences: list[int] = []
        self.latencies_ns: list[int] = []
        self.ended_at: float | None = None
        self.last_data_at = time.monotonic()

    def read(self) -> None:
        """Take in what has arrived."""
        self._incoming += self.socket.recv(1 << 18)
        now_ns = time.time_ns()
        for kind, flags, payload in _frames(self._incoming):
            if kind == DATA:
                self._messages += payload
                self.last_data_at = time.monotonic()
            elif kind == RST or (kind == HEADERS and flags & END_STREAM):
                self.ended_at = time.monotonic()
        while len(self._messages) >= 5:
            (size,) = struct.unpack_from(">I", self._messages, 1)
            if len(self._messages) < 5 + size:
                break
            trades = matching_pb2.StreamTradesResponse.FromString(
                bytes(self._messages[5 : 5 + size])
            ).trades
            del self._messages[: 5 + size]
            self.sequences += [trade.trade_sequence for trade in trades]
            self.latencies_ns.append(now_ns - trades[-1].time.ToNanoseconds())


def follow(plan: dict[str, Any]) -> dict[str, Any]:
    """Follow until the time is up; latencies of the live ones, and what became of the stalled."""
    address, market_id = plan["address"], plan["market_id"]
    live = [Reader(address, market_id, 0) for _ in range(plan["live"])]
    stalled = Reader(address, market_id, 0, stalled=True) if plan["stalled"] else None
    readers = {reader.socket: reader for reader in [*live, *([stalled] if stalled else [])]}
    end = time.monotonic() + plan["seconds"]
    while time.monotonic() < end or _awaited(stalled, end + CUT_SECONDS_MAX):
        for ready in select.select(list(readers), [], [], 0.1)[0]:
            readers[ready].read()
            if readers[ready].ended_at is not None:
                del readers[ready]
    result: dict[str, Any] = {
        "latencies_ns": [latency for reader in live for latency in reader.latencies_ns],
        "gaps": sum(_gaps(reader.sequences) for reader in live),
        "ended": sum(reader.ended_at is not None for reader in live),
    }
    if stalled is not None:
        cut = stalled.ended_at is not None
        result["cut_after_seconds"] = (
            stalled.ended_at - stalled.last_data_at if stalled.ended_at else None
        )
        if cut and stalled.sequences:
            result["lost_on_resume"] = _resume(address, market_id, stalled.sequences)
    return result


def _awaited(stalled: Reader | None, until: float) -> bool:
    """Whether the stalled one may still be cut."""
    return stalled is not None and stalled.ended_at is None and time.monotonic() < until


def _resume(address: str, market_id: str, seen: list[int]) -> int:
    """Trades missing after the stalled one has come back and gone on after what it had."""
    again = Reader(address, market_id, seen[-1] + 1)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        if select.select([again.socket], [], [], 0.1)[0]:
            again.read()
    assert again.sequences, "a resumed reader got nothing"
    return _gaps(seen + again.sequences)


def _gaps(sequences: list[int]) -> int:
    if not sequences:
        return 0
    return len(set(range(sequences[0], sequences[-1] + 1)) - set(sequences))


def main() -> None:
    """Play the role of the plan on standard input."""
    plan = json.loads(sys.stdin.read())
    print(json.dumps({"flood": flood, "come": come, "read": follow}[plan["role"]](plan)))


if __name__ == "__main__":
    main()
