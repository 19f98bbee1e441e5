"""Server CPU per unary call, dexrpc (either codec) beside grpc.aio, and messages on one stream.

    python -m tests.bench.rpc_cpu [--rounds N] [--seconds S] [--client raw|grpcio]

Each server is its own process; the load is another: pre-framed HTTP/2 over one connection (the
server does the work, the client next to none), or a stock grpc.aio client. Rounds are interleaved,
so that a busy machine is busy for all; the medians are printed. CPU is the server process's, all
threads, from /proc/PID/stat.
"""

from __future__ import annotations

import argparse
import asyncio  # noqa: TID251 - the peer is grpc.aio
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import hpack

from tests.bench.cpu import cpu_seconds

ROOT = Path(__file__).parents[2]
ECHO, STREAM = "/bench.Echo/One", "/bench.Echo/Many"
BODY = bytes(range(57))
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW_BYTES = 2**30
PEER = "grpc.aio"
NAMES = ("dexrpc", "dexrpc-h2", "grpc.aio")
Load = Callable[[int], int]


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return (
        struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload
    )


class Cost(NamedTuple):
    """Calls a second, and the server's CPU microseconds a call."""

    per_second: float
    cpu_us: float


class RawLoad:
    """A pipelining HTTP/2 client that looks at nothing but frame boundaries."""

    def __init__(self, port: int, path: str = ECHO, body: bytes = BODY) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        window = struct.pack(">HI", 4, WINDOW_BYTES)
        hello = PREFACE + frame(4, 0, 0, window) + frame(8, 0, 0, struct.pack(">I", WINDOW_BYTES))
        self.socket.sendall(hello)
        self.buffer = b""
        self.stream_id = 1
        encoder = hpack.Encoder()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "bench"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "bench/1"),
        ]
        self.first_block = encoder.encode(headers)
        self.block = encoder.encode(headers)
        headers[2] = (":path", STREAM)
        self.stream_block = encoder.encode(headers)
        self.message = b"\0" + struct.pack(">I", len(body)) + body

    def frames(self) -> list[tuple[int, int, bytes]]:
        """What has arrived: kind, flags, payload. PING is answered."""
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the server closed")
        buffer = self.buffer + data
        at, found = 0, []
        while len(buffer) - at >= 9:
            length = int.from_bytes(buffer[at : at + 3], "big")
            if len(buffer) - at - 9 < length:
                break
            found.append((buffer[at + 3], buffer[at + 4], buffer[at + 9 : at + 9 + length]))
            at += 9 + length
        self.buffer = buffer[at:]
        for kind, flags, payload in found:
            if kind == 6 and not flags & 1:
                self.socket.sendall(frame(6, 1, 0, payload))
            elif kind == 4 and not flags & 1:
                self.socket.sendall(frame(4, 1, 0, b""))
        return found

    def unary(self, in_flight: int, seconds: float) -> int:
        """Closed loop; returns the calls that ended."""
        done, running = 0, 0
        end = time.perf_counter() + seconds
        while True:
            out = []
            while running < in_flight and time.perf_counter() < end:
                block = self.first_block if self.stream_id == 1 else self.block
                out.append(frame(1, 4, self.stream_id, block))
                out.append(frame(0, 1, self.stream_id, self.message))
                self.stream_id += 2
                running += 1
            if out:
                self.socket.sendall(b"".join(out))
            if not running:
                return done
            for kind, flags, _ in self.frames():
                if kind == 1 and flags & 1:
                    done += 1
                    running -= 1
                elif kind in (3, 7):
                    raise ConnectionError(f"the server reset the load: {kind}")

    def stream(self, rate: float, seconds: float) -> int:
        """Open loop: one bidi stream, one message a frame, paced; the answers that came in time."""
        self.socket.sendall(frame(1, 4, self.stream_id, self.first_block))
        self.socket.sendall(frame(1, 4, self.stream_id + 2, self.stream_block))
        one = frame(0, 0, self.stream_id + 2, self.message)
        size = len(self.message)
        sent = received = 0
        start = time.perf_counter()
        while (now := time.perf_counter() - start) < seconds:
            due = int(now * rate)
            if due > sent:
                self.socket.sendall(one * (due - sent))
                sent = due
            while select.select([self.socket], [], [], 0.0005)[0]:
                received += sum(len(p) for kind, _, p in self.frames() if kind == 0)
        return received // size


async def grpcio_load(port: int, in_flight: int, seconds: float) -> int:
    """The same closed loop by a stock grpc.aio client."""
    from grpc import aio

    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(ECHO)
        end = time.perf_counter() + seconds
        done = 0

        async def worker() -> None:
            nonlocal done
            while time.perf_counter() < end:
                await call(BODY)
                done += 1

        await asyncio.gather(*(worker() for _ in range(in_flight)))
        return done


