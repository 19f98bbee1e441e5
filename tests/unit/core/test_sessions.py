"""Sessions: numbered orders of one key, a running hash that is signed for, an end at faults."""

from __future__ import annotations

import pytest

from dexcore.accounts import MANAGE_KEYS, READ
from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import (
    RegisterKey,
    RevokeKey,
    decode_command,
    encode_command,
)
from dexcore.events import SessionCountersigned, SessionEnded, SessionOpened
from dexcore.exchange import Exchange
from dexcore.limits import (
    SESSION_UNSIGNED_NS_MAX,
    SESSION_UNSIGNED_ORDERS_MAX,
    SESSIONS_PER_ACCOUNT_MAX,
)
from dexcore.reasons import Reason
from dexcore.session_commands import EndSession
from tests.unit.core.exchanges import (
    BUY,
    Trader,
    World,
    place,
    public_key,
    small_world,
)
from tests.unit.core.session_maker import SessionMaker, hash_of


@pytest.fixture
def world() -> World:
    return small_world(2)


@pytest.fixture
def session(world: World) -> SessionMaker:
    made = SessionMaker(world, world.traders[0])
    assert made.open().reason == Reason.NONE
    return made


def open_orders(session: SessionMaker) -> int:
    account = session.world.exchange.accounts.by_key[session.trader.account_key]
    return len(account.open_orders)


def ended(world: World) -> list[SessionEnded]:
    return [
        event
        for outcome in world.outcomes
        for event in outcome.events
        if isinstance(event, SessionEnded)
    ]


def test_orders_of_a_session_are_orders(session: SessionMaker) -> None:
    world = session.world
    opened = world.outcomes[-1].events[0]
    assert opened == SessionOpened(session.key, session.trader.account_key, world.traders[0][1])
    outcome = session.order(place(BUY, 90, 5), place(BUY, 91, 5))
    assert [item.reason for item in outcome.items] == [0, 0]
    assert open_orders(session) == 2
    assert session.countersign().events == [SessionCountersigned(session.key, 1)]
    session.order()
    session.order()
    assert session.countersign().events == [SessionCountersigned(session.key, 3)]
    assert session.end().events == [SessionEnded(session.key, 0)]


@pytest.mark.parametrize("step", [-1, 0, 2])
def test_a_session_ends_at_the_first_order_out_of_turn(session: SessionMaker, step: int) -> None:
    """Sent again, moved, or with one missing before it."""
    session.order()
    session.order()
    command = session.orders()
    outcome = session.world.do(command._replace(order_number=command.order_number - 1 + step))
    assert outcome.reason == Reason.SESSION_OUT_OF_ORDER
    assert outcome.events[0] == SessionEnded(session.key, Reason.SESSION_OUT_OF_ORDER)
    assert open_orders(session) == 2, "what was placed does not stand"
    assert session.world.do(command).reason == Reason.UNKNOWN_SESSION
    assert open_orders(session) == 2, "an order counts twice"


def test_an_order_of_another_session_is_refused_and_ends_neither(session: SessionMaker) -> None:
    """Of another key's, too: a session answers for its own key alone."""
    world = session.world
    other = SessionMaker(world, world.traders[1], nonce=20_000)
    other.open()
    command = other.orders()._replace(session_key=session.key)
    assert world.do(command).reason == Reason.UNKNOWN_SESSION
    assert not ended(world)
    assert session.order().reason == Reason.NONE


def test_no_order_comes_after_the_end(session: SessionMaker) -> None:
    session.order()
    session.end()
    assert session.order().reason == Reason.UNKNOWN_SESSION
    assert session.countersign().reason == Reason.UNKNOWN_SESSION
    assert session.end().reason == Reason.UNKNOWN_SESSION
    assert open_orders(session) == 1


def test_a_session_ends_with_its_key(session: SessionMaker) -> None:
    """Its own key alone, and for whatever is behind the revocation."""
    world, trader = session.world, session.trader
    bot = public_key(77)
    world.do(RegisterKey(*session.head(), bot, 0, 0, ""))
    of_bot = SessionMaker(world, Trader(trader.account_key, bot), nonce=30_000)
    of_bot.open()
    of_bot.order()
    outcome = world.do(RevokeKey(*session.head(), bot, 0))
    assert SessionEnded(of_bot.key, Reason.KEY_REVOKED) in outcome.events
    assert of_bot.order().reason == Reason.KEY_REVOKED
    assert of_bot.countersign().reason == Reason.KEY_REVOKED
    assert session.order().reason == Reason.NONE


def test_a_key_without_the_scope_opens_no_session(world: World) -> None:
    trader = world.traders[0]
    reader = public_key(78)
    owner = SessionMaker(world, trader)
    world.do(RegisterKey(*owner.head(), reader, READ | MANAGE_KEYS, 0, ""))
    of_reader = SessionMaker(world, Trader(trader.account_key, reader), nonce=30_000)
    assert of_reader.open().reason == Reason.KEY_LACKS_SCOPE


def test_an_expired_key_trades_no_more(world: World) -> None:
    trader = world.traders[0]
    brief = public_key(79)
    owner = SessionMaker(world, trader)
    world.do(RegisterKey(*owner.head(), brief, 0, world.time_ns + 10, ""))
    of_brief = SessionMaker(world, Trader(trader.account_key, brief), nonce=30_000)
    of_brief.open()
    assert of_brief.order().reason == Reason.NONE
    world.time_ns += 10
    assert of_brief.order().reason == Reason.KEY_EXPIRED


