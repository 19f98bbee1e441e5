"""Peers of the overload in processes of their own: `python -m tests.soak.overload_peers PLAN`.

A plan has a `role`: `flood` opens connections that break the rules, over and over; `come` opens
connections for one call each; `read` follows a market's trades on many connections, one of which
may stall. `source` is the address that the peer comes from.
"""

from __future__ import annotations

import itertools
import json
import select
import signal
import socket
import struct
import sys
import time
from types import FrameType
from typing import Any, Final

from dex.matching.v1 import matching_pb2
from tests.soak.overload_client import SUBMIT_BATCH, header_block, hello
from tests.support.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST,
    frame,
)

STREAM_TRADES: Final = "/dex.matching.v1.Matching/StreamTrades"
ENHANCE_YOUR_CALM: Final = 0xB
CHECK: Final = "/grpc.health.v1.Health/Check"
STALLED_WINDOW: Final = 4_000
CUT_SECONDS_MAX: Final = 15.0
# Without data for so long a reader has stalled: until then it comes and is served as any other.
STALLED_SECONDS: Final = 0.2
# A flooder that hears nothing for so long comes again.
PATIENCE_SECONDS: Final = 1.0
# Of a flooder, which leaves nothing behind that the node would serve meanwhile.
PAUSE, GO_ON = signal.SIGUSR1, signal.SIGUSR2
# What a reader that has come back shows to have missed nothing.
RESUMED_TRADES: Final = 1_000
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


class _Paused(Exception):
    """A flooder was told to pause: its connection closes on the way."""


def _pause(_number: int, _frame: FrameType | None) -> None:
    raise _Paused


def flood(plan: dict[str, Any]) -> dict[str, int]:
    """Flood until the time is up, but for the pauses it is told to make; how the connections ended.

    The caller has blocked PAUSE and GO_ON, so that neither comes too early.
    """
    signal.signal(PAUSE, _pause)
    kinds = {"rapid_reset": rapid_reset(), "header_flood": header_flood()}
    counts = dict.fromkeys((f"{kind} {end}" for kind in kinds for end in ("calmed", "other")), 0)
    counts |= {"turned away": 0, "left unread": 0, "ended by a pause": 0}
    end = time.monotonic() + plan["seconds"]
    for kind in itertools.cycle(kinds):
        if time.monotonic() > end:
            break
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {PAUSE})
            ended = _flood_once(plan["address"], plan["source"], hello() + kinds[kind])
            signal.pthread_sigmask(signal.SIG_BLOCK, {PAUSE})
        except _Paused:
            signal.pthread_sigmask(signal.SIG_BLOCK, {PAUSE})
            counts["ended by a pause"] += 1
            signal.sigwait({GO_ON})
            continue
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
        chunk = self.socket.recv(1 << 18)
        self._incoming += chunk
        now_ns = time.time_ns()
        if not chunk:
            self.ended_at = time.monotonic()
        for kind, flags, payload in _frames(self._incoming):
            if kind == DATA:
                self._messages += payload
                self.last_data_at = time.monotonic()
            elif kind == PING and not flags & ACK:
                # Who does not answer is closed.
                self.socket.sendall(frame(PING, ACK, 0, payload))
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
            first, last = trades[0].trade_sequence, trades[-1].trade_sequence
            # A hundred readers share a process, whose work is in every latency.
            self.sequences += (
                range(first, last + 1)
                if last - first + 1 == len(trades)
                else [trade.trade_sequence for trade in trades]
            )
            self.latencies_ns.append(now_ns - trades[-1].time.ToNanoseconds())


class Turns:
    """Readers that stall, one after the other, with as long a time without one around each."""

    def __init__(self, address: str, market_id: str, count: int, seconds: float) -> None:
        self._address = address
        self._market_id = market_id
        self._left = count
        self._seconds = seconds
        self._next_at = time.monotonic() + seconds
        self._cut: list[Reader] = []
        self.now: Reader | None = None
        """The one that stalls at the moment."""
        self.cut_after_seconds: list[float] = []

    @property
    def are_over(self) -> bool:
        """Whether all have had theirs, and a time without one has followed the last."""
        is_last = not self._left and self.now is None
        return is_last and time.monotonic() >= self._next_at

    @property
    def is_one_stalled(self) -> bool:
        """Whether the present one has come to its end of the window."""
        return self.now is not None and time.monotonic() - self.now.last_data_at > STALLED_SECONDS

    def look(self) -> None:
        """Let the next one come, or see that the present one is cut."""
        if self.now is None:
            if self._left and time.monotonic() >= self._next_at:
                self._left -= 1
                self.now = Reader(self._address, self._market_id, 0, stalled=True)
            return
        if self.now.ended_at is not None:
            self.cut_after_seconds.append(self.now.ended_at - self.now.last_data_at)
            self._cut.append(self.now)
            self.now = None
            self._next_at = time.monotonic() + self._seconds
            return
        stalled = time.monotonic() - self.now.last_data_at
        assert stalled < CUT_SECONDS_MAX, "a stalled reader was never cut"

    def lost_on_resume(self) -> int:
        """Trades missing after each has come back and gone on after what it had. One whose window
        ended within the first message had nothing."""
        seen = [reader.sequences for reader in self._cut if reader.sequences]
        assert seen, "all stalled before they had anything"
        return sum(map(self._resume, seen))

    def _resume(self, seen: list[int]) -> int:
        again = Reader(self._address, self._market_id, seen[-1] + 1)
        end = time.monotonic() + 3
        while time.monotonic() < end and len(again.sequences) < RESUMED_TRADES:
            if select.select([again.socket], [], [], 0.1)[0]:
                again.read()
        again.socket.close()
        assert again.sequences, "a resumed reader got nothing"
        return _gaps(seen + again.sequences)


def follow(plan: dict[str, Any]) -> dict[str, Any]:
    """Follow until all that stall were cut; latencies of the live ones, turn by turn, without any
    that stalls and beside one that has, and what became of the stalled. While one comes it is
    neither."""
    address, market_id = plan["address"], plan["market_id"]
    live = [Reader(address, market_id, 0) for _ in range(plan["live"])]
    sockets = {reader.socket: reader for reader in live}
    turns = Turns(address, market_id, plan["stalled"], plan["seconds"])
    without: list[list[int]] = [[]]
    beside: list[list[int]] = []
    while not turns.are_over:
        stalled, is_one_stalled = turns.now, turns.is_one_stalled
        waiting = [*sockets, *([stalled.socket] if stalled else [])]
        for ready in select.select(waiting, [], [], 0.1)[0]:
            if stalled is not None and ready is stalled.socket:
                stalled.read()
                continue
            reader = sockets[ready]
            reader.read()
            if is_one_stalled:
                beside[-1] += reader.latencies_ns
            elif stalled is None:
                without[-1] += reader.latencies_ns
            reader.latencies_ns.clear()
            if reader.ended_at is not None:
                del sockets[ready]
        turns.look()
        if turns.now is not stalled:
            (without if turns.now is None else beside).append([])
    return {
        "without": without,
        "beside": beside,
        "gaps": sum(_gaps(reader.sequences) for reader in live),
        "ended": sum(reader.ended_at is not None for reader in live),
        "cut_after_seconds": turns.cut_after_seconds,
        "lost_on_resume": turns.lost_on_resume(),
    }


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
