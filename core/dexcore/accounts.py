"""Accounts, their keys, and the nonces that make a signed payload count once."""

from __future__ import annotations

from typing import NamedTuple, final

from dexcore.book import Order
from dexcore.invariant import check
from dexcore.limits import EXPIRY_AHEAD_NS_MAX, KEYS_PER_ACCOUNT_MAX
from dexcore.reasons import Reason, Refused
from dexcore.results import ItemResult

SECOND_NS = 10**9


@final
class Account:
    """One owner: keys and open orders. Balances are in the ledger."""

    __slots__ = ("client_orders", "key", "open_orders", "public_keys")

    def __init__(self, key: int) -> None:
        self.key = key
        self.public_keys: list[bytes] = []
        self.open_orders: dict[int, Order] = {}
        self.client_orders: dict[int, Order] = {}


class Answered(NamedTuple):
    """What a signed command was answered; kept until the payload expires."""

    digest: bytes
    expire_time_ns: int
    sequence: int
    time_ns: int
    reason: int
    field: str
    key: int
    items: tuple[ItemResult, ...]


@final
class Accounts:
    """All accounts and the table of keys."""

    __slots__ = ("by_key", "by_public_key")

    def __init__(self) -> None:
        self.by_key: dict[int, Account] = {}
        self.by_public_key: dict[bytes, Account] = {}

    def open(self, account_key: int) -> Account:
        """Open an account without keys."""
        check(account_key not in self.by_key, "account opened twice")
        account = self.by_key[account_key] = Account(account_key)
        return account

    def register(self, account: Account, public_key: bytes) -> None:
        """Give the account another key; a key belongs to one account for good."""
        if public_key in self.by_public_key:
            raise Refused(Reason.KEY_ALREADY_REGISTERED, "public_key")
        if len(account.public_keys) >= KEYS_PER_ACCOUNT_MAX:
            raise Refused(Reason.TOO_MANY_KEYS, "public_key")
        account.public_keys.append(public_key)
        self.by_public_key[public_key] = account

    def signer(self, account_key: int, public_key: bytes) -> Account:
        """The account a signed command acts for, if the key is its own."""
        account = self.by_key.get(account_key)
        if account is None:
            raise Refused(Reason.UNKNOWN_ACCOUNT, "account_id")
        if self.by_public_key.get(public_key) is not account:
            raise Refused(Reason.UNKNOWN_KEY, "public_key")
        return account


@final
class NonceTable:
    """First answers by (account, nonce), forgotten when the payload expires.

    A payload is refused once it has expired, so its nonce need not be remembered
    any longer. Entries are dropped in whole seconds of expiry as time goes by.
    """

    __slots__ = ("answers", "expiring", "oldest_s")

    def __init__(self) -> None:
        self.answers: dict[tuple[int, int], Answered] = {}
        self.expiring: dict[int, list[tuple[int, int]]] = {}
        self.oldest_s = 0

    def first_answer(
        self, account_key: int, nonce: int, digest: bytes, expire_time_ns: int, time_ns: int
    ) -> Answered | None:
        """The answer the same payload got before; None when it is new.

        Raises:
            Refused: it expired, expires too far ahead, or reuses a nonce.
        """
        if expire_time_ns <= time_ns:
            raise Refused(Reason.PAYLOAD_EXPIRED, "expire_time")
        if expire_time_ns > time_ns + EXPIRY_AHEAD_NS_MAX:
            raise Refused(Reason.EXPIRY_TOO_FAR, "expire_time")
        known = self.answers.get((account_key, nonce))
        if known is not None and known.expire_time_ns <= time_ns:
            return None
        if known is not None and known.digest != digest:
            raise Refused(Reason.NONCE_REUSED, "nonce")
        return known

    def remember(self, account_key: int, nonce: int, answer: Answered) -> None:
        """Keep the first answer until its payload expires."""
        key = (account_key, nonce)
        self.answers[key] = answer
        second = answer.expire_time_ns // SECOND_NS
        bucket = self.expiring.get(second)
        if bucket is None:
            self.expiring[second] = [key]
        else:
            bucket.append(key)

    def forget_expired(self, time_ns: int) -> None:
        """Drop what expired before the whole second of ``time_ns``."""
        now_s = time_ns // SECOND_NS
        if now_s <= self.oldest_s:
            return
        self.oldest_s = now_s
        for second in [s for s in self.expiring if s < now_s]:
            for key in self.expiring.pop(second):
                known = self.answers.get(key)
                # The nonce may have been used again after its first payload expired.
                if known is not None and known.expire_time_ns // SECOND_NS == second:
                    del self.answers[key]
