"""A real Flight service and real clients over loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import trustme
from google.rpc import error_details_pb2, status_pb2
from pyarrow import flight

from dex.flight.v1 import flight_pb2
from dex.kline.v1.kline_query_pb2 import INTERVAL_1S
from dexflight import (
    TICKET_TTL_NS,
    FlightService,
    FlightTls,
    MarketInfo,
    UnknownMarketError,
)
from dexkline import Interval, KlineBook, KlineColumns, TradeBlock, TradeColumns

SECOND = 10**9
START_NS = 1_722_816_000 * SECOND
ROWS = 50_000
KEY = bytes(range(32))
MARKET = MarketInfo("BTC-USDC.eth", "BTC", 8, "USDC.eth", 6, 1_000, 7, "0.01", "0.00001", "01002a")
SOME = flight_pb2.Query(
    klines=flight_pb2.KlineRows(market_id=MARKET.market_id, interval=INTERVAL_1S)
)


class Books:
    """A FlightSource over one market."""

    def __init__(self) -> None:
        self.book = KlineBook(MARKET.quote_atoms_per_tick_lot)
        self.store = TradeColumns()
        trades = [
            (START_NS + index * SECOND, index + 1, 6_000_000 + index % 97, 1 + index % 13)
            for index in range(ROWS)
        ]
        self.book.add_trades(1, trades)
        self.book.close_until(START_NS + ROWS * SECOND - 1, 2)  # all but the last
        self.store.append_many(
            [(*trade, 1 + trade[1] % 2, trade[1] << 12, (trade[1] << 12) + 1) for trade in trades]
        )

    def markets(self) -> Sequence[MarketInfo]:
        return [MARKET]

    def klines(
        self, market_id: str, interval: Interval, start_ns: int, end_ns: int
    ) -> tuple[MarketInfo, KlineColumns]:
        self.known(market_id)
        return MARKET, self.book.columns(interval, start_ns, end_ns)

    def trades(
        self, market_id: str, start_sequence: int, end_sequence: int
    ) -> tuple[MarketInfo, tuple[TradeBlock, ...]]:
        self.known(market_id)
        return MARKET, self.store.slice(start_sequence, end_sequence)

    def known(self, market_id: str) -> None:
        if market_id != MARKET.market_id:
            raise UnknownMarketError(market_id)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = time.time_ns()

    def __call__(self) -> int:
        return self.now_ns


Start = Callable[..., FlightService]


@pytest.fixture
def start() -> Iterator[Start]:
    services = []

    def start_one(source: Any = None, **options: Any) -> FlightService:
        options = {"network_id": "test", "ticket_key": KEY, "port": 0, **options}
        services.append(FlightService(source or Books(), **options))
        return services[-1]

    yield start_one
    for service in services:
        service.stop(0)


def connect(service: FlightService, **options: Any) -> flight.FlightClient:
    return flight.FlightClient(f"grpc://127.0.0.1:{service.port}", **options)


def ask(client: flight.FlightClient, query: flight_pb2.Query) -> flight.FlightInfo:
    descriptor = flight.FlightDescriptor.for_command(query.SerializeToString())
    return client.get_flight_info(descriptor, flight.FlightCallOptions(timeout=20))


def pull(client: flight.FlightClient, ticket: flight.Ticket) -> pa.Table:
    return client.do_get(ticket, flight.FlightCallOptions(timeout=20)).read_all()


def klines(
    interval: int, start_ns: int | None = None, end_ns: int | None = None
) -> flight_pb2.Query:
    query = flight_pb2.Query()
    query.klines.market_id = MARKET.market_id
    query.klines.interval = interval  # type: ignore[assignment]
    if start_ns is not None:
        query.klines.start_time.FromNanoseconds(start_ns)
    if end_ns is not None:
        query.klines.end_time.FromNanoseconds(end_ns)
    return query


def trades(start_sequence: int = 0, end_sequence: int = 0) -> flight_pb2.Query:
    rows = flight_pb2.TradeRows(
        market_id=MARKET.market_id, start_sequence=start_sequence, end_sequence=end_sequence
    )
    return flight_pb2.Query(trades=rows)


def why(error: flight.FlightError) -> tuple[int, str, str]:
    """(google.rpc code, reason, field) of a refusal."""
    status = status_pb2.Status.FromString(error.extra_info)
    info = error_details_pb2.ErrorInfo()
    assert len(status.details) == 1
    assert status.details[0].Unpack(info)
    assert info.domain == "triodex"
    assert str(error).startswith(status.message)
    assert "Traceback" not in str(error)
    return status.code, info.reason, info.metadata.get("field", "")


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


@pytest.mark.parametrize("where", ["claims", "mac", "key", "bytes", "empty", "none"])
def test_a_ticket_that_is_not_ours(start: Start, where: str) -> None:
    service = start()
    client = connect(service)
    data = ask(client, SOME).endpoints[0].ticket.ticket
    ticket = flight_pb2.Ticket.FromString(data)
    if where == "claims":
        claims = flight_pb2.TicketClaims.FromString(ticket.claims)
        claims.expire_time.seconds += 1_000
        ticket.claims = claims.SerializeToString()
    elif where == "mac":
        ticket.mac = ticket.mac[:-1]
    elif where == "key":
        other = connect(start(ticket_key=bytes(32)))
        ticket.ParseFromString(ask(other, SOME).endpoints[0].ticket.ticket)
    elif where == "empty":
        ticket.Clear()
    elif where == "none":
        ticket.mac = b""
    forged = b"\xff\xff" if where == "bytes" else ticket.SerializeToString()
    with pytest.raises(flight.FlightUnauthenticatedError) as caught:
        pull(client, flight.Ticket(forged))
    assert why(caught.value) == (16, "TOKEN_INVALID", "ticket")
    assert pull(client, flight.Ticket(data)).num_rows == ROWS


def test_every_flipped_bit_of_a_ticket_is_refused(start: Start) -> None:
    client = connect(start())
    data = ask(client, klines(5)).endpoints[0].ticket.ticket
    for position in range(len(data) * 8):
        forged = bytearray(data)
        forged[position // 8] ^= 1 << position % 8
        with pytest.raises(flight.FlightUnauthenticatedError) as caught:
            pull(client, flight.Ticket(bytes(forged)))
        assert why(caught.value)[1] == "TOKEN_INVALID", position


def test_a_ticket_expires_and_knows_its_network(start: Start) -> None:
    clock = Clock()
    client = connect(start(clock_ns=clock))
    endpoint = ask(client, SOME).endpoints[0]
    assert endpoint.expiration_time.value == clock.now_ns + TICKET_TTL_NS
    clock.now_ns += TICKET_TTL_NS - 1
    assert pull(client, endpoint.ticket).num_rows == ROWS
    clock.now_ns += 1
    with pytest.raises(flight.FlightUnauthenticatedError) as caught:
        pull(client, endpoint.ticket)
    assert why(caught.value) == (16, "TOKEN_EXPIRED", "ticket")
    foreign = ask(connect(start(network_id="other", clock_ns=clock)), SOME).endpoints[0].ticket
    with pytest.raises(flight.FlightUnauthenticatedError) as caught:
        pull(client, foreign)
    assert why(caught.value) == (16, "NETWORK_MISMATCH", "ticket")


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


def test_a_fault_of_the_source_stays_inside(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Books):
        def klines(self, *_: Any) -> tuple[MarketInfo, KlineColumns]:
            raise RuntimeError("secret detail")

    client = connect(start(Broken()))
    with pytest.raises(flight.FlightInternalError) as caught:
        ask(client, SOME)
    assert why(caught.value) == (13, "INTERNAL", "")
    assert "secret" not in str(caught.value)
    assert "secret detail" in caplog.text
    assert ask(client, trades()).total_records == ROWS


def test_identity_is_asked_for_when_configured(start: Start) -> None:
    def authenticate(headers: Any) -> None:
        if headers.get("authorization") != ["Dex good"]:
            raise PermissionError("show an access token")

    client = connect(start(authenticate=authenticate))
    with pytest.raises(flight.FlightUnauthenticatedError) as caught:
        ask(client, SOME)
    assert why(caught.value) == (16, "UNAUTHENTICATED", "authorization")
    with pytest.raises(flight.FlightUnauthenticatedError):
        list(client.list_flights())
    options = flight.FlightCallOptions(headers=[(b"authorization", b"Dex good")])
    descriptor = flight.FlightDescriptor.for_command(SOME.SerializeToString())
    info = client.get_flight_info(descriptor, options)
    assert pull(client, info.endpoints[0].ticket).num_rows == ROWS  # the ticket is enough


def test_interfaces_and_keys(start: Start) -> None:
    with pytest.raises(ValueError, match="TLS"):
        start(host="0.0.0.0")
    with pytest.raises(ValueError, match="32 to 64"):
        start(ticket_key=b"short")
    service = start()
    with pytest.raises(OSError, match=str(service.port)):
        start(port=service.port)


def test_tls_and_mutual_tls(start: Start) -> None:
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    client = authority.issue_cert("client@example.org")
    root = authority.cert_pem.bytes()
    chain = b"".join(part.bytes() for part in server.cert_chain_pems)
    one_way = start(tls=FlightTls(chain, server.private_key_pem.bytes()))
    mutual = start(tls=FlightTls(chain, server.private_key_pem.bytes(), root))
    shown = {
        "cert_chain": b"".join(part.bytes() for part in client.cert_chain_pems),
        "private_key": client.private_key_pem.bytes(),
    }
    for service, identity in ((one_way, {}), (mutual, shown)):
        location = f"grpc+tls://localhost:{service.port}"
        with flight.FlightClient(location, tls_root_certs=root, **identity) as connection:
            ticket = ask(connection, SOME).endpoints[0].ticket
            assert pull(connection, ticket).num_rows == ROWS
    for location, roots in (
        (f"grpc+tls://localhost:{mutual.port}", {"tls_root_certs": root}),  # shows no certificate
        (f"grpc+tls://localhost:{one_way.port}", {"tls_root_certs": trustme.CA().cert_pem.bytes()}),
        (f"grpc://localhost:{one_way.port}", {}),  # plaintext
    ):
        refused = pytest.raises((flight.FlightUnavailableError, flight.FlightTimedOutError))
        with flight.FlightClient(location, **roots) as connection, refused:
            ask(connection, SOME)
    # Neither was harmed.
    with flight.FlightClient(f"grpc+tls://localhost:{one_way.port}", tls_root_certs=root) as again:
        assert ask(again, SOME).total_records == ROWS


def test_stop_cuts_a_client_that_reads_no_more(start: Start) -> None:
    """pyarrow's own shutdown would wait for this client for ever."""
    books = Books()
    books.book = KlineBook(1)
    for low in range(0, 400_000, 100_000):  # more than sockets and buffers hold
        books.book.add_trades(1, [(i * SECOND, i + 1, 5, 5) for i in range(low, low + 100_000)])
    service = start(books)
    client = connect(service)
    reader = client.do_get(ask(client, SOME).endpoints[0].ticket)
    reader.read_chunk()
    bystander = socket.create_server(("127.0.0.1", 0))
    service.stop(10**8)
    assert bystander.getsockname()[1]
    with pytest.raises(flight.FlightUnavailableError):
        reader.read_all()
    bystander.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", service.port)) != 0


def test_stop_lets_a_stream_end_within_its_grace(start: Start) -> None:
    service = start()
    client = connect(service)
    reader = client.do_get(ask(client, SOME).endpoints[0].ticket)
    rows = reader.read_all().num_rows
    service.stop()
    service.stop()
    assert rows == ROWS
