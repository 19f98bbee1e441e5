"""Sessions: orders of a key that carry a MAC instead of a signature, and are signed for later.

Theory of operation. The node has checked a MAC before it journals an order of a session; here is
what must hold whoever checked it. The session is open and of the key that the order names. Its
orders are numbered without a gap. A running hash is over everything that the session sent, and the
client signs it within a number of orders and a time. A fault ends the session, and what it had
placed stands. So a journal shows, and a replay finds again, how much of a session was signed for at
any time.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final, final

from dexcore.accounts import Account, Accounts, Key
from dexcore.events import SessionCountersigned, SessionEnded, SessionOpened
from dexcore.invariant import check
from dexcore.limits import (
    ITEM_INDEX_LIMIT,
    SESSION_UNSIGNED_NS_MAX,
    SESSION_UNSIGNED_ORDERS_MAX,
    SESSIONS_PER_ACCOUNT_MAX,
)
from dexcore.reasons import Reason, Refused
from dexcore.results import Outcome
from dexcore.session_commands import (
    HASH_BYTES,
    CountersignSession,
    EndSession,
    OpenSession,
    SessionOrders,
)

_number_bytes: Final = struct.Struct("<Q").pack


def next_hash(running_hash: bytes, order_number: int, payload_hash: bytes) -> bytes:
    """The running hash after one more order: BLAKE2b-256 over the one before, the number as 8
    bytes, little-endian, and the hash of the payload."""
    data = running_hash + _number_bytes(order_number) + payload_hash
    return blake2b(data, digest_size=HASH_BYTES).digest()


@final
class Session:
    """An open session. ``unsigned_since_ns`` is the time of the first order that is not signed for;
    it says nothing while ``signed_number`` is ``order_number``."""

    __slots__ = (
        "key",
        "order_number",
        "running_hash",
        "signed_number",
        "signer",
        "unsigned_since_ns",
    )

    def __init__(self, key: int, signer: Key, running_hash: bytes) -> None:
        self.key = key
        self.signer = signer
        self.running_hash = running_hash
        self.order_number = 0
        self.signed_number = 0
        self.unsigned_since_ns = 0

    def add(self, payload_hash: bytes, time_ns: int) -> None:
        """Count one more order as sent."""
        if self.signed_number == self.order_number:
            self.unsigned_since_ns = time_ns
        self.order_number += 1
        self.running_hash = next_hash(self.running_hash, self.order_number, payload_hash)

    def add_skipped(self, hashes: bytes, time_ns: int) -> None:
        """Count as sent what the node refused by itself."""
        for at in range(0, len(hashes), HASH_BYTES):
            self.add(hashes[at : at + HASH_BYTES], time_ns)

    def is_unsigned(self, time_ns: int) -> bool:
        """Whether more, or some for longer, waits for a countersignature than may."""
        unsigned = self.order_number - self.signed_number
        if unsigned > SESSION_UNSIGNED_ORDERS_MAX:
            return True
        return unsigned > 0 and time_ns - self.unsigned_since_ns > SESSION_UNSIGNED_NS_MAX


@final
class SessionDesk:
    """All open sessions."""

    __slots__ = ("_accounts", "_of_account", "by_key")

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self.by_key: dict[int, Session] = {}
        # Keys of an account's open sessions, oldest first.
        self._of_account: dict[int, list[int]] = {}

    def open(self, account: Account, command: OpenSession, outcome: Outcome) -> None:
        """Open a session for the key that signed.

        Raises:
            Refused: the account has as many as it may.
        """
        if len(self._of_account.get(account.key, ())) >= SESSIONS_PER_ACCOUNT_MAX:
            raise Refused(Reason.TOO_MANY_SESSIONS)
        key = outcome.sequence * ITEM_INDEX_LIMIT
        signer = self._accounts.key_of(account.key, command.public_key)
        self.add(Session(key, signer, command.handshake_hash))
        outcome.logged.append(SessionOpened(key, account.key, command.public_key))
        outcome.key = key

    def add(self, session: Session) -> None:
        """Know a session that is open."""
        check(session.key not in self.by_key, "a session opened twice")
        self.by_key[session.key] = session
        self._of_account.setdefault(session.signer.account.key, []).append(session.key)

    def take(self, command: SessionOrders, outcome: Outcome) -> None:
        """Count the orders as sent in their session.

        Raises:
            Refused: they are not taken, and the session is over.
        """
        orders = command.orders
        session = self.by_key.get(command.session_key)
        key = self._accounts.key_of(orders.account_key, orders.public_key)
        if session is None or session.signer is not key:
            refusal = key.refusal(outcome.time_ns)
            if refusal:
                # The session ended with its key: that is what its owner wants to know.
                raise Refused(refusal, "public_key")
            raise Refused(Reason.UNKNOWN_SESSION, "session_id")
        time_ns = outcome.time_ns
        if session.is_unsigned(time_ns):
            self._break(session, Reason.SESSION_UNSIGNED, outcome)
        session.add_skipped(command.skipped, time_ns)
        if command.order_number != session.order_number + 1:
            self._break(session, Reason.SESSION_OUT_OF_ORDER, outcome)
        session.add(command.payload_hash, time_ns)
        if session.is_unsigned(time_ns):
            self._break(session, Reason.SESSION_UNSIGNED, outcome)

    def skip(self, command: CountersignSession, time_ns: int) -> None:
        """Count as sent what the node refused before a countersignature of the session's key."""
        session = self.by_key.get(command.session_key)
        if session is None:
            return
        signer = session.signer
        if (signer.account.key, signer.public_key) == (command.account_key, command.public_key):
            session.add_skipped(command.skipped, time_ns)

    def countersign(self, account: Account, command: CountersignSession, outcome: Outcome) -> None:
        """Everything that the session sent so far is signed for.

        Raises:
            Refused: it is another's session, or another hash, and the session is over.
        """
        session = self.by_key.get(command.session_key)
        signer = self._accounts.key_of(account.key, command.public_key)
        if session is None or session.signer is not signer:
            raise Refused(Reason.UNKNOWN_SESSION, "session_id")
        signed = command.order_number, command.running_hash
        if signed != (session.order_number, session.running_hash):
            self._break(session, Reason.SESSION_HASH_MISMATCH, outcome)
        session.signed_number = session.order_number
        outcome.logged.append(SessionCountersigned(session.key, session.signed_number))
        outcome.key = session.key

    def end(self, command: EndSession, outcome: Outcome) -> None:
        """The node ends a session.

        Raises:
            Refused: it is not open.
        """
        session = self.by_key.get(command.session_key)
        if session is None:
            raise Refused(Reason.UNKNOWN_SESSION)
        self._close(session, command.reason, outcome)

    def end_of_key(self, key: Key, outcome: Outcome) -> None:
        """End every session of a key that counts no more."""
        for session_key in list(self._of_account.get(key.account.key, ())):
            session = self.by_key[session_key]
            if session.signer is key:
                self._close(session, Reason.KEY_REVOKED, outcome)

    def _break(self, session: Session, reason: Reason, outcome: Outcome) -> None:
        """End a session for a fault of its own, which is also the refusal."""
        self._close(session, reason, outcome)
        raise Refused(reason, "session_id")

    def _close(self, session: Session, reason: int, outcome: Outcome) -> None:
        del self.by_key[session.key]
        account_key = session.signer.account.key
        keys = self._of_account[account_key]
        keys.remove(session.key)
        if not keys:
            del self._of_account[account_key]
        outcome.logged.append(SessionEnded(session.key, reason))
