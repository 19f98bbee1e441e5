"""The naive twin of the exchange: lists, searches and sums made from nothing each time.

Slow on purpose and written from the contract's words (docs/reference/order-semantics.md); imports
nothing of the product. What an account has is what it owns less what its open orders may still
cost; neither a running total nor a sorted book is kept, so there is nothing here to get out of
step. Reasons and states go by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.reference.exchange_answer import Answer
from tests.reference.exchange_batch import cancellable, carry_out
from tests.reference.exchange_books import Books, Deeds
from tests.reference.exchange_desk import Desk
from tests.reference.exchange_entry import Item, Terms
from tests.reference.exchange_keys import MANAGE, MOVE, TRADE, AKey, KeyRing
from tests.reference.exchange_rules import DAY_NS, SECOND_NS, Bounds, No
from tests.reference.exchange_steps import begin_command, end_command, end_step
from tests.reference.pool_acts import PoolActs
from tests.reference.quote_acts import QuoteActs


class Twin:
    """The exchange again, the slow way."""

    def __init__(self, bounds: Bounds = Bounds()) -> None:  # noqa: B008 - never changes
        self.books = Books(bounds)
        self.accounts: list[int] = []
        self.desk = Desk(self.books, self.accounts)
        self.keys = KeyRing()
        self.quote_acts = QuoteActs(self.books, self.accounts, self._once)
        self.quotes = self.quote_acts.quotes
        self.pool_acts = PoolActs(self.books, self._once)
        self.answered: dict[tuple[Any, int], tuple[bytes, int, Answer]] = {}
        # Of each account that has armed its dead man's switch: when it cancels.
        self.deadlines: dict[int, int] = {}

    def apply(self, sequence: int, time_ns: int, command: str, /, **fields: Any) -> Answer:
        """Apply a command of this name, with its fields by name."""
        books = self.books
        books.time_ns = time_ns
        books.deeds = Deeds()
        self.quotes.blocks = []
        answer = Answer(sequence, time_ns)
        name = "do_" + command.lower()
        where = (self, self.desk, self.quote_acts, self.pool_acts)
        act: Callable[..., Answer | None]
        [act] = [getattr(each, name) for each in where if hasattr(each, name)]
        begin_command(books)
        try:
            answer = act(answer, **fields) or answer
        except No as no:
            answer = Answer(sequence, time_ns, no.reason, no.where)
        end_step(books)
        end_command(books)
        answer.deeds = books.deeds
        return answer

    # --- signed commands

    def _first(
        self,
        answer: Answer,
        signer: AKey | None,
        right: int,
        space: Any,
        nonce: int,
        expire_time_ns: int,
        digest: bytes,
    ) -> Answer | None:
        """The first answer to a payload; to a new one None, if its signer may do this now."""
        now_ns = self.books.time_ns
        if expire_time_ns <= now_ns:
            raise No("PAYLOAD_EXPIRED", "expire_time")
        if expire_time_ns > now_ns + 300 * SECOND_NS:
            raise No("EXPIRY_TOO_FAR", "expire_time")
        known_digest, known_expire_ns, first = self.answered.get((space, nonce), (b"", 0, answer))
        if known_expire_ns > now_ns:
            if known_digest != digest:
                raise No("NONCE_REUSED", "nonce")
            again = Answer(first.sequence, first.time_ns, first.reason, first.where, repeated=True)
            again.key, again.items, again.amounts = first.key, first.items, first.amounts
            return again
        if signer:
            self.keys.judge(signer, right, now_ns)
        return None

    def _once(
        self,
        act: Callable[..., None],
        right: int,
        answer: Answer,
        account_key: int,
        nonce: int,
        expire_time_ns: int,
        digest: bytes,
        public_key: bytes,
        **fields: Any,
    ) -> Answer:
        """Carry a signed command out unless it was before, and remember its answer.

        `act` may refuse the command as a whole, which is not remembered.
        """
        signer = self.keys.of(account_key, public_key)
        head = (account_key, nonce, expire_time_ns, digest)
        first = self._first(answer, signer, right, *head)
        if first:
            return first
        act(answer, signer, **fields)
        self.answered[(account_key, nonce)] = (digest, expire_time_ns, answer)
        return answer

    def do_ordercommand(self, answer: Answer, **fields: Any) -> Answer:
        return self._once(self._orders, TRADE, answer, **fields)

    def _orders(
        self, answer: Answer, signer: AKey, items: list[Item], terms: list[Terms], phased: int
    ) -> None:
        if not 1 <= len(items) <= 1000:
            raise No("BATCH_SIZE", "items")
        first_key = answer.sequence * 4096
        answer.items = carry_out(self.books, signer.owner, first_key, items, terms, bool(phased))

    def do_revokekey(self, answer: Answer, **fields: Any) -> Answer:
        return self._once(self._revoke, MANAGE, answer, **fields)

    def _revoke(
        self, answer: Answer, signer: AKey, revoked_public_key: bytes, cancel_all: int
    ) -> None:
        self.keys.revoke(signer, revoked_public_key)
        if cancel_all:
            orders = cancellable(self.books, signer.owner)
            answer.items = [self.books.close(order, "CANCELLED") for order in orders]
        answer.key = signer.owner

    def do_setdeadmansswitch(self, answer: Answer, **fields: Any) -> Answer:
        return self._once(self._arm, TRADE, answer, **fields)

    def _arm(self, answer: Answer, signer: AKey, timeout_ns: int) -> None:
        if timeout_ns and not SECOND_NS <= timeout_ns <= DAY_NS:
            raise No("FIELD_INVALID", "timeout")
        self.deadlines.pop(signer.owner, None)
        if timeout_ns:
            self.deadlines[signer.owner] = self.books.time_ns + timeout_ns
        answer.key = signer.owner

    def do_transfer(self, answer: Answer, **fields: Any) -> Answer:
        return self._once(self._transfer, MOVE, answer, **fields)

    def _transfer(
        self, answer: Answer, signer: AKey, to_account_key: int, asset_id: str, amount_atoms: int
    ) -> None:
        """A refusal is remembered, too."""
        books = self.books
        if asset_id not in self.desk.scales:
            answer.reason, answer.where = "UNKNOWN_ASSET", "asset_id"
        elif to_account_key not in self.accounts:
            answer.reason, answer.where = "UNKNOWN_ACCOUNT", "to_account_id"
        elif amount_atoms <= 0:
            answer.reason, answer.where = "FIELD_INVALID", "amount_atoms"
        elif amount_atoms > books.available(signer.owner, asset_id):
            answer.reason, answer.where = "INSUFFICIENT_FUNDS", "amount_atoms"
        else:
            books.own(signer.owner, asset_id, -amount_atoms)
            books.own(to_account_key, asset_id, amount_atoms)

    def do_registerkey(
        self,
        answer: Answer,
        account_key: int,
        nonce: int,
        expire_time_ns: int,
        digest: bytes,
        public_key: bytes,
        new_public_key: bytes,
        **limits: Any,
    ) -> Answer:
        """With no account it opens one; then the key's own nonces count."""
        space: Any = account_key or public_key
        signer = self.keys.of(account_key, public_key) if account_key else None
        first = self._first(answer, signer, MANAGE, space, nonce, expire_time_ns, digest)
        if first:
            return first
        of_signer = new_public_key == public_key
        rights, ends_ns = self.keys.grant(signer, self.books.time_ns, of_signer, **limits)
        answer.key = account_key or answer.sequence * 4096
        self.keys.add(new_public_key, AKey(answer.key, rights, ends_ns))
        if signer is None:
            self.accounts.append(answer.key)
        self.answered[(space, nonce)] = (digest, expire_time_ns, answer)
        return answer

    # --- time

    def do_clocktick(self, answer: Answer) -> None:
        """What ends by now expires, then switches that are due cancel."""
        books = self.books
        due = [order for order in books.open_orders() if order.ends_ns <= books.time_ns]
        for order in sorted(due, key=lambda order: (order.ends_ns, order.key)):
            books.close(order, "EXPIRED")
        end_step(books)
        for deadline_ns, owner in sorted((when, who) for who, when in self.deadlines.items()):
            if deadline_ns <= books.time_ns:
                del self.deadlines[owner]
                for order in cancellable(books, owner):
                    books.close(order, "CANCELLED")
                end_step(books)
        self.quotes.tick()
