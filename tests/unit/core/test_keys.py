"""Keys of an account: scopes, expiry, revocation, in journal order."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from dexcore.accounts import ALL_SCOPES, MANAGE_KEYS, READ, TRADE, TRANSFER
from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import (
    Command,
    OrderCommand,
    RegisterKey,
    RevokeKey,
    Transfer,
    decode_command,
    encode_command,
)
from dexcore.events import KeyLimited, KeyRegistered, KeyRevoked, OrderClosed
from tests.unit.core.exchanges import (
    BUY,
    MARKETS,
    SECOND_NS,
    Trader,
    World,
    orders,
    place,
    public_key,
    small_world,
)

HOUR_NS = 3_600 * SECOND_NS


class Account:
    """One account and what its keys sign."""

    def __init__(self) -> None:
        self.world: World = small_world(2)
        self.trader: Trader = self.world.traders[0]
        self.nonce = 1_000

    def head(self, key: bytes | None) -> tuple[int, int, int, bytes, bytes]:
        self.nonce += 1
        digest = self.nonce.to_bytes(16, "big")
        expire_ns = self.world.time_ns + 60 * SECOND_NS
        return self.trader.account_key, self.nonce, expire_ns, digest, key or self.trader.public_key

    def do(self, command: Command) -> str:
        return self.world.do(command).reason.name

    def register(
        self, new: bytes, scopes: int = 0, expire_ns: int = 0, by: bytes | None = None
    ) -> str:
        return self.do(RegisterKey(*self.head(by), new, scopes, expire_ns, ""))

    def revoke(self, key: bytes, by: bytes | None = None, cancel_all: int = 0) -> str:
        return self.do(RevokeKey(*self.head(by), key, cancel_all))

    def order(self, by: bytes | None = None) -> OrderCommand:
        self.nonce += 1
        trader = self.trader._replace(public_key=by or self.trader.public_key)
        return orders(trader, self.nonce, [place(BUY, 90, 1)], now_ns=self.world.time_ns)

    def transfer(self, by: bytes | None = None) -> Transfer:
        other = self.world.traders[1].account_key
        return Transfer(*self.head(by), other, MARKETS[0].quote_asset_id, 1)


NEW, OTHER, THIRD = public_key(50), public_key(51), public_key(52)


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.mark.parametrize("scopes", range(1, 16))
def test_a_key_does_what_its_scopes_say_and_nothing_else(account: Account, scopes: int) -> None:
    assert account.register(NEW, scopes) == "NONE"
    actions: dict[int, Callable[[], str]] = {
        TRADE: lambda: account.do(account.order(NEW)),
        TRANSFER: lambda: account.do(account.transfer(NEW)),
        MANAGE_KEYS: lambda: account.register(OTHER, scopes, by=NEW),
    }
    for scope, act in actions.items():
        assert act() == ("NONE" if scopes & scope else "KEY_LACKS_SCOPE"), scope


def test_a_key_grants_and_revokes_no_more_than_it_has(account: Account) -> None:
    now_ns = account.world.time_ns
    assert account.register(NEW, MANAGE_KEYS | READ, now_ns + HOUR_NS) == "NONE"
    for scopes, expire_ns in ((TRADE, 0), (ALL_SCOPES, 0), (READ, now_ns + HOUR_NS + 1)):
        assert account.register(OTHER, scopes, expire_ns, by=NEW) == "KEY_LACKS_SCOPE"
    # What is left out is the signer's own.
    assert account.register(OTHER, by=NEW) == "NONE"
    key = account.world.exchange.accounts.by_public_key[OTHER]
    assert (key.scopes, key.expire_time_ns) == (MANAGE_KEYS | READ, now_ns + HOUR_NS)
    assert account.revoke(account.trader.public_key, by=NEW) == "KEY_LACKS_SCOPE"
    assert account.register(THIRD, READ) == "NONE"
    assert account.revoke(THIRD, by=NEW) == "KEY_LACKS_SCOPE", "it lives longer than the signer"
    assert account.revoke(OTHER, by=NEW) == "NONE"


def test_a_key_expires_by_the_time_in_the_journal(account: Account) -> None:
    world = account.world
    expire_ns = world.time_ns + HOUR_NS
    assert account.register(NEW, TRADE, expire_ns) == "NONE"
    world.time_ns = expire_ns - 1
    assert account.do(account.order(NEW)) == "NONE"
    world.time_ns = expire_ns
    assert account.do(account.order(NEW)) == "KEY_EXPIRED"
    assert account.register(OTHER, TRADE, expire_ns) == "FIELD_INVALID"


def test_what_comes_after_a_revocation_is_refused(account: Account) -> None:
    assert account.register(NEW, TRADE) == "NONE"
    under_way = account.order(NEW)
    assert account.revoke(NEW) == "NONE"
    assert account.do(under_way) == "KEY_REVOKED"
    assert account.revoke(NEW) == "NONE", "again changes nothing"
    assert account.register(NEW) == "KEY_ALREADY_REGISTERED"
    stranger = account.world.traders[1].public_key
    assert account.revoke(stranger) == account.revoke(OTHER) == "UNKNOWN_KEY"


def test_what_was_answered_is_answered_again_whatever_became_of_the_key(account: Account) -> None:
    world = account.world
    expire_ns = world.time_ns + 30 * SECOND_NS
    for key, ends_ns in ((NEW, expire_ns), (OTHER, 0), (THIRD, 0)):
        assert account.register(key, ALL_SCOPES, ends_ns) == "NONE"
    sent: list[Command] = [
        account.order(NEW),
        account.transfer(NEW),
        RegisterKey(*account.head(NEW), public_key(53)),
        account.order(OTHER),
        RevokeKey(*account.head(OTHER), OTHER, 0),
        RegisterKey(*account.head(THIRD), public_key(54)),
        RevokeKey(*account.head(None), THIRD, 0),
    ]
    answers = [world.do(command) for command in sent]
    assert not any(answer.repeated or answer.reason for answer in answers)
    world.time_ns = expire_ns
    state = encode_state(world.exchange)
    for command, first in zip(sent, answers, strict=True):
        again = world.do(command)
        assert again.repeated, (command, again.reason)
        for part in ("sequence", "time_ns", "reason", "key", "items"):
            assert getattr(again, part) == getattr(first, part), (command, part)
    assert owned(encode_state(world.exchange)) == owned(state), "something counted twice"
    # What was not answered before has no first answer to get.
    assert account.do(account.order(NEW)) == "KEY_EXPIRED"
    assert account.do(account.order(OTHER)) == "KEY_REVOKED"


def owned(state: bytes) -> object:
    """Money, keys and orders of a state."""
    parts = json.loads(state)
    return parts["cells"], parts["accounts"], parts["markets"]


def test_orders_of_a_revoked_key_stay_unless_asked(account: Account) -> None:
    assert account.register(NEW, TRADE) == "NONE"
    account.do(account.order(NEW))
    account.do(account.order())
    book = account.world.exchange.accounts.by_key[account.trader.account_key].open_orders
    account.revoke(NEW)
    assert len(book) == 2
    outcome = account.world.do(RevokeKey(*account.head(None), NEW, 1))
    assert not book
    assert [type(event) for event in outcome.events if isinstance(event, OrderClosed)]
    assert len(outcome.items) == 2


def test_the_last_full_key_stays(account: Account) -> None:
    own = account.trader.public_key
    assert account.revoke(own) == "LAST_FULL_KEY"
    assert account.register(NEW, MANAGE_KEYS | READ) == "NONE"
    assert account.register(OTHER, 0, account.world.time_ns + HOUR_NS) == "NONE"
    assert account.revoke(own) == "LAST_FULL_KEY", "neither is full for good"
    assert account.register(THIRD) == "NONE"
    assert account.revoke(own) == "NONE"
    assert account.revoke(THIRD, by=THIRD) == "LAST_FULL_KEY"


def test_keys_are_bounded(account: Account) -> None:
    made = 0
    while account.register(public_key(1_000 + made), TRADE) == "NONE":
        made += 1
    assert made == 15
    # Revoked ones count for good, so that the state stays small.
    while account.revoke(public_key(1_000 + made - 1)) == "NONE":
        if account.register(public_key(1_000 + made), TRADE) != "NONE":
            break
        made += 1
    assert made == 255


def test_a_snapshot_holds_the_keys(account: Account) -> None:
    account.register(NEW, TRADE, account.world.time_ns + HOUR_NS)
    account.register(OTHER, READ)
    account.revoke(OTHER)
    state = encode_state(account.world.exchange)
    again = decode_state(state)
    assert encode_state(again) == state
    account.world.exchange = again
    assert account.do(account.order(OTHER)) == "KEY_REVOKED"
    assert account.do(account.transfer(NEW)) == "KEY_LACKS_SCOPE"
    account.world.time_ns += HOUR_NS
    assert account.do(account.order(NEW)) == "KEY_EXPIRED"


def test_full_keys_alone_are_a_state_of_version_1(account: Account) -> None:
    account.register(NEW)
    state = encode_state(account.world.exchange)
    assert json.loads(state)["version"] == 1
    assert encode_state(decode_state(state)) == state
    account.register(OTHER, READ)
    assert json.loads(encode_state(account.world.exchange))["version"] == 2


def test_an_old_registration_means_what_it_meant(account: Account) -> None:
    """Version 1 of the command had no limits; its events are what they were."""
    now = RegisterKey(*account.head(None), NEW)
    data = encode_command(now)
    assert data[:2] == bytes((2, 2))
    old = decode_command(bytes((2, 1)) + data[2:-20])
    assert old == now
    outcome = account.world.do(old)
    assert outcome.events == [KeyRegistered(account.trader.account_key, NEW)]
    assert account.world.exchange.accounts.by_public_key[NEW].is_full


def test_limits_and_revocations_are_events(account: Account) -> None:
    key, expire_ns = account.trader.account_key, account.world.time_ns + HOUR_NS
    outcome = account.world.do(RegisterKey(*account.head(None), NEW, READ, expire_ns, "bot"))
    limited = KeyLimited(key, NEW, READ, expire_ns, "bot")
    assert outcome.events == [KeyRegistered(key, NEW), limited]
    outcome = account.world.do(RevokeKey(*account.head(None), NEW, 0))
    assert outcome.events == [KeyRevoked(key, NEW)]


def test_a_label_has_no_control_characters(account: Account) -> None:
    def label(text: str) -> str:
        return account.do(RegisterKey(*account.head(None), NEW, 0, 0, text))

    odd = [*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F]
    odd += [*range(0x2028, 0x202F), *range(0x2066, 0x206A)]
    for point in odd:
        assert label(f"bot{chr(point)}") == "FIELD_INVALID", hex(point)
    # Whatever stands beside them is text: any script, emoji that are joined.
    for point in (0x20, 0x7E, 0xA0, 0x61B, 0x61D, 0x200D, 0x2010, 0x2027, 0x202F, 0x2065, 0x206A):
        assert label(f"bot{chr(point)}") in ("NONE", "KEY_ALREADY_REGISTERED"), hex(point)
    assert label("market maker, Zürich") == "KEY_ALREADY_REGISTERED"
