"""Flight pull of K-lines beside raw TCP: python -m tests.bench.flight_pull [--rounds N] [--rows N]

A real FlightService over a KlineBook; the client is another process. Each round measures over
loopback, one after the other, the same number of bytes:
  raw      `sendall` of one 1 MiB block over and over: it never leaves the processor's cache
  columns  `sendall` of the K-line columns themselves, from where Flight reads them
  stream   a Flight pull read batch by batch and dropped, as both above are
  table    a Flight pull into one table in memory
The raw ones are read by `recv_into` of one 1 MiB buffer. Ratios compare within a round; medians are
reported. The bytes are those of the Arrow columns.
"""

from __future__ import annotations

import argparse
import json
import secrets
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from pyarrow import flight

from dex.flight.v1 import flight_pb2
from dex.kline.v1.kline_query_pb2 import INTERVAL_1S
from dexflight import FlightService, MarketInfo
from dexflight.columns import kline_batches, kline_schema
from dexkline import Interval, KlineBook, KlineColumns, TradeBlock

MARKET = MarketInfo(
    "BTC-USDC.eth", "BTC", 8, "USDC.eth", 8, 1_000, 10, "0.01", "0.00001", "010000", {}
)
START_NS = 1_722_816_000 * 10**9


class BenchSource:
    """One market whose book only this thread's setup has written."""

    def __init__(self, row_count: int) -> None:
        self.book = KlineBook(MARKET.quote_atoms_per_tick_lot)
        index = np.arange(row_count, dtype=np.int64)
        for low in range(0, row_count, 100_000):
            part = index[low : low + 100_000]
            price_ticks = 6_000_000 + (part * 7_919) % 10_007
            self.book.add_trade_columns(
                low + 1, START_NS + part * 10**9, part + 1, price_ticks, 1 + part % 1_009
            )
        self.book.close_until(START_NS + row_count * 10**9, row_count + 1)
        self.book.discard_changes()

    def markets(self) -> Sequence[MarketInfo]:
        return [MARKET]

    def klines(
        self, market_id: str, interval: Interval, start_ns: int, end_ns: int
    ) -> tuple[MarketInfo, KlineColumns]:
        del market_id
        return MARKET, self.book.columns(interval, start_ns, end_ns)

    def trades(
        self, market_id: str, start_sequence: int, end_sequence: int
    ) -> tuple[MarketInfo, tuple[TradeBlock, ...]]:
        del market_id, start_sequence, end_sequence
        return MARKET, ()


def serve_raw(listener: socket.socket, blocks: Callable[[], Iterable[memoryview]]) -> None:
    """Answer every connection's 8-byte length with that many bytes of `blocks`."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            left = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
            for block in blocks():
                connection.sendall(block[:left])
                left -= min(left, len(block))
                if not left:
                    break


def same_block() -> Iterator[memoryview]:
    block = memoryview(bytes(1 << 20))
    while True:
        yield block


def column_blocks(source: BenchSource) -> Iterator[memoryview]:
    """The buffers that Flight sends, over and over."""
    schema = kline_schema("bench", MARKET, Interval.SECOND_1)
    while True:
        columns = source.book.columns(Interval.SECOND_1, 0, 2**63 - 1)
        for batch in kline_batches(schema, columns.blocks):
            for column in batch.columns:
                yield memoryview(column.buffers()[1])


def pull_raw(port: int, size: int) -> float:
    buffer = memoryview(bytearray(1 << 20))
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(size.to_bytes(8, "big"))
        left = size
        while left:
            got = connection.recv_into(buffer[: min(left, len(buffer))])
            if not got:
                raise ConnectionError("raw server closed early")
            left -= got
    return time.perf_counter() - start


def client(flight_port: int, raw_port: int, columns_port: int, rounds: int) -> None:
    """The other process: print the seconds of every round as JSON."""
    connection = flight.FlightClient(("127.0.0.1", flight_port))
    rows = flight_pb2.KlineRows(market_id=MARKET.market_id, interval=INTERVAL_1S)
    command = flight_pb2.Query(klines=rows).SerializeToString()
    descriptor = flight.FlightDescriptor.for_command(command)

    def pull(whole: bool) -> tuple[float, int, int]:
        start = time.perf_counter()
        info = connection.get_flight_info(descriptor)
        reader = connection.do_get(info.endpoints[0].ticket)
        if whole:
            table = reader.read_all()
            return time.perf_counter() - start, table.num_rows, table.nbytes
        row_count = size = 0
        for chunk in reader:
            row_count += chunk.data.num_rows
            size += chunk.data.nbytes
        return time.perf_counter() - start, row_count, size

    _, row_count, size = pull(True)  # warms both sides, and tells the size
    seconds: dict[str, list[float]] = {"raw": [], "columns": [], "stream": [], "table": []}
    for _ in range(rounds):
        seconds["raw"].append(pull_raw(raw_port, size))
        seconds["columns"].append(pull_raw(columns_port, size))
        for name in ("stream", "table"):
            taken, got_rows, got_size = pull(name == "table")
            if (got_rows, got_size) != (row_count, size):
                raise AssertionError("a pull came back with another size")
            seconds[name].append(taken)
    print(json.dumps({"rows": row_count, "bytes": size, "seconds": seconds}))


def measure(row_count: int = 2_000_000, rounds: int = 9) -> dict[str, float]:
    """Run it: medians of MB/s and of the ratios within a round."""
    source = BenchSource(row_count)
    service = FlightService(source, network_id="bench", ticket_key=secrets.token_bytes(32), port=0)
    try:
        return compare(service.port, lambda: column_blocks(source), row_count, rounds)
    finally:
        service.stop()


def compare(
    flight_port: int, columns: Callable[[], Iterable[memoryview]], row_count: int, rounds: int
) -> dict[str, float]:
    """Pull from the Flight service at the port, and by raw TCP from here, in turns."""
    ports = [flight_port]
    listeners = []
    for blocks in (same_block, columns):
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=serve_raw, args=(listener, blocks), daemon=True).start()
        ports.append(listener.getsockname()[1])
        listeners.append(listener)
    command = [sys.executable, "-m", "tests.bench.flight_pull", "--client"]
    command += [*map(str, ports), str(rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for listener in listeners:
        # Wakes the thread's accept, which closing alone would not.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    found = json.loads(done.stdout)
    if found["rows"] != row_count:
        raise AssertionError(f"pulled {found['rows']} of {row_count} rows")
    seconds: dict[str, list[float]] = found["seconds"]
    result: dict[str, float] = {"rows": row_count, "bytes": found["bytes"], "rounds": rounds}
    for name, taken in seconds.items():
        result[f"{name}_mb_per_s"] = found["bytes"] / 1e6 / statistics.median(taken)
    result["stream_rows_per_s"] = row_count / statistics.median(seconds["stream"])
    for name in ("stream", "table"):
        for peer in ("raw", "columns"):
            pairs = zip(seconds[peer], seconds[name], strict=True)
            result[f"{name}_to_{peer}"] = statistics.median(theirs / own for theirs, own in pairs)
    return {name: round(value, 3) for name, value in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--client", type=int, nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        client(*options.client)
    else:
        print(json.dumps(measure(options.rows, options.rounds), indent=2))


if __name__ == "__main__":
    main()
