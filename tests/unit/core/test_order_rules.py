"""Orders of version 1 mean what they meant, whatever the numbers have come to mean since."""

from __future__ import annotations

import struct

from dexcore.commands import OrderCommand, SetMarketStatus, decode_command
from dexcore.items import (
    ACTION_CANCEL_ALL,
    ITEM,
    NO_MARKET,
    POST_ONLY,
    TYPE_STOP,
    Item,
)
from dexcore.reasons import Reason
from dexcore.results import OrderStatus, Outcome
from tests.unit.core.exchanges import BUY, OPERATOR, SELL, START_NS, World, place, small_world

# As release 0.1.0 wrote them.
HEAD = struct.Struct("<BBqqq16s32s")
LIFETIME_NS = 60 * 10**9


def old_order(world: World, *items: Item) -> Outcome:
    """Apply items that release 0.1.0 journaled."""
    trader = world.traders[0]
    world.nonce += 1
    head = HEAD.pack(
        *(1, 1, trader.account_key, world.nonce, START_NS + LIFETIME_NS),
        world.nonce.to_bytes(16, "big"),
        trader.public_key,
    )
    command = decode_command(head + b"".join(ITEM.pack(*item) for item in items))
    assert isinstance(command, OrderCommand)
    return world.do(command)


def refusals(outcome: Outcome) -> list[tuple[str, str]]:
    return [(Reason(result.reason).name, result.field) for result in outcome.items]


def test_an_old_type_or_time_in_force_stays_unknown() -> None:
    world = small_world()
    for number in (0, *range(TYPE_STOP, 256)):
        [result] = refusals(old_order(world, place(order_type=number)))
        assert result == ("FIELD_INVALID", "type")
    for number in (0, *range(4, 256)):
        [result] = refusals(old_order(world, place(tif=number)))
        assert result == ("FIELD_INVALID", "time_in_force")


def test_an_old_byte_for_post_only_is_one_flag() -> None:
    world = small_world()
    for byte in (1, 2, 4, 255):
        item = (*place(SELL, 100)[:4], byte, *place(SELL, 100)[5:])
        [result] = old_order(world, item).items
        assert result.status == OrderStatus.OPEN
        order = world.exchange.accounts.by_key[world.traders[0].account_key].open_orders
        assert order[result.order_key].post_only
        assert order[result.order_key].terms is None
    [refused] = refusals(old_order(world, (*place(BUY, 100)[:4], 6, *place(BUY, 100)[5:])))
    assert refused == ("POST_ONLY_WOULD_TAKE", "post_only")


def test_an_old_cancel_all_has_no_side() -> None:
    world = small_world()
    old_order(world, place(BUY, 90), place(SELL, 110))
    cancelled = old_order(world, (ACTION_CANCEL_ALL, BUY, 0, 0, 0, NO_MARKET, 0, 0, 0, 0))
    assert [result.status for result in cancelled.items] == [OrderStatus.CANCELLED] * 2


def test_an_old_trade_leaves_no_last_price() -> None:
    """Their journals have state hashes, which a new field would change."""
    world = small_world()
    old_order(world, place(BUY, 90), place(SELL, 90))
    assert world.exchange.markets[0].trade_sequence == 1
    assert world.exchange.markets[0].last_price_ticks == 0
    world.order(world.traders[1], place(BUY, 91), place(SELL, 91))
    assert world.exchange.markets[0].last_price_ticks == 91


def test_an_old_market_status_stays_unknown() -> None:
    world = small_world()
    for status in (-1, 0, *range(4, 9)):
        operator = struct.pack("<I", len(OPERATOR)) + OPERATOR.encode()
        command = decode_command(bytes((5, 1)) + operator + struct.pack("<qq", 0, status))
        assert command == SetMarketStatus(OPERATOR, 0, 0)
        assert world.do(command).reason == Reason.FIELD_INVALID


def test_terms_are_as_many_as_items_that_have_some() -> None:
    world = small_world()
    trader = world.traders[0]
    item = place(SELL, 100)
    for flags, terms in ((POST_ONLY, bytes(56)), (4, b""), (4, bytes(112))):
        world.nonce += 1
        packed = ITEM.pack(*item[:4], flags, *item[5:])
        expire_ns = START_NS + LIFETIME_NS
        head = (trader.account_key, world.nonce, expire_ns, bytes(16), trader.public_key)
        outcome = world.do(OrderCommand(*head, packed, terms))
        reasons = [outcome.reason, *(result.reason for result in outcome.items)]
        assert Reason.FIELD_INVALID in reasons
