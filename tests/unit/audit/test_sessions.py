"""What a journal shows of sessions, offline, and no longer shows once it was changed."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import pytest

from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore.commands import encode_command
from dexcore.session_commands import CountersignSession, OpenSession, SessionOrders
from dexnode.audit.sessions import SessionTrail, trails
from dexruntime.journal import JournalReader, Record
from dexruntime.records import command_of
from dexsdk import DexError
from dexsdk.audit import check_session_order
from tests.unit.node.session_client import hash_of
from tests.unit.node.test_order_stream import KEY
from tests.unit.node.test_stream_sessions import Talk, talking
from tests.unit.runtime.shards import until


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
    return sorted(trails(records, lambda _: None), key=lambda trail: trail.session_key)


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
    proof = (opened.handshake_hash, following, signed.envelope)
    payload = check_session_order(first[1].envelope, *proof)
    assert payload.WhichOneof("action") == "place"
    with pytest.raises(DexError, match="PROOF_INVALID"):
        check_session_order(third[1].envelope, *proof)
    with pytest.raises(DexError, match="PROOF_INVALID"):
        check_session_order(other_payload(first[1])[1], *proof)
    with pytest.raises(DexError, match="SIGNATURE_INVALID"):
        check_session_order(first[1].envelope, *proof[:2], other_countersignature(signed)[1])
