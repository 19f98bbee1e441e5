"""A client of sessions as the core sees one, for its tests; hashes are made here, by the page."""

from __future__ import annotations

from hashlib import blake2b

from dexcore.items import Item
from dexcore.results import Outcome
from dexcore.session_commands import CountersignSession, EndSession, OpenSession, SessionOrders
from tests.unit.core.exchanges import (
    BUY,
    SECOND_NS,
    Trader,
    WithTerms,
    World,
    orders,
    place,
)


def hash_of(*parts: bytes) -> bytes:
    return blake2b(b"".join(parts), digest_size=32).digest()


class SessionMaker:
    """One session of a trader: what it sends, and what it would sign for."""

    def __init__(self, world: World, trader: Trader, nonce: int = 10_000) -> None:
        self.world = world
        self.trader = trader
        self.nonce = nonce
        self.key = 0
        self.number = 0
        self.running_hash = b""

    def head(self) -> tuple[int, int, int, bytes, bytes]:
        self.nonce += 1
        expire_ns = self.world.time_ns + 60 * SECOND_NS
        digest = self.nonce.to_bytes(16, "big")
        return self.trader.account_key, self.nonce, expire_ns, digest, self.trader.public_key

    def open(self) -> Outcome:
        handshake = hash_of(b"handshake", self.nonce.to_bytes(8, "big"))
        command = OpenSession(*self.head(), bytes(32), bytes(32), handshake)
        outcome = self.world.do(command)
        self.key, self.number, self.running_hash = outcome.key, 0, handshake
        return outcome

    def sent(self, payload_hash: bytes) -> None:
        """Count an order as sent."""
        self.number += 1
        number = self.number.to_bytes(8, "little")
        self.running_hash = hash_of(self.running_hash, number, payload_hash)

    def orders(self, *items: Item | WithTerms, skipped: bytes = b"") -> SessionOrders:
        """The next order; what was skipped before it counts first."""
        for at in range(0, len(skipped), 32):
            self.sent(skipped[at : at + 32])
        self.nonce += 1
        command = orders(
            self.trader,
            self.nonce,
            items or [place(BUY, 90, 1)],
            now_ns=self.world.time_ns,
        )
        payload_hash = hash_of(command.digest)
        self.sent(payload_hash)
        return SessionOrders(self.key, self.number, payload_hash, skipped, command)

    def order(self, *items: Item | WithTerms, skipped: bytes = b"") -> Outcome:
        return self.world.do(self.orders(*items, skipped=skipped))

    def signature(self, skipped: bytes = b"") -> CountersignSession:
        for at in range(0, len(skipped), 32):
            self.sent(skipped[at : at + 32])
        number, running_hash = self.number, self.running_hash
        return CountersignSession(*self.head(), self.key, number, running_hash, skipped)

    def countersign(self, skipped: bytes = b"") -> Outcome:
        return self.world.do(self.signature(skipped))

    def end(self, reason: int = 0) -> Outcome:
        return self.world.do(EndSession(self.key, reason))
