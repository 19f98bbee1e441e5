"""What the journal shows of sessions, offline: nothing of the node is trusted.

Each session is gone through from its signed handshake: every order is the next one, its command is
what its payload says, and each countersignature is the key's own over the running hash that these
payloads make. So whoever holds a tree head over the journal can show that a client sent an order,
up to the last order that it signed for. What the exchange refuses or has answered before changes
nothing of a session here either: an exchange of our own says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from google.protobuf.message import DecodeError

from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore.session_commands import CountersignSession, EndSession, OpenSession, SessionOrders
from dexnode.audit.envelopes import Checked, EnvelopeCheck
from dexruntime.journal import Identity, Record
from dexsdk.keys import verify
from dexsdk.mac_session import HASH_BYTES, handshake_hash, next_hash
from dexsdk.signing import payload_signing_bytes

PROGRESS_EVERY: Final = 10_000
Progress = Callable[[int], None]


class SessionTrail:
    """One session as the journal shows it. ``problem`` is empty while everything holds."""

    def __init__(self, session_key: int, sequence: int) -> None:
        self.session_key = session_key
        self.first_sequence = sequence
        self.account_id = ""
        self.account_key = 0
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
            self.fail(record, str(error))
            return
        handshake = handshake_hash(
            envelope.payload, envelope.public_key, command.node_share, command.node_random
        )
        if payload.WhichOneof("action") != "session_opening":
            self.fail(record, "the envelope opens no session")
        elif envelope.public_key != command.public_key:
            self.fail(record, "the handshake is signed by another key than the command says")
        elif handshake != command.handshake_hash:
            self.fail(record, "the handshake hash is not over this handshake")
        self.account_id = payload.account_id
        self.account_key = command.account_key
        self.public_key = envelope.public_key
        self._running_hash = handshake

    def is_of(self, account_key: int, public_key: bytes) -> bool:
        """Whether it is the session of this key, as the exchange sees it."""
        return (account_key, public_key) == (self.account_key, self.public_key)

    def take(self, command: SessionOrders) -> None:
        """An order: the next of the session."""
        self._skip(command.skipped)
        if command.order_number != self.sent + 1:
            # The exchange refused it and ended the session there.
            self.is_ended = True
            return
        self._add(command.payload_hash)
        self.orders += 1

    def countersign(self, command: CountersignSession) -> None:
        """A countersignature by the session's own key. One that is over something else, sent again
        or refused, signs for nothing here; where that ends the session the exchange says so."""
        self._skip(command.skipped)
        if (command.order_number, command.running_hash) == (self.sent, self._running_hash):
            self.signed = self.sent

    def _skip(self, hashes: bytes) -> None:
        for at in range(0, len(hashes), HASH_BYTES):
            self._add(hashes[at : at + HASH_BYTES])

    def _add(self, hash_of_payload: bytes) -> None:
        self.sent += 1
        self._running_hash = next_hash(self._running_hash, self.sent, hash_of_payload)

    def fail(self, record: Record, problem: str) -> None:
        """Keep the first problem."""
        self.problem = self.problem or f"record {record.sequence}: {problem}"


def trails(
    records: Iterable[Record], identity: Identity, progress: Progress
) -> Iterator[SessionTrail]:
    """Every session that a whole journal holds, each when it has ended, or the records have."""
    check = EnvelopeCheck(identity)
    open_: dict[int, SessionTrail] = {}
    for record in records:
        found = _follow(open_, record, check.take(record))
        if found is not None and (found.is_ended or not _is_open(check, found)):
            yield open_.pop(found.session_key)
        if record.sequence % PROGRESS_EVERY == 0:
            progress(record.sequence)
    yield from open_.values()


def _is_open(check: EnvelopeCheck, trail: SessionTrail) -> bool:
    return trail.session_key in check.exchange.sessions.by_key


def _follow(
    open_: dict[int, SessionTrail], record: Record, checked: Checked
) -> SessionTrail | None:
    """Take in a record; returns the session that it is of."""
    command = checked.command
    if isinstance(command, OpenSession):
        if checked.outcome.reason or checked.outcome.repeated:
            return None
        key = checked.outcome.key
        trail = open_[key] = SessionTrail(key, record.sequence)
        trail.open(command, record)
        if checked.problem:
            trail.fail(record, checked.problem)
        return trail
    if not isinstance(command, SessionOrders | CountersignSession | EndSession):
        return None
    found = open_.get(command.session_key)
    if found is None or isinstance(command, EndSession):
        return found
    signed = command.orders if isinstance(command, SessionOrders) else command
    if not found.is_of(signed.account_key, signed.public_key):
        # A stranger's: the exchange refused it, and it says nothing of the session.
        return found
    if checked.problem:
        found.fail(record, checked.problem)
    if isinstance(command, SessionOrders):
        found.take(command)
    elif not checked.problem:
        found.countersign(command)
    return found


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
