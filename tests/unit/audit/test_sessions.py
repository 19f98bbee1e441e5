"""What a journal shows of sessions, offline, and no longer shows once it was changed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import blake2b

import pytest
from nacl.signing import SigningKey

from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore.commands import OrderCommand, encode_command
from dexcore.items import ITEM
from dexcore.session_commands import CountersignSession, OpenSession, SessionOrders
from dexnode.audit.sessions import SessionTrail, trails
from dexruntime.journal import JournalReader, Record
from dexruntime.records import command_of
from dexsdk import DexError
from dexsdk.audit import check_session_order
from tests.unit.node.session_client import hash_of
from tests.unit.node.test_order_stream import KEY
from tests.unit.node.test_stream_sessions import Talk, reason, talking
from tests.unit.runtime.shards import IDENTITY, until

OTHER = SigningKey(bytes([77]) * 32)


async def journal() -> list[Record]:
    """Of a session that sent four orders, one of which the node refused unseen, and signed for
    three; and of another that signed for none."""
    async with talking() as talk:
        client, other = await talk.open(), await talk.open(seed=2)
        await talk.ask(talk.order(client), talk.order(other))
        expired = payload_pb.Payload.FromString(talk.payload())
        expired.expire_time.seconds = 1
        dead = client.order(expired.SerializeToString())
        await talk.ask(orders_pb.OrderStreamRequest(session_order=dead))
        await talk.ask(talk.order(client), talk.countersignature(client), talk.order(client))
        talk.close()
        await ended(talk)
        reader = JournalReader(talk.stand.disk, 1)
        records = list(reader)
        reader.close()
    return records


async def ended(talk: Talk) -> None:
    await until(lambda: not talk.stand.exchange.sessions.by_key)
    await talk.stand.disconnects.finish()


def found(records: list[Record]) -> list[SessionTrail]:
    return sorted(trails(records, IDENTITY, lambda _: None), key=lambda trail: trail.session_key)


async def test_a_journal_shows_what_was_signed_for() -> None:
    records = await journal()
    first, second = found(records)
    assert not first.problem
    assert not second.problem
    assert (first.orders, first.sent, first.signed) == (3, 4, 3)
    assert (second.orders, second.sent, second.signed) == (1, 1, 0)
    assert first.public_key == bytes(KEY.verify_key)
    assert first.account_id == second.account_id


def _changed(
    records: list[Record], kind: type, change: Callable[[Record], tuple[bytes, bytes]]
) -> list[Record]:
    """The journal with another first record of this kind."""
    at = next(n for n, each in enumerate(records) if isinstance(command_of(each), kind))
    record = records[at]
    command, envelope = change(record)
    changed = Record(record.sequence, record.time_ns, command, envelope)
    return [*records[:at], changed, *records[at + 1 :]]


def other_payload(record: Record) -> tuple[bytes, bytes]:
    """Another order than the client sent, in command and envelope alike."""
    order = orders_pb.SessionOrder.FromString(record.envelope)
    payload = payload_pb.Payload.FromString(order.payload)
    payload.place.quantity_lots += 1
    order.payload = payload.SerializeToString()
    return record.command, order.SerializeToString()


def other_payload_and_hash(record: Record) -> tuple[bytes, bytes]:
    _, envelope = other_payload(record)
    command = command_of(record)
    assert isinstance(command, SessionOrders)
    payload = orders_pb.SessionOrder.FromString(envelope).payload
    digest = blake2b(payload, digest_size=16).digest()
    changed = command._replace(
        payload_hash=hash_of(payload), orders=command.orders._replace(digest=digest)
    )
    return encode_command(changed), envelope


def other_handshake(record: Record) -> tuple[bytes, bytes]:
    command = command_of(record)
    assert isinstance(command, OpenSession)
    return encode_command(command._replace(node_random=bytes(32))), record.envelope


def other_countersignature(record: Record) -> tuple[bytes, bytes]:
    command = command_of(record)
    assert isinstance(command, CountersignSession)
    signed = payload_pb.SignedEnvelope.FromString(record.envelope)
    payload = payload_pb.Payload.FromString(signed.payload)
    payload.session_countersignature.order_number += 1
    signed.payload = payload.SerializeToString()
    return record.command, signed.SerializeToString()


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        (SessionOrders, other_payload, "the payload is not the one the command was made of"),
        (OpenSession, other_handshake, "the handshake hash is not over this handshake"),
        (CountersignSession, other_countersignature, "signature does not verify"),
    ],
)
async def test_a_changed_record_is_a_problem(
    kind: type, change: Callable[[Record], tuple[bytes, bytes]], problem: str
) -> None:
    trail = found(_changed(await journal(), kind, change))[0]
    assert problem in trail.problem, "a change goes unnoticed"


async def test_what_the_client_did_not_send_is_not_signed_for() -> None:
    """Even where the node changes all that it can: the signature is over another hash."""
    trail = found(_changed(await journal(), SessionOrders, other_payload_and_hash))[0]
    assert trail.signed == 0, "the client signed for what it never sent"


async def test_one_order_is_proven_without_the_others() -> None:
    records = await journal()
    commands = [command_of(record) for record in records]
    opened = next(each for each in commands if isinstance(each, OpenSession))
    key = next(r.sequence for r in records if isinstance(command_of(r), OpenSession)) * 4_096
    mine = [
        (command, record)
        for command, record in zip(commands, records, strict=True)
        if getattr(command, "session_key", 0) == key
    ]
    first, third = (each for each in mine[:2] if isinstance(each[0], SessionOrders))
    signed = next(record for command, record in mine if isinstance(command, CountersignSession))
    following = [third[0].skipped, third[0].payload_hash]  # type: ignore[union-attr]
    key_of_client = bytes(KEY.verify_key)
    proof = (opened.handshake_hash, following, signed.envelope, key_of_client)
    payload = check_session_order(first[1].envelope, *proof)
    assert payload.WhichOneof("action") == "place"
    with pytest.raises(DexError, match="PROOF_INVALID"):
        check_session_order(third[1].envelope, *proof)
    with pytest.raises(DexError, match="PROOF_INVALID"):
        check_session_order(other_payload(first[1])[1], *proof)
    forged = other_countersignature(signed)[1]
    with pytest.raises(DexError, match="SIGNATURE_INVALID"):
        check_session_order(first[1].envelope, *proof[:2], forged, key_of_client)


def forged_proof(account_id: str) -> tuple[bytes, bytes, list[bytes], bytes]:
    """What a node makes up for a victim: an order that it never sent, signed for with a key of the
    node's own."""
    payload = payload_pb.Payload(network_id=IDENTITY.network_id, account_id="victim", nonce=1)
    payload.place.quantity_lots = 10**6
    data = payload.SerializeToString()
    order = orders_pb.SessionOrder(session_id="s", order_number=7, payload=data, mac=bytes(16))
    hash_ = hash_of(bytes(32) + struct.pack("<Q", 7) + hash_of(data))
    said = payload_pb.SessionCountersignature(session_id="s", order_number=7, running_hash=hash_)
    signed = payload_pb.Payload(
        network_id=IDENTITY.network_id, account_id=account_id, session_countersignature=said
    ).SerializeToString()
    signature = OTHER.sign(b"triodex.payload.v1\0" + signed).signature
    envelope = payload_pb.SignedEnvelope(
        payload=signed, signature=signature, public_key=bytes(OTHER.verify_key)
    )
    return order.SerializeToString(), bytes(32), [], envelope.SerializeToString()


