"""Accounts and their keys."""

from __future__ import annotations

from typing import Final, final

from dexcore.book import Boxed, Order
from dexcore.invariant import check
from dexcore.limits import (
    KEYS_EVER_PER_ACCOUNT_MAX,
    KEYS_PER_ACCOUNT_MAX,
)
from dexcore.reasons import Reason, Refused

# What a key may do, as bits: 1 << (dex.accounts.v1.KeyScope - 1).
READ: Final = 1
TRADE: Final = 2
TRANSFER: Final = 4
MANAGE_KEYS: Final = 8
ALL_SCOPES: Final = READ | TRADE | TRANSFER | MANAGE_KEYS


@final
class Key:
    """A public key of an account: what it may do and until when.

    ``expire_time_ns`` is zero for a key that never expires, ``revoke_sequence`` and
    ``revoke_time_ns`` are zero until it is revoked.
    """

    __slots__ = (
        "account",
        "expire_time_ns",
        "label",
        "public_key",
        "revoke_sequence",
        "revoke_time_ns",
        "scopes",
    )

    def __init__(
        self,
        account: Account,
        public_key: bytes,
        scopes: int = ALL_SCOPES,
        expire_time_ns: int = 0,
        label: str = "",
    ) -> None:
        self.account = account
        self.public_key = public_key
        self.scopes = scopes
        self.expire_time_ns = expire_time_ns
        self.label = label
        self.revoke_sequence = 0
        self.revoke_time_ns = 0

    @property
    def is_full(self) -> bool:
        """Whether it may do everything, for good."""
        return self.scopes == ALL_SCOPES and not self.expire_time_ns and not self.revoke_sequence

    def refusal(self, time_ns: int) -> Reason:
        """Why it counts no more at this time; NONE while it does."""
        if self.revoke_sequence:
            return Reason.KEY_REVOKED
        if self.expire_time_ns and time_ns >= self.expire_time_ns:
            return Reason.KEY_EXPIRED
        return Reason.NONE

    def check_may(self, scope: int, time_ns: int) -> None:
        """Whether it may do this at this time."""
        if self.revoke_sequence or self.expire_time_ns:
            refusal = self.refusal(time_ns)
            if refusal:
                raise Refused(refusal, "public_key")
        if not self.scopes & scope:
            raise Refused(Reason.KEY_LACKS_SCOPE, "public_key")

    def check_covers(self, scopes: int, expire_time_ns: int, field: str) -> None:
        """A key disposes of no key that may do more, or lives longer, than itself."""
        outlives = not expire_time_ns or expire_time_ns > self.expire_time_ns
        if scopes & ~self.scopes or (self.expire_time_ns and outlives):
            raise Refused(Reason.KEY_LACKS_SCOPE, field)


@final
class Account:
    """One owner: keys and open orders. Balances are in the ledger.

    Orders of accounts with the same ``owner`` are of one owner when self-trades are prevented: it
    is the account's key, or minus the number of the group an operator put it in.
    """

    __slots__ = ("client_orders", "key", "keys", "open_orders", "owner")

    def __init__(self, key: Boxed) -> None:
        self.key: Boxed = key
        self.owner: int = key
        # By public key, oldest first, the revoked ones too.
        self.keys: dict[bytes, Key] = {}
        self.open_orders: dict[Boxed, Order] = {}
        self.client_orders: dict[Boxed, Order] = {}

    @property
    def stp_group(self) -> int:
        """Number of its group for self-trade prevention; zero for none."""
        return 0 if self.owner == self.key else -self.owner

    @stp_group.setter
    def stp_group(self, group: int) -> None:
        self.owner = -group or self.key

    @property
    def public_keys(self) -> list[bytes]:
        """Public keys that are not revoked, oldest first."""
        return [key.public_key for key in self.keys.values() if not key.revoke_sequence]


@final
class Accounts:
    """All accounts and the table of keys."""

    __slots__ = ("by_key", "by_public_key")

    def __init__(self) -> None:
        self.by_key: dict[int, Account] = {}
        self.by_public_key: dict[bytes, Key] = {}

    def open(self, account_key: int) -> Account:
        """Open an account without keys."""
        check(account_key not in self.by_key, "account opened twice")
        account = self.by_key[account_key] = Account(account_key)
        return account

    def register(self, key: Key) -> None:
        """Give an account another key; a key belongs to one account for good."""
        keys = key.account.keys
        if key.public_key in self.by_public_key:
            raise Refused(Reason.KEY_ALREADY_REGISTERED, "public_key")
        live = sum(1 for known in keys.values() if not known.revoke_sequence)
        if live >= KEYS_PER_ACCOUNT_MAX or len(keys) >= KEYS_EVER_PER_ACCOUNT_MAX:
            raise Refused(Reason.TOO_MANY_KEYS, "public_key")
        keys[key.public_key] = key
        self.by_public_key[key.public_key] = key

    def revoke(self, key: Key, sequence: int, time_ns: int) -> None:
        """End a key for good, unless it is the account's last that may do everything."""
        if not any(known.is_full for known in key.account.keys.values() if known is not key):
            raise Refused(Reason.LAST_FULL_KEY, "revoke_key.public_key")
        key.revoke_sequence = sequence
        key.revoke_time_ns = time_ns

    def key_of(self, account_key: int, public_key: bytes) -> Key:
        """The key that signed a command, if it is the account's; an ended one still is."""
        account = self.by_key.get(account_key)
        if account is None:
            raise Refused(Reason.UNKNOWN_ACCOUNT, "account_id")
        key = self.by_public_key.get(public_key)
        if key is None or key.account is not account:
            raise Refused(Reason.UNKNOWN_KEY, "public_key")
        return key
