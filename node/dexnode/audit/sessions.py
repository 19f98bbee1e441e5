"""What the journal shows of sessions, offline: nothing of the node is trusted.

Each session is gone through from its signed handshake: every order is the next one and its payload
the one that was journaled, and each countersignature is the key's own over the running hash that
these payloads make. So whoever holds a tree head over the journal can show that a client sent an
order, up to the last order that it signed for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Final

from google.protobuf.message import DecodeError

from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore.commands import DIGEST_BYTES
from dexcore.limits import ITEM_INDEX_LIMIT
from dexcore.session_commands import CountersignSession, EndSession, OpenSession, SessionOrders
from dexruntime.journal import Record
from dexruntime.records import command_of
from dexsdk.ids import parse_id
from dexsdk.keys import verify
from dexsdk.mac_session import HASH_BYTES, handshake_hash, next_hash, payload_hash
from dexsdk.signing import payload_signing_bytes

PROGRESS_EVERY: Final = 10_000
Progress = Callable[[int], None]


class SessionTrail:
    """One session as the journal shows it. ``problem`` is empty while everything holds."""

    def __init__(self, session_key: int, sequence: int) -> None:
        self.session_key = session_key
        self.first_sequence = sequence
        self.account_id = ""
        self.public_key = b""
        self.orders = 0
        self.sent = 0
        self.signed = 0
        self.is_ended = False
        self.problem = ""
        self._running_hash = b""

    def open(self, command: OpenSession, record: Record) -> None:
        """The handshake: signed by the key, and the node's half as journaled."""
        try:
            envelope, payload = _signed(record.envelope)
        except ValueError as error:
            self._fail(record, str(error))
            return
        handshake = handshake_hash(
            envelope.payload, envelope.public_key, command.node_share, command.node_random
        )
        if payload.WhichOneof("action") != "session_opening":
            self._fail(record, "the envelope opens no session")
        elif envelope.public_key != command.public_key:
            self._fail(record, "the handshake is signed by another key than the command says")
        elif handshake != command.handshake_hash:
            self._fail(record, "the handshake hash is not over this handshake")
        self.account_id = payload.account_id
        self.public_key = envelope.public_key
        self._running_hash = handshake

    def take(self, command: SessionOrders, record: Record) -> None:
        """An order: the next of the session, and its payload the one the command is made of."""
        try:
            order = orders_pb.SessionOrder.FromString(record.envelope)
        except DecodeError:
            self._fail(record, "the envelope holds no order of a session")
            return
        digest = blake2b(order.payload, digest_size=DIGEST_BYTES).digest()
        if payload_hash(order.payload) != command.payload_hash or digest != command.orders.digest:
            self._fail(record, "the payload is not the one the command was made of")
        if order.order_number != command.order_number or _key_of(order) != self.session_key:
            self._fail(record, "the envelope is another order than the command says")
        self._skip(command.skipped)
        if command.order_number != self.sent + 1:
            # The exchange refused it and ended the session there.
            self.is_ended = True
            return
        self._add(command.payload_hash)
        self.orders += 1

    def countersign(self, command: CountersignSession, record: Record) -> None:
        """A countersignature: the key's own, over what was sent."""
        try:
            envelope, payload = _signed(record.envelope)
        except ValueError as error:
            self._fail(record, str(error))
            return
        self._skip(command.skipped)
        said = payload.session_countersignature
        if envelope.public_key != self.public_key:
            self._fail(record, "the countersignature is another key's")
        elif (said.order_number, said.running_hash) != (command.order_number, command.running_hash):
            self._fail(record, "the countersignature is over something else than the command says")
        elif (said.order_number, said.running_hash) == (self.sent, self._running_hash):
            self.signed = self.sent
        else:
            # The client signed for something else, and the session ended there.
            self.is_ended = True

    def _skip(self, hashes: bytes) -> None:
        for at in range(0, len(hashes), HASH_BYTES):
            self._add(hashes[at : at + HASH_BYTES])

    def _add(self, hash_of_payload: bytes) -> None:
        self.sent += 1
        self._running_hash = next_hash(self._running_hash, self.sent, hash_of_payload)

    def _fail(self, record: Record, problem: str) -> None:
        self.problem = self.problem or f"record {record.sequence}: {problem}"


def trails(records: Iterable[Record], progress: Progress) -> Iterator[SessionTrail]:
    """Every session that a journal's records hold from its opening on, each when it has ended, or
    the records have."""
    open_: dict[int, SessionTrail] = {}
    for record in records:
        ended = _follow(open_, record)
        if ended is not None:
            yield open_.pop(ended)
        if record.sequence % PROGRESS_EVERY == 0:
            progress(record.sequence)
    yield from open_.values()


def _follow(open_: dict[int, SessionTrail], record: Record) -> int | None:
    """Take in a record; returns the key of the session that it ended."""
    command = command_of(record)
    if isinstance(command, OpenSession):
        key = record.sequence * ITEM_INDEX_LIMIT
        trail = open_[key] = SessionTrail(key, record.sequence)
        trail.open(command, record)
        return None
    if not isinstance(command, SessionOrders | CountersignSession | EndSession):
        return None
    found = open_.get(command.session_key)
    if found is None or isinstance(command, EndSession):
        return None if found is None else command.session_key
    if isinstance(command, SessionOrders):
        found.take(command, record)
    else:
        found.countersign(command, record)
    return command.session_key if found.is_ended else None


def _signed(envelope: bytes) -> tuple[payload_pb.SignedEnvelope, payload_pb.Payload]:
    """An envelope whose signature is right; ValueError."""
    try:
        signed = payload_pb.SignedEnvelope.FromString(envelope)
        payload = payload_pb.Payload.FromString(signed.payload)
    except DecodeError:
        raise ValueError("the envelope is no signed one") from None
    if not verify(signed.public_key, payload_signing_bytes(signed.payload), signed.signature):
        raise ValueError("the envelope's signature does not verify")
    return signed, payload


def _key_of(order: orders_pb.SessionOrder) -> int:
    found = parse_id(order.session_id)
    return found.sequence * ITEM_INDEX_LIMIT + found.index
