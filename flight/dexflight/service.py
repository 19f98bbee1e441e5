"""The Arrow Flight service: GetFlightInfo gives tickets, DoGet streams what a ticket names.

Theory of operation. pyarrow serves from threads of its own as soon as the server object exists;
`serve()` is never called, for it would take the process's signals. A handler asks the FlightSource
for columns that never change and lets C++ stream them, so a slow client holds memory and a thread,
not the books. pyarrow's `shutdown` waits for open streams without a limit, and a client that stops
reading would hold it for ever; `stop` therefore cuts the service's connections after its grace.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
from pyarrow import flight

from dex.errors.v1 import errors_pb2
from dex.flight.v1 import flight_pb2
from dexflight import columns
from dexflight.calls import CALL, Calls, Headers
from dexflight.query import KlineRange, TradeRange, check, parse
from dexflight.refusal import bad_query, internal, overloaded, plain
from dexflight.sockets import cut_connections, is_loopback
from dexflight.source import FlightSource, UnknownMarketError
from dexflight.ticket import TicketOffice
from dexkline import Interval

TICKET_TTL_NS = 60 * 10**9
_log = logging.getLogger("dexflight")
_Handler = TypeVar("_Handler", bound=Callable[..., Any])


class FlightTls(NamedTuple):
    """PEM bytes. With `client_ca` only clients that show a certificate of it are served (mTLS)."""

    certificate_chain: bytes
    private_key: bytes
    client_ca: bytes | None = None


class FlightService:
    """Serves a FlightSource from construction until `stop`.

    `ticket_key` has 32 to 64 secret bytes; a node that draws it anew at start ends all tickets with
    a restart. `authenticate` is given the headers of GetFlightInfo, GetSchema and ListFlights and
    raises PermissionError to refuse; None serves everyone, for market data is public. DoGet asks
    for a valid ticket always and for nothing else. Raises ValueError for an interface other than
    loopback without TLS, and OSError when the port cannot be bound. Port 0 picks a free one.
    """

    def __init__(
        self,
        source: FlightSource,
        *,
        network_id: str,
        ticket_key: bytes,
        host: str = "127.0.0.1",
        port: int = 7401,
        tls: FlightTls | None = None,
        authenticate: Callable[[Headers], object] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if tls is None and not is_loopback(host):
            raise ValueError(f"Flight on {host} needs TLS: only loopback may go without")
        options: dict[str, Any] = {}
        if tls is not None:
            options["tls_certificates"] = [(tls.certificate_chain, tls.private_key)]
            if tls.client_ca is not None:
                options |= {"verify_client": True, "root_certificates": tls.client_ca}
        make = flight.Location.for_grpc_tcp if tls is None else flight.Location.for_grpc_tls
        try:
            self._server = _Server(
                make(host, port),
                middleware={CALL: Calls(authenticate)},
                **options,
                source=source,
                network_id=network_id,
                office=TicketOffice(network_id, ticket_key),
                clock_ns=clock_ns,
            )
        except pa.ArrowException as error:
            raise OSError(f"Flight cannot serve on {host} port {port}: {error}") from error
        self.port: int = self._server.port

    def stop(self, grace_ns: int = 5 * 10**9) -> None:
        """Stop taking calls, give open streams `grace_ns`, then cut them.

        Blocks: from Trio, call it by `trio.to_thread.run_sync`, while the source can still answer.
        """
        waiter = threading.Thread(target=self._server.shutdown, name="flight-stop", daemon=True)
        waiter.start()
        waiter.join(grace_ns / 10**9)
        while waiter.is_alive():
            cut = cut_connections(self.port)
            _log.warning("cut %d Flight connections after the grace of %d ns", cut, grace_ns)
            waiter.join(1)


def _answering(handler: _Handler) -> _Handler:
    """Translate what a handler raises: refusals pass, all else becomes INTERNAL and a log line, for
    pyarrow would send its traceback to the client."""

    @functools.wraps(handler)
    def answer(*args: Any) -> Any:
        try:
            return handler(*args)
        except flight.FlightError:
            raise
        except Exception as error:
            _log.exception("a Flight call failed")
            raise internal() from error

    return answer  # type: ignore[return-value]


def _answering_plainly(handler: _Handler) -> _Handler:
    """The same for GetSchema, of which pyarrow sends whatever is raised with its traceback: the one
    frame of ours in it says no file and no line of source."""
    answering = _answering(handler)

    def answer(*args: Any) -> Any:
        try:
            return answering(*args)
        except flight.FlightError as error:
            refusal = plain(error)
        # Not in the except clause: what is handled there is printed too.
        raise refusal

    answer.__code__ = answer.__code__.replace(co_filename="<dexflight>")
    return functools.wraps(handler)(answer)  # type: ignore[return-value]


class _Server(flight.FlightServerBase):  # type: ignore[misc]
    def __init__(
        self,
        location: flight.Location,
        *,
        source: FlightSource,
        network_id: str,
        office: TicketOffice,
        clock_ns: Callable[[], int],
        **options: Any,
    ) -> None:
        # Before the base, which serves at once.
        self._source = source
        self._network_id = network_id
        self._office = office
        self._clock_ns = clock_ns
        super().__init__(location, **options)

    @_answering
    def list_flights(
        self, context: flight.ServerCallContext, criteria: bytes
    ) -> Iterator[flight.FlightInfo]:
        """Every market's K-lines of every interval and its trades, without tickets."""
        del context, criteria
        infos = []
        for market in self._source.markets():
            for interval in Interval:
                rows = flight_pb2.KlineRows(market_id=market.market_id, interval=interval)  # type: ignore[arg-type]
                schema = columns.kline_schema(self._network_id, market, interval)
                infos.append(_info(schema, flight_pb2.Query(klines=rows)))
            trades = flight_pb2.TradeRows(market_id=market.market_id)
            schema = columns.trade_schema(self._network_id, market)
            infos.append(_info(schema, flight_pb2.Query(trades=trades)))
        return iter(infos)

    @_answering
    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """One endpoint with a ticket, the schema, and the number of rows there are now."""
        del context
        query = parse(descriptor.command or b"")
        schema, row_count, _ = self._read(query)
        expire_time_ns = self._clock_ns() + TICKET_TTL_NS
        ticket = self._office.issue(query, expire_time_ns)
        # No location: the client comes back the way it came.
        expires = pa.scalar(expire_time_ns, pa.timestamp("ns", tz="UTC"))
        endpoint = flight.FlightEndpoint(ticket, [], expires)
        return flight.FlightInfo(schema, descriptor, [endpoint], row_count, -1)

    @_answering_plainly
    def get_schema(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.SchemaResult:
        """The schema alone."""
        del context
        return flight.SchemaResult(self._read(parse(descriptor.command or b""))[0])

    @_answering
    def do_get(
        self, context: flight.ServerCallContext, ticket: flight.Ticket
    ) -> flight.RecordBatchStream:
        """Stream the rows that a ticket names, as they are now."""
        query = self._office.check(ticket.ticket, self._clock_ns())
        if not context.get_middleware(CALL).open_stream():
            raise overloaded("too many streams are open: try again later")
        schema, _, batches = self._read(query)
        # All batches at once, for they copy nothing: C++ then streams without the interpreter,
        # which a busy Trio loop would hand over for one batch at a time.
        return flight.RecordBatchStream(pa.Table.from_batches(batches, schema))

    def _read(self, query: flight_pb2.Query) -> tuple[pa.Schema, int, Iterator[pa.RecordBatch]]:
        """Schema, number of rows and batches of a query's answer."""
        asked = check(query)
        try:
            if isinstance(asked, KlineRange):
                return self._read_klines(asked)
            return self._read_trades(asked)
        except UnknownMarketError:
            field = "klines.market_id" if isinstance(asked, KlineRange) else "trades.market_id"
            reason = errors_pb2.ERROR_REASON_UNKNOWN_MARKET
            raise bad_query(reason, field, f"no market {asked.market_id!r}") from None

    def _read_klines(self, asked: KlineRange) -> tuple[pa.Schema, int, Iterator[pa.RecordBatch]]:
        market, klines = self._source.klines(*asked)
        schema = columns.kline_schema(self._network_id, market, asked.interval)
        return schema, klines.row_count, columns.kline_batches(schema, klines.blocks)

    def _read_trades(self, asked: TradeRange) -> tuple[pa.Schema, int, Iterator[pa.RecordBatch]]:
        market, blocks = self._source.trades(*asked)
        schema = columns.trade_schema(self._network_id, market)
        row_count = sum(block.row_count for block in blocks)
        return schema, row_count, columns.trade_batches(schema, blocks)


def _info(schema: pa.Schema, query: flight_pb2.Query) -> flight.FlightInfo:
    descriptor = flight.FlightDescriptor.for_command(query.SerializeToString(deterministic=True))
    return flight.FlightInfo(schema, descriptor, [], -1, -1)