def test_what_is_unsigned_for_too_long_ends_the_session(session: SessionMaker) -> None:
    world = session.world
    session.order()
    world.time_ns += SESSION_UNSIGNED_NS_MAX
    assert session.order().reason == Reason.NONE, "the bound itself is kept"
    session.countersign()
    # The time counts from the first order that nobody has signed for.
    world.time_ns += 100 * SESSION_UNSIGNED_NS_MAX
    session.order()
    world.time_ns += SESSION_UNSIGNED_NS_MAX + 1
    outcome = session.order()
    assert outcome.reason == Reason.SESSION_UNSIGNED, "nobody signs for it and it goes on"
    assert outcome.events[0] == SessionEnded(session.key, Reason.SESSION_UNSIGNED)
    assert open_orders(session) == 3, "what was placed does not stand"


def test_so_many_orders_wait_for_a_countersignature_and_no_more(session: SessionMaker) -> None:
    skipped = b"".join(hash_of(bytes([n & 255])) for n in range(SESSION_UNSIGNED_ORDERS_MAX - 1))
    assert session.order(skipped=skipped).reason == Reason.NONE
    session.countersign()
    assert session.order(skipped=skipped).reason == Reason.NONE
    assert session.order().reason == Reason.SESSION_UNSIGNED, "nobody signs for it and it goes on"


@pytest.mark.parametrize("change", ["hash", "number"])
def test_a_countersignature_is_over_what_was_sent(session: SessionMaker, change: str) -> None:
    session.order()
    session.order()
    good = session.signature()
    bad = {
        "hash": good._replace(running_hash=hash_of(good.running_hash)),
        "number": good._replace(order_number=1),
    }
    outcome = session.world.do(bad[change])
    assert outcome.reason == Reason.SESSION_HASH_MISMATCH, "anything is taken for a signature"
    assert ended(session.world) == [SessionEnded(session.key, Reason.SESSION_HASH_MISMATCH)]
    assert open_orders(session) == 2


def test_what_the_node_refused_by_itself_counts_as_sent(session: SessionMaker) -> None:
    session.order()
    assert session.order(skipped=hash_of(b"2") + hash_of(b"3")).reason == Reason.NONE
    assert session.number == 4
    assert session.countersign(skipped=hash_of(b"5")).events == [
        SessionCountersigned(session.key, 5)
    ]


def test_a_payload_counts_once_whatever_it_came_in(session: SessionMaker) -> None:
    """In a session, in the next one, and under a signature of its own."""
    world = session.world
    first = session.orders()
    placed = world.do(first)
    session.end()
    again = SessionMaker(world, session.trader, nonce=20_000)
    again.open()
    repeated = world.do(first._replace(session_key=again.key, order_number=1))
    assert (repeated.repeated, repeated.items) == (True, placed.items)
    assert world.do(first.orders).repeated
    assert open_orders(session) == 1, "an order counts twice"


def test_an_account_has_so_many_sessions(world: World) -> None:
    makers = [
        SessionMaker(world, world.traders[0], nonce=1_000 * (n + 1))
        for n in range(SESSIONS_PER_ACCOUNT_MAX + 1)
    ]
    assert [maker.open().reason for maker in makers[:-1]] == [0] * SESSIONS_PER_ACCOUNT_MAX
    assert makers[-1].open().reason == Reason.TOO_MANY_SESSIONS
    assert SessionMaker(world, world.traders[1], nonce=90_000).open().reason == Reason.NONE
    makers[0].end()
    makers[-1].nonce += 10
    assert makers[-1].open().reason == Reason.NONE


def test_an_opening_counts_once(session: SessionMaker) -> None:
    command = session.world.journal[-1][2]
    outcome = session.world.do(command)
    assert outcome.repeated
    assert list(session.world.exchange.sessions.by_key) == [session.key]


def test_sessions_outlive_a_snapshot(session: SessionMaker) -> None:
    """A replay from one goes on as the exchange did: number, hash and time are state."""
    world = session.world
    session.order()
    session.countersign()
    session.order()
    copy = decode_state(encode_state(world.exchange))
    assert encode_state(copy) == encode_state(world.exchange)
    restored = World(copy)
    restored.traders = world.traders
    session.world = restored
    restored.time_ns += SESSION_UNSIGNED_NS_MAX
    assert session.order().reason == Reason.NONE
    assert session.countersign().reason == Reason.NONE
    session.order()
    restored.time_ns += SESSION_UNSIGNED_NS_MAX + 1
    assert session.order().reason == Reason.SESSION_UNSIGNED
    assert "sessions" not in encode_state(copy).decode()


def test_a_replay_of_sessions_gives_the_same_events(session: SessionMaker) -> None:
    world = session.world
    session.order()
    session.countersign()
    session.order(skipped=hash_of(b"refused"))
    session.world.do(session.signature()._replace(order_number=9))
    session.order()
    again = Exchange()
    for sequence, time_ns, command in world.journal:
        again.apply(sequence, time_ns, decode_command(encode_command(command)))
    assert again.event_hash == world.exchange.event_hash
    assert encode_state(again) == encode_state(world.exchange)


def test_an_end_of_no_session_changes_nothing(world: World) -> None:
    assert world.do(EndSession(4_096, 0)).reason == Reason.UNKNOWN_SESSION
