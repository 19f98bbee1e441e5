"""Sealed things: tickets, access tokens, page tokens and signed envelopes, as forgers send them.

Whoever is believed holds what was issued or signed, byte for byte in what counts; everything else
is refused with a typed refusal.
"""

from __future__ import annotations

import base64

from google.protobuf.message import DecodeError
from nacl.signing import SigningKey
from pyarrow import flight

from dex.auth.v1 import auth_pb2
from dex.flight.v1 import flight_pb2
from dex.matching.v1.matching_pb2 import ListTradesRequest
from dex.orders.v1 import signed_payload_pb2 as wire
from dexflight.ticket import TicketOffice
from dexnode.pagination import PageTokens
from dexnode.tokens import TokenVerifier
from dexrpc import RpcError
from dexruntime.verifier import verify_one
from tests.fuzz.family import Family, Target
from tests.unit.core.exchanges import SECOND_NS, START_NS
from tests.unit.runtime.shards import fixed_clock_ns

KEY = SigningKey(bytes(range(32)))
SECRET = b"k" * 32
NETWORK = "triodex-test"
EXPIRY_S = START_NS // SECOND_NS + 60
CURSORS = 4
SLOTS = ("ticket", "page", "token", "envelope", "ticket", "page", "text", "granted")
PAYLOAD_PREFIX = b"triodex.payload.v1\0"
ACCESS_PREFIX = b"triodex.access.v1\0"


def issued_tickets() -> list[bytes]:
    """What the office gave out."""
    queries = [flight_pb2.Query(klines=flight_pb2.KlineRows(market_id=f"M{n}-Q")) for n in range(3)]
    office = TicketOffice(NETWORK, SECRET)
    return [office.issue(query, START_NS + n) for n, query in enumerate(queries, 1)]


def good_token() -> bytes:
    """An access token of KEY."""
    grant = auth_pb2.AccessGrant(network_id=NETWORK)
    grant.expire_time.seconds = EXPIRY_S
    return token_over(grant.SerializeToString())


def token_over(grant: bytes) -> bytes:
    """A token whose signature is right, over anything."""
    return auth_pb2.AccessToken(
        grant=grant,
        signature=KEY.sign(ACCESS_PREFIX + grant).signature,
        public_key=bytes(KEY.verify_key),
    ).SerializeToString()


def good_envelope() -> wire.SignedEnvelope:
    """An envelope signed by KEY."""
    payload = b"anything that was signed"
    return wire.SignedEnvelope(
        payload=payload,
        signature=KEY.sign(PAYLOAD_PREFIX + payload).signature,
        public_key=bytes(KEY.verify_key),
    )


def verify(authorization: str) -> bool:
    """A token that is believed is KEY's and ends when KEY said."""
    try:
        verified = TokenVerifier(NETWORK, fixed_clock_ns).verify(authorization)
    except RpcError:
        return False
    assert verified.public_key == bytes(KEY.verify_key), "another key was believed"
    return True


class Forgeries:
    """What each handler needs, and the handlers."""

    def __init__(self) -> None:
        self.office, self.pages = TicketOffice(NETWORK, SECRET), PageTokens(SECRET)
        issued = [flight_pb2.Ticket.FromString(ticket) for ticket in issued_tickets()]
        self.sealed = [(ticket.claims, ticket.mac) for ticket in issued]
        self.signed = good_envelope()
        self.token = auth_pb2.AccessToken.FromString(good_token())

    def ticket(self, data: bytes) -> bool:
        """A Flight ticket."""
        try:
            self.office.check(data, START_NS)
        except flight.FlightUnauthenticatedError:
            return False
        # Protobuf may spell the same ticket in more than one way; never another one.
        taken = flight_pb2.Ticket.FromString(data)
        assert (taken.claims, taken.mac) in self.sealed, "a ticket was taken that nobody issued"
        return True

    def page(self, data: bytes) -> bool:
        """A page token of any request."""
        text = data[1:].decode("latin-1")
        request = ListTradesRequest(
            market_id="AAA-QQQ" if data[:1] < b"\x80" else "B", page_token=text
        )
        try:
            cursor = self.pages.open(request, int)
        except RpcError:
            return False
        if cursor is not None:
            assert cursor in range(CURSORS), "a cursor came out that was not put in"
            assert request.market_id == "AAA-QQQ", "a token of another query was taken"
        return cursor is not None

    def access(self, data: bytes) -> bool:
        """The bytes of an access token: what is signed must be what was signed."""
        taken = verify("Dex " + base64.urlsafe_b64encode(data).rstrip(b"=").decode())
        if taken:
            spoken = auth_pb2.AccessToken.FromString(data)
            assert (spoken.grant, spoken.signature) == (self.token.grant, self.token.signature), (
                "forged"
            )
        return taken

    def text(self, data: bytes) -> bool:
        """A whole `authorization`, in any text."""
        return verify(data.decode("latin-1"))

    def granted(self, data: bytes) -> bool:
        """A right signature over anything: only a grant for this network and time counts."""
        taken = verify("Dex " + base64.urlsafe_b64encode(token_over(data)).rstrip(b"=").decode())
        if taken:
            grant = auth_pb2.AccessGrant.FromString(data)
            ahead_ns = grant.expire_time.seconds * SECOND_NS + grant.expire_time.nanos - START_NS
            assert grant.network_id == NETWORK
            assert 0 < ahead_ns <= 3_600 * SECOND_NS, "a token outlives its hour"
        return taken

    def envelope(self, data: bytes) -> bool:
        """A signed envelope: good with the one signature of the one payload."""
        try:
            spoken = wire.SignedEnvelope.FromString(data)
        except DecodeError:
            return False
        good = verify_one(PAYLOAD_PREFIX + spoken.payload, spoken.signature, spoken.public_key)
        if good and spoken.public_key == self.signed.public_key:
            assert spoken.payload == self.signed.payload, "a payload was taken that nobody signed"
        return good


def make() -> Target:
    """All handlers."""
    on = Forgeries()
    handlers = {"ticket": on.ticket, "page": on.page, "token": on.access, "text": on.text}
    return Target(SLOTS, {**handlers, "granted": on.granted, "envelope": on.envelope})


def seeds(target: Target) -> list[bytes]:
    """What was really issued and signed."""
    inputs = [target.input_for("ticket", data) for data in issued_tickets()]
    request = ListTradesRequest(market_id="AAA-QQQ")
    pages = PageTokens(SECRET)
    sealed = [pages.seal(request, cursor).encode() for cursor in range(CURSORS)]
    inputs += [target.input_for("page", b"\0" + text) for text in sealed]
    token = good_token()
    inputs.append(target.input_for("token", token))
    text = b"Dex " + base64.urlsafe_b64encode(token).rstrip(b"=")
    grant = auth_pb2.AccessToken.FromString(token).grant
    inputs += [target.input_for("text", text), target.input_for("granted", grant)]
    return [*inputs, target.input_for("envelope", good_envelope().SerializeToString())]


FAMILY = Family(
    "Tickets, access tokens, page tokens and signed envelopes: nothing is believed but what was "
    "issued or signed.",
    make,
    seeds,
    bytes_max=512,
)
