"""Bulk pulls against a small Flight server: headers, tables, typed refusals, giving up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
import trio
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from pyarrow import flight

from dex.flight.v1 import flight_pb2
from dexsdk import CallerError, Client, Interval, Key, SyncClient

ROWS = 10
SCHEMA = pa.schema([("n", pa.int64())])


class _Headers(flight.ServerMiddleware):  # type: ignore[misc]
    def __init__(self, headers: dict[str, list[str]]) -> None:
        self.headers = headers


class _HeadersFactory(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    def start_call(self, info: Any, headers: dict[str, list[str]]) -> _Headers:
        return _Headers(headers)


class FlightFake(flight.FlightServerBase):  # type: ignore[misc]
    """Serves ten rows for any K-line query; any other is refused; `hang` never ends."""

    def __init__(self) -> None:
        super().__init__("grpc+tcp://127.0.0.1:0", middleware={"headers": _HeadersFactory()})
        self.queries: list[flight_pb2.Query] = []
        self.authorizations: list[str] = []
        self.hang = False
        self.pulling = threading.Event()
        self.ended = threading.Event()

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        headers = context.get_middleware("headers").headers
        self.authorizations.append(headers.get("authorization", [""])[0])
        query = flight_pb2.Query.FromString(descriptor.command)
        self.queries.append(query)
        if query.WhichOneof("rows") != "klines":
            info = error_details_pb2.ErrorInfo(reason="UNKNOWN_MARKET", domain="triodex")
            info.metadata["field"] = "trades.market_id"
            status = status_pb2.Status(code=code_pb2.NOT_FOUND, details=[any_pb2.Any()])
            status.details[0].Pack(info)
            raise flight.FlightServerError("no such market", status.SerializeToString())
        endpoint = flight.FlightEndpoint(b"ticket", [])
        return flight.FlightInfo(SCHEMA, descriptor, [endpoint], ROWS, -1)

    def do_get(self, context: Any, ticket: Any) -> Any:
        assert ticket.ticket == b"ticket"
        return flight.GeneratorStream(SCHEMA, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"n": list(range(ROWS))}, SCHEMA)
        try:
            while self.hang:
                self.pulling.set()
                yield pa.record_batch({"n": [0]}, SCHEMA)
        finally:
            self.ended.set()  # Flight drops the generator when its reader is gone


@pytest.fixture
def flight_fake() -> Iterator[FlightFake]:
    with FlightFake() as server:
        yield server


def client_arguments(server: FlightFake) -> dict[str, Any]:
    return {
        "network_id": "triodex-test",
        "key": Key(bytes(32)),
        "flight_address": f"127.0.0.1:{server.port}",
    }


async def test_a_pull_is_one_table(flight_fake: FlightFake) -> None:
    async with Client("127.0.0.1:1", **client_arguments(flight_fake)) as dex:
        table = await dex.pull_klines("BTC-USDT", Interval.M1, 60_000_000_000)
    assert table.column("n").to_pylist() == list(range(ROWS))
    query = flight_fake.queries[0].klines
    assert query.market_id == "BTC-USDT"
    assert query.interval == Interval.M1
    assert query.start_time.seconds == 60
    assert not query.HasField("end_time")
    assert flight_fake.authorizations[0].startswith("Dex ")


def test_a_refused_pull_is_typed(flight_fake: FlightFake) -> None:
    with SyncClient("127.0.0.1:1", **client_arguments(flight_fake)) as dex:
        with pytest.raises(CallerError) as caught:
            dex.pull_trades("BTC-USDT", 5, 9)
        assert caught.value.reason == "UNKNOWN_MARKET"
        assert caught.value.field == "trades.market_id"
        assert len(dex.pull_klines("BTC-USDT", Interval.S1)) == ROWS
    query = flight_fake.queries[0].trades
    assert (query.start_sequence, query.end_sequence) == (5, 9)


async def test_a_pull_that_is_given_up_ends_at_the_node(flight_fake: FlightFake) -> None:
    flight_fake.hang = True
    async with Client("127.0.0.1:1", **client_arguments(flight_fake)) as dex:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dex.pull_klines, "BTC-USDT", Interval.S1)
            assert await trio.to_thread.run_sync(flight_fake.pulling.wait, 5)
            nursery.cancel_scope.cancel()
        assert await trio.to_thread.run_sync(flight_fake.ended.wait, 5)
