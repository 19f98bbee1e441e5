"""What a pull gives: rows, ranges, schemas, refusals."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import flight

import dexflight
from dex.flight.v1 import flight_pb2
from dex.kline.v1.kline_query_pb2 import INTERVAL_1S
from dexkline import Interval
from tests.unit.flight.books import (
    ROWS,
    SECOND,
    SOME,
    START_NS,
    Books,
    Start,
    ask,
    connect,
    klines,
    pull,
    trades,
    why,
)


def test_klines_of_every_interval_are_the_books(start: Start) -> None:
    books = Books()
    client = connect(start(books))
    for interval in Interval:
        info = ask(client, klines(interval))
        table = pull(client, info.endpoints[0].ticket)
        table.validate(full=True)
        expected = books.book.rows(interval, 0, 2**63 - 1, 10**6)
        assert info.total_records == table.num_rows == len(expected)
        assert table.schema == info.schema
        columns = [column.cast(pa.int64()).to_pylist() for column in table.columns]
        assert list(zip(*columns, strict=True)) == [tuple(map(int, kline)) for kline in expected]
    assert table.schema.metadata == {
        b"network_id": b"test",
        b"market_id": b"BTC-USDC.eth",
        b"base_asset": b"BTC",
        b"base_scale": b"8",
        b"base_atoms_per_lot": b"1000",
        b"quote_asset": b"USDC.eth",
        b"quote_scale": b"6",
        b"quote_atoms_per_tick_lot": b"7",
        b"tick_size": b"0.01",
        b"lot_size": b"0.00001",
        b"interval": b"1d",
    }
    assert {str(field.type) for field in table.schema} == {
        "timestamp[ns, tz=UTC]",
        "int64",
        "decimal128(38, 0)",
        "bool",
        "int32",
    }


def test_a_range_is_half_open_and_may_be_empty(start: Start) -> None:
    client = connect(start())
    low_ns, high_ns = START_NS + 5 * SECOND, START_NS + 40_000 * SECOND
    table = pull(client, ask(client, klines(1, low_ns, high_ns)).endpoints[0].ticket)
    opens = table["open_time"].cast(pa.int64())
    assert (table.num_rows, opens[0].as_py(), opens[-1].as_py()) == (
        39_995,
        low_ns,
        high_ns - SECOND,
    )
    empty = pull(client, ask(client, klines(1, high_ns, low_ns)).endpoints[0].ticket)
    assert (empty.num_rows, empty.num_columns) == (0, 13)
    far = klines(1)
    far.klines.end_time.FromJsonString("9999-12-31T23:59:59Z")  # past int64 nanoseconds
    assert ask(client, far).total_records == ROWS


def test_turnover_past_64_bits(start: Start) -> None:
    books = Books()
    books.book.add_trades(3, [(START_NS, ROWS + 1, 10**12, 10**12)])
    client = connect(start(books))
    table = pull(client, ask(client, klines(1)).endpoints[0].ticket)
    assert table["turnover_atoms"][0].as_py() == Decimal(7 * (10**24 + 6_000_000))
    assert table["version"][0].as_py() == 2


def test_trades(start: Start) -> None:
    books = Books()
    client = connect(start(books))
    info = ask(client, trades())
    table = pull(client, info.endpoints[0].ticket)
    table.validate(full=True)
    assert info.total_records == table.num_rows == ROWS
    columns = [column.cast(pa.int64()).to_pylist() for column in table.columns]
    blocks = books.store.slice(0, 2**63 - 1)
    expected = [row for block in blocks for row in zip(*(c.tolist() for c in block), strict=True)]
    assert list(zip(*columns, strict=True)) == expected
    assert table.schema.metadata[b"order_id_prefix"] == b"01002a"
    part = pull(client, ask(client, trades(100, 103)).endpoints[0].ticket)
    assert part["trade_sequence"].to_pylist() == [100, 101, 102]


def test_a_stream_shows_one_moment_while_the_book_goes_on(start: Start) -> None:
    books = Books()
    before = list(books.book.columns(Interval.SECOND_1, 0, 2**63 - 1).klines())
    reader = connect(start(books)).do_get(
        ask(connect(start(books)), klines(1)).endpoints[0].ticket,
        flight.FlightCallOptions(timeout=20),
    )
    first = reader.read_chunk().data
    books.book.add_trades(
        3, [(kline.open_time_ns, ROWS + i, 1, 1) for i, kline in enumerate(before, 1)]
    )
    table = pa.Table.from_batches([first, *(chunk.data for chunk in reader)])
    assert table["low_ticks"].to_pylist() == [kline.low_ticks for kline in before]
    assert books.book.rows(Interval.SECOND_1, 0, 2**63 - 1, 1)[0].low_ticks == 1


def bad_time() -> flight_pb2.Query:
    query = klines(1)
    query.klines.start_time.nanos = -1
    return query


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (flight_pb2.Query(), (3, "FIELD_INVALID", "rows")),
        (klines(0), (3, "FIELD_INVALID", "klines.interval")),
        (klines(6), (3, "FIELD_INVALID", "klines.interval")),
        (bad_time(), (3, "FIELD_INVALID", "klines.start_time")),
        (trades(-1), (3, "FIELD_INVALID", "trades.start_sequence")),
        (trades(1, -1), (3, "FIELD_INVALID", "trades.end_sequence")),
        (
            flight_pb2.Query(klines=flight_pb2.KlineRows(market_id="A", interval=INTERVAL_1S)),
            (3, "FIELD_INVALID", "klines.market_id"),
        ),
        (
            flight_pb2.Query(trades=flight_pb2.TradeRows(market_id="NO-SUCH")),
            (5, "UNKNOWN_MARKET", "trades.market_id"),
        ),
    ],
)
def test_a_bad_query_names_its_field(
    start: Start, query: flight_pb2.Query, expected: tuple[int, str, str]
) -> None:
    client = connect(start())
    with pytest.raises(flight.FlightServerError) as caught:
        ask(client, query)
    assert why(caught.value) == expected
    assert ask(client, SOME).total_records == ROWS


class Broken(Books):
    """Books that fail in the midst of a call."""

    def known(self, market_id: str) -> None:
        if market_id == "BROKEN":
            raise RuntimeError("the books are torn")
        super().known(market_id)


@pytest.mark.parametrize(
    ("market_id", "error", "said"),
    [
        ("A", ValueError, "FIELD_INVALID: klines.market_id: must have 3 to 32 characters"),
        ("NO-SUCH", KeyError, "UNKNOWN_MARKET: klines.market_id: no market 'NO-SUCH'"),
        ("BROKEN", OSError, "INTERNAL: the node's log has the details"),
    ],
)
def test_a_refused_schema_tells_nothing_of_the_node(
    start: Start, market_id: str, error: type[Exception], said: str
) -> None:
    """pyarrow sends a traceback along; no file, line of source or cause of ours is in it."""
    query = flight_pb2.Query(klines=flight_pb2.KlineRows(market_id=market_id, interval=INTERVAL_1S))
    descriptor = flight.FlightDescriptor.for_command(query.SerializeToString())
    with pytest.raises(error) as caught:
        connect(start(Broken())).get_schema(descriptor)
    text = str(caught.value)
    assert text.startswith(said)
    home = str(Path(dexflight.__file__).parent)
    for ours in ("torn", "RuntimeError", '.py"', "service", "raise refusal", home):
        assert ours not in text, "a place of ours is told"


def test_bytes_that_are_no_query(start: Start) -> None:
    client = connect(start())
    for descriptor in (
        flight.FlightDescriptor.for_command(b"\xff\xff"),
        flight.FlightDescriptor.for_path("BTC-USDC.eth"),
    ):
        with pytest.raises(flight.FlightServerError) as caught:
            client.get_flight_info(descriptor)
        assert why(caught.value)[1] in {"MALFORMED_MESSAGE", "FIELD_INVALID"}


def test_flights_are_listed_and_can_be_asked_for(start: Start) -> None:
    client = connect(start())
    infos = list(client.list_flights())
    assert len(infos) == 6
    for info in infos:
        asked = client.get_flight_info(info.descriptor)
        assert client.get_schema(info.descriptor).schema == info.schema == asked.schema
        assert pull(client, asked.endpoints[0].ticket).num_rows == asked.total_records