def serve(backend: str) -> None:
    """The server process: echo, one and many, over bytes."""
    import trio

    import dexrpc
    from dexrpc.framecodec import FrameCodec
    from dexrpc.h2codec import H2Codec

    async def one(request: bytes, _ctx: dexrpc.CallContext) -> bytes:
        return request

    async def many(requests: Any, _ctx: dexrpc.CallContext, send: Any) -> None:
        while True:
            try:
                await send.send_many(await requests.receive_available())
            except trio.EndOfChannel:
                return

    async def dexrpc_main() -> None:
        kinds = dexrpc.MethodKind
        methods = [
            dexrpc.Method(ECHO, kinds.UNARY_UNARY, one, bytes, bytes),
            dexrpc.Method(STREAM, kinds.STREAM_STREAM, many, bytes, bytes),
        ]
        codec = H2Codec if backend == "dexrpc-h2" else FrameCodec
        server = dexrpc.Server(methods, config=dexrpc.ServerConfig(codec=codec))
        listener = await dexrpc.open_listener("127.0.0.1", 0)
        print(listener.port, flush=True)
        await server.serve([listener])

    async def aio_main() -> None:
        import grpc
        from grpc import aio

        async def aio_one(request: bytes, _context: Any) -> bytes:
            return request

        async def aio_many(_requests: Any, context: Any) -> None:
            while (request := await context.read()) is not aio.EOF:
                await context.write(request)

        server = aio.server()
        handlers: dict[str, Any] = {
            "One": grpc.unary_unary_rpc_method_handler(aio_one),
            "Many": grpc.stream_stream_rpc_method_handler(aio_many),
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("bench.Echo", handlers),)
        )
        print(server.add_insecure_port("127.0.0.1:0"), flush=True)
        await server.start()
        await server.wait_for_termination()

    if backend != "grpc.aio":
        trio.run(dexrpc_main)
    else:
        asyncio.run(aio_main())


class Server:
    """One server process under load."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-m", "tests.bench.rpc_cpu", "--serve", name]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def measure(self, load: Load) -> Cost:
        """One round."""
        return cost_of(self.process.pid, lambda: load(self.port))


def cost_of(pid: int, load: Callable[[], int]) -> Cost:
    """Run a load, which says how many calls it made, against the process."""
    cpu, start = cpu_seconds(pid), time.perf_counter()
    done = load()
    seconds = time.perf_counter() - start
    return Cost(done / seconds, (cpu_seconds(pid) - cpu) / max(done, 1) * 1e6)


def make_loads(client: str, seconds: float) -> dict[str, Load]:
    """The loads by name. Streams are always raw: a Python client cannot offer them."""

    def unary(in_flight: int) -> Load:
        if client == "raw":
            return lambda port: RawLoad(port).unary(in_flight, seconds)
        return lambda port: asyncio.run(grpcio_load(port, in_flight, seconds))

    def stream(rate: float) -> Load:
        return lambda port: RawLoad(port).stream(rate, seconds)

    loads = {f"unary, {count} in flight": unary(count) for count in (1, 64)}
    return loads | {f"stream, {rate} offered/s": stream(rate) for rate in (5000, 10_000)}


def measure(rounds: int, seconds: float, client: str = "raw") -> dict[tuple[str, str], Cost]:
    """Interleaved rounds of every load on both servers; medians by (load, server)."""
    servers = {name: Server(name) for name in ("dexrpc", PEER)}
    results: dict[tuple[str, str], list[Cost]] = {}
    try:
        for _ in range(rounds):
            for what, load in make_loads(client, seconds).items():
                for name, server in servers.items():
                    results.setdefault((what, name), []).append(server.measure(load))
    finally:
        for server in servers.values():
            server.process.terminate()
            server.process.wait()
    return {key: median(found) for key, found in results.items()}


def median(costs: list[Cost]) -> Cost:
    """Of each number by itself."""
    return Cost(*(statistics.median(column) for column in zip(*costs, strict=True)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--client", choices=("raw", "grpcio"), default="raw")
    parser.add_argument("--serve", choices=NAMES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    costs = measure(options.rounds, options.seconds, options.client)
    print(f"client: {options.client}; {options.rounds} rounds of {options.seconds} s; medians")
    for (what, name), cost in costs.items():
        print(f"{what:24} {name:9} {cost.per_second:9.0f}/s  server CPU {cost.cpu_us:7.1f} us")
        if name == PEER:
            print(f"{what:24} ratio     {costs[what, 'dexrpc'].cpu_us / cost.cpu_us:9.2f}")


if __name__ == "__main__":
    main()