def test_nobody_signs_for_anothers_order() -> None:
    own, victims = bytes(OTHER.verify_key), bytes(KEY.verify_key)
    assert check_session_order(*forged_proof("victim"), own).account_id == "victim"
    with pytest.raises(DexError, match="SIGNATURE_INVALID"):
        check_session_order(*forged_proof("victim"), victims)
    with pytest.raises(DexError, match="PROOF_INVALID"):
        check_session_order(*forged_proof("own"), own)


def other_items(record: Record) -> tuple[bytes, bytes]:
    """What was signed and sent, hashes and all; but the node journals another price."""
    command = command_of(record)
    assert isinstance(command, SessionOrders)
    return encode_command(command._replace(orders=other_price(command.orders))), record.envelope


def other_price(orders: OrderCommand) -> OrderCommand:
    item = list(ITEM.unpack(orders.items))
    item[6] += 1
    return orders._replace(items=ITEM.pack(*item))


async def test_an_order_that_its_payload_does_not_say_is_a_problem() -> None:
    trail = found(_changed(await journal(), SessionOrders, other_items))[0]
    assert "not what the payload says" in trail.problem, "a node trades as nobody asked"


async def test_a_strangers_countersignature_says_nothing_of_a_session() -> None:
    """Another account's key; journaled as refused, as a node may."""
    records = await journal()
    at = next(n for n, r in enumerate(records) if isinstance(command_of(r), CountersignSession))
    strangers = payload_pb.Payload.FromString(
        payload_pb.SignedEnvelope.FromString(records[at].envelope).payload
    )
    strangers.nonce += 1_000
    data = strangers.SerializeToString()
    signature = OTHER.sign(b"triodex.payload.v1\0" + data).signature
    envelope = payload_pb.SignedEnvelope(
        payload=data, signature=signature, public_key=bytes(OTHER.verify_key)
    )
    command = command_of(records[at])
    assert isinstance(command, CountersignSession)
    command = command._replace(
        nonce=strangers.nonce,
        digest=blake2b(data, digest_size=16).digest(),
        public_key=bytes(OTHER.verify_key),
        skipped=bytes(32),
    )
    time_ns = records[at].time_ns
    record = Record(at + 1, time_ns, encode_command(command), envelope.SerializeToString())
    moved = [each._replace(sequence=each.sequence + 1) for each in records[at:]]
    first, _ = found([*records[:at], record, *moved])
    assert not first.problem
    assert (first.sent, first.signed) == (4, 3), "a stranger's words count in a session"


async def test_a_countersignature_that_is_sent_again_loses_no_order() -> None:
    """The node's, the exchange's and the auditor's running hash stay the client's."""
    async with talking() as talk:
        client = await talk.open()
        countersignature = talk.order(client), talk.countersignature(client)
        await talk.ask(*countersignature)
        dead = orders_pb.OrderStreamRequest(session_order=client.order(b"\xff"))
        again = [dead, countersignature[1], talk.order(client), talk.countersignature(client)]
        answers = [reason(answer) for answer in await talk.ask(*again)]
        assert answers == ["MALFORMED_MESSAGE", "", "", ""], "a retry loses an order of a session"
        talk.close()
        await ended(talk)
        reader = JournalReader(talk.stand.disk, 1)
        [trail] = found(list(reader))
        reader.close()
    assert not trail.problem
    assert (trail.orders, trail.sent, trail.signed) == (2, 3, 3)
