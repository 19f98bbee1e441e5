"""Every verb of Flight with every kind of caller and ticket, against the checked-in matrix."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from dex.flight.v1 import flight_pb2
from tests.unit.flight.books import SOME, Clock, Start, ask, connect

MATRIX = tomllib.loads(Path(__file__).with_name("flight_matrix.toml").read_text())
DESCRIPTOR = flight.FlightDescriptor.for_command(SOME.SerializeToString())
SECONDS = 20.0

Verb = Callable[[flight.FlightClient, flight.FlightCallOptions, bytes], object]


def put(client: flight.FlightClient, options: flight.FlightCallOptions, _ticket: bytes) -> None:
    schema = pa.schema([("x", pa.int64())])
    writer, reader = client.do_put(DESCRIPTOR, schema, options)
    with writer:
        writer.write_batch(pa.record_batch([pa.array([1])], schema))
        writer.done_writing()
        reader.read()


def exchange(client: flight.FlightClient, options: flight.FlightCallOptions, _: bytes) -> None:
    writer, reader = client.do_exchange(DESCRIPTOR, options)
    with writer:
        writer.done_writing()
        reader.read_all()


def handshake(client: flight.FlightClient, options: flight.FlightCallOptions, _: bytes) -> None:
    client.authenticate_basic_token("operator", "password", options)


VERBS: dict[str, Verb] = {
    "LIST_FLIGHTS": lambda client, options, _: list(client.list_flights(b"", options)),
    "GET_FLIGHT_INFO": lambda client, options, _: client.get_flight_info(DESCRIPTOR, options),
    "GET_SCHEMA": lambda client, options, _: client.get_schema(DESCRIPTOR, options),
    "DO_GET": lambda client, options, ticket: client.do_get(
        flight.Ticket(ticket), options
    ).read_all(),
    "DO_PUT": put,
    "DO_ACTION": lambda client, options, _: list(client.do_action(("any", b""), options)),
    "DO_EXCHANGE": exchange,
    "LIST_ACTIONS": lambda client, options, _: client.list_actions(options),
    "HANDSHAKE": handshake,
}
CALLERS: dict[str, list[tuple[bytes, bytes]]] = {
    "anonymous": [],
    "bad_token": [(b"authorization", b"Dex bad")],
    "good_token": [(b"authorization", b"Dex good")],
    "two_tokens": [(b"authorization", b"Dex good"), (b"authorization", b"Dex good")],
}


def authenticate(headers: Any) -> None:
    if headers.get("authorization") != ["Dex good"]:
        raise PermissionError("show an access token")


def outcome(call: Callable[[], object]) -> str:
    # pyarrow's client makes an OSError of what GetSchema is refused with.
    try:
        call()
    except (pa.ArrowException, OSError) as error:
        said = str(error)
    else:
        return "allow"
    # The node's own files are nobody's business.
    return "a traceback" if "Traceback" in said else said.partition(":")[0]


def tickets(start: Start, clock: Clock) -> dict[str, bytes]:
    """A ticket of every state."""
    good = ask(connect(start(clock_ns=clock)), SOME).endpoints[0].ticket.ticket
    forged = flight_pb2.Ticket.FromString(good)
    forged.mac = bytes(32)
    expired = Clock()
    expired.now_ns = clock.now_ns - 10**12
    return {
        "right": good,
        "none": b"",
        "forged": forged.SerializeToString(),
        "expired": ask(connect(start(clock_ns=expired)), SOME).endpoints[0].ticket.ticket,
        "other_network": ask(connect(start(network_id="other", clock_ns=clock)), SOME)
        .endpoints[0]
        .ticket.ticket,
        "other_node": ask(connect(start(ticket_key=bytes(32), clock_ns=clock)), SOME)
        .endpoints[0]
        .ticket.ticket,
    }


def test_the_matrix_names_every_verb_of_flight() -> None:
    verbs = {verb.name for verb in flight.FlightMethod} - {"INVALID"}
    assert set(MATRIX["verbs"]) == set(VERBS) == verbs


@pytest.mark.parametrize("asks", [False, True], ids=["public", "asks_for_tokens"])
def test_every_verb_fares_as_the_matrix_says(start: Start, asks: bool) -> None:
    clock = Clock()
    service = start(clock_ns=clock, authenticate=authenticate if asks else None)
    cells = 0
    with connect(service) as client:
        for state, ticket in tickets(start, clock).items():
            for verb, call in VERBS.items():
                row = MATRIX["outcomes"][MATRIX["verbs"][verb]]
                for caller, headers in CALLERS.items():
                    options = flight.FlightCallOptions(timeout=SECONDS, headers=headers)
                    found = outcome(lambda: call(client, options, ticket))  # noqa: B023
                    expected = (
                        row[state] if verb == "DO_GET" else row[caller] if asks else (row["anyone"])
                    )
                    assert found == expected, (verb, caller, state)
                    cells += 1
    print(f"{cells} cells: {len(VERBS)} verbs x {len(CALLERS)} callers x 6 tickets")
