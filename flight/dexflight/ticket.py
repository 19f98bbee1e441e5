"""Tickets: what may be pulled and until when, under a keyed BLAKE2b-256 (RFC 7693).

A ticket is all that DoGet needs, so whoever holds it may pull: it is short-lived, and the node
keeps no list of the ones it gave out.
"""

from __future__ import annotations

import hashlib
import hmac

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from dex.errors.v1 import errors_pb2
from dex.flight.v1 import flight_pb2
from dexflight.refusal import unauthenticated

_MAC_BYTES = 32
_INVALID = errors_pb2.ERROR_REASON_TOKEN_INVALID


class TicketOffice:
    """Issues and checks the tickets of one network. `key` has 32 to 64 secret bytes."""

    def __init__(self, network_id: str, key: bytes) -> None:
        if not 32 <= len(key) <= 64:
            raise ValueError("a ticket key has 32 to 64 bytes")
        self._network_id = network_id
        self._key = key

    def issue(self, query: flight_pb2.Query, expire_time_ns: int) -> bytes:
        """A ticket for a query that ends at `expire_time_ns`."""
        claims = flight_pb2.TicketClaims(network_id=self._network_id, query=query)
        claims.expire_time.CopyFrom(_timestamp(expire_time_ns))
        body = claims.SerializeToString(deterministic=True)
        ticket = flight_pb2.Ticket(claims=body, mac=self._mac(body))
        return ticket.SerializeToString(deterministic=True)

    def check(self, data: bytes, now_ns: int) -> flight_pb2.Query:
        """The query of a ticket. Raises a refusal naming "ticket" unless this office issued it
        for this network and it has not ended."""
        try:
            ticket = flight_pb2.Ticket.FromString(data)
        except DecodeError:
            raise unauthenticated(_INVALID, "ticket", "is not a ticket") from None
        # Nothing inside is read before the code has shown that this office wrote it.
        if not hmac.compare_digest(ticket.mac, self._mac(ticket.claims)):
            raise unauthenticated(_INVALID, "ticket", "was not issued by this node")
        claims = flight_pb2.TicketClaims.FromString(ticket.claims)
        if claims.network_id != self._network_id:
            reason = errors_pb2.ERROR_REASON_NETWORK_MISMATCH
            raise unauthenticated(reason, "ticket", "is for another network")
        if now_ns >= claims.expire_time.seconds * 10**9 + claims.expire_time.nanos:
            reason = errors_pb2.ERROR_REASON_TOKEN_EXPIRED
            raise unauthenticated(reason, "ticket", "has expired: ask for a new one")
        return claims.query

    def _mac(self, claims: bytes) -> bytes:
        return hashlib.blake2b(claims, digest_size=_MAC_BYTES, key=self._key).digest()


def _timestamp(time_ns: int) -> Timestamp:
    return Timestamp(seconds=time_ns // 10**9, nanos=time_ns % 10**9)
