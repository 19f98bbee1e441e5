"""Tickets: forged, changed, expired, of another network."""

from __future__ import annotations

import pytest
from pyarrow import flight

from dex.flight.v1 import flight_pb2
from dexflight import (
    TICKET_TTL_NS,
)
from tests.unit.flight.books import ROWS, SOME, Clock, Start, ask, connect, klines, pull, why


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
