"""What strangers send to be believed: payloads, access tokens, page tokens, Flight tickets."""

from __future__ import annotations

import base64
import random
from typing import Any

import trio
from nacl.signing import SigningKey
from pyarrow import flight

from dex.flight.v1 import flight_pb2
from dex.matching.v1.matching_pb2 import ListTradesRequest
from dex.orders.v1 import signed_payload_pb2 as wire
from dexflight.ticket import TicketOffice
from dexnode.ids import IdFormat
from dexnode.intake import Intake, result_of
from dexnode.pagination import PageTokens
from dexnode.tokens import TokenVerifier
from dexrpc import RpcError
from dexruntime.sequencer import QUEUE_COMMANDS_MAX
from tests.sim.disk import SimulatedDisk
from tests.soak.decoders import Target
from tests.soak.job import Run
from tests.soak.mutate import mutated
from tests.unit.core.exchanges import SECOND_NS, START_NS
from tests.unit.runtime.shards import IDENTITY, fixed_clock_ns, open_market, running

KEY = SigningKey(bytes(range(32)))
SECRET = b"k" * 32
EXPIRY_S = START_NS // SECOND_NS + 60


def tickets(chance: random.Random) -> Target:
    """Flight tickets: none is taken that says anything else than one that was issued."""
    office = TicketOffice("triodex-test", SECRET)
    queries = [flight_pb2.Query(klines=flight_pb2.KlineRows(market_id=f"M{n}-Q")) for n in range(8)]
    corpus = [office.issue(query, START_NS + n) for n, query in enumerate(queries, 1)]

    def target() -> bool:
        data = mutated(chance, corpus)
        try:
            query = office.check(data, START_NS)
        except flight.FlightUnauthenticatedError:
            return False
        assert query in queries
        # Protobuf may spell the same ticket in more than one way; never another one.
        issued = [flight_pb2.Ticket.FromString(ticket) for ticket in corpus]
        taken = flight_pb2.Ticket.FromString(data)
        assert (taken.claims, taken.mac) in [(ticket.claims, ticket.mac) for ticket in issued]
        return True

    return target


def access_tokens(chance: random.Random) -> Target:
    """Access tokens: whoever is believed is the one key that signed."""
    from dex.auth.v1 import auth_pb2

    grant = auth_pb2.AccessGrant(network_id="triodex-test")
    grant.expire_time.seconds = EXPIRY_S
    data = grant.SerializeToString()
    token = auth_pb2.AccessToken(
        grant=data,
        signature=KEY.sign(b"triodex.access.v1\0" + data).signature,
        public_key=bytes(KEY.verify_key),
    ).SerializeToString()

    def target() -> bool:
        spoiled = mutated(chance, [token])
        text = base64.urlsafe_b64encode(spoiled).rstrip(b"=").decode()
        if chance.random() < 0.2:
            text = mutated(chance, [text.encode()]).decode("latin-1")
        try:
            verified = TokenVerifier("triodex-test", fixed_clock_ns).verify("Dex " + text)
        except RpcError:
            return False
        assert verified.public_key == bytes(KEY.verify_key)
        assert verified.expire_time_ns == EXPIRY_S * SECOND_NS
        return True

    return target


def page_tokens(chance: random.Random) -> Target:
    """Page tokens: no cursor comes out that was not put in."""
    office = PageTokens(SECRET)
    query = ListTradesRequest(market_id="AAA-QQQ")
    corpus = [office.seal(query, cursor).encode() for cursor in range(50)]

    def target() -> bool:
        text = mutated(chance, corpus).decode("latin-1")
        request = ListTradesRequest(market_id="AAA-QQQ", page_token=text)
        try:
            cursor = office.open(request, int)
        except RpcError:
            return False
        assert cursor is None or cursor in range(50)
        return cursor is not None

    return target


def _payloads(account_id: str) -> list[bytes]:
    """Valid payloads of every action."""
    head: dict[str, Any] = {"network_id": IDENTITY.network_id, "account_id": account_id}
    order = wire.NewOrder(
        market_id="AAA-QQQ",
        side=wire.SIDE_BUY,
        type=wire.ORDER_TYPE_LIMIT,
        time_in_force=wire.TIME_IN_FORCE_GTC,
        price_ticks=100,
        quantity_lots=5,
    )
    actions: list[dict[str, Any]] = [
        {"place": order},
        {"cancel": wire.OrderCancel(client_order_id=3)},
        {"amend": wire.OrderAmend(client_order_id=3, quantity_lots=4)},
        {"cancel_all": wire.OrderCancelAll()},
        {"batch": wire.Batch(items=[wire.BatchItem(place=order)] * 3)},
        {"register_key": wire.KeyRegistration(public_key=bytes(32))},
        {"transfer": wire.FundsTransfer(to_account_id=account_id, asset_id="AAA", amount_atoms=1)},
    ]
    payloads = [wire.Payload(**head, nonce=1 + n, **action) for n, action in enumerate(actions)]
    for payload in payloads:
        payload.expire_time.seconds = EXPIRY_S
    return [payload.SerializeToString() for payload in payloads]


async def payloads(run: Run, chance: random.Random, count: int) -> int:
    """Spoiled payloads with good signatures, through intake, journal and exchange; how many were
    taken. Whoever may sign may send anything: the books must hold."""
    taken = 0
    async with running(SimulatedDisk(chance)) as shard:
        [trader] = await open_market(shard, 1)
        ids = IdFormat(IDENTITY.shard, IDENTITY.epoch)
        intake = Intake(shard, ids, fixed_clock_ns)
        corpus = _payloads(ids.format(trader.account_key))
        waiting = []
        for _ in range(count):
            envelope = wire.SignedEnvelope(
                payload=mutated(chance, corpus), public_key=trader.public_key
            )
            try:
                waiting.append(intake.submit(intake.check(envelope, True)))
            except RpcError:
                continue
            if len(waiting) >= QUEUE_COMMANDS_MAX // 4:
                taken += await _answers(waiting)
        taken += await _answers(waiting)
        shard.exchange.ledger.audit()
    return taken


async def _answers(waiting: list[Any]) -> int:
    for promise in waiting:
        await promise.wait_done()
        result_of(promise)
    count = len(waiting)
    waiting.clear()
    await trio.lowlevel.checkpoint()
    return count
