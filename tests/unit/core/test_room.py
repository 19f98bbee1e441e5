"""What an account and a pool have room for: the last one that fits, and the first that does not."""

from __future__ import annotations

from dexcore.items import Item
from dexcore.limits import (
    OPEN_ORDERS_PER_ACCOUNT_MAX,
    POOL_BOUNDS_MAX,
    POOL_POSITIONS_MAX,
    POOL_POSITIONS_PER_ACCOUNT_MAX,
)
from dexcore.pool_commands import AddLiquidity, CreatePool
from dexcore.reasons import Reason
from dexcore.results import Outcome
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SECOND_NS,
    SELL,
    Trader,
    WithTerms,
    World,
    cancel,
    place,
    small_world,
    with_terms,
)
from tests.unit.core.pool_maker import CONCENTRATED, MIDDLE_TICK, MIDDLE_TICKS

ITEMS_PER_COMMAND = 1_000
HUNDRED = POOL_POSITIONS_PER_ACCOUNT_MAX
# Bounds of this pool lie so many ticks apart; the price is close to one of them.
STEP, CENTRE = 60, MIDDLE_TICK


def test_an_account_has_room_for_so_many_open_orders() -> None:
    world = small_world()
    trader, other = world.traders[:2]
    for _ in range(OPEN_ORDERS_PER_ACCOUNT_MAX // ITEMS_PER_COMMAND):
        full = world.order(trader, *[place(BUY, 50, 1)] * ITEMS_PER_COMMAND)
        assert {result.reason for result in full.items} == {Reason.NONE}
    # A plain order and one with terms come in by different ways.
    ways: list[Item | WithTerms] = [
        place(BUY, 50, 1),
        with_terms(place(BUY, 50, 2), display_lots=1),
    ]
    for item in ways:
        (refused,) = world.order(trader, item).items
        assert refused.reason == Reason.TOO_MANY_OPEN_ORDERS, "an order that has no room is open"
    (taken,) = world.order(other, ways[0]).items
    assert not taken.reason, "another account is as full"
    key = full.items[0].order_key
    for item in ways:
        gone, one, another = world.order(trader, cancel(key), item, item).items
        assert (gone.reason, one.reason) == (Reason.NONE, Reason.NONE)
        assert another.reason == Reason.TOO_MANY_OPEN_ORDERS
        key = one.order_key
    # What an order of the full account met is no longer open, and leaves its room.
    (sold,) = world.order(other, place(SELL, 50, 1)).items
    assert sold.filled_lots == 1
    one, another = world.order(trader, ways[0], ways[0]).items
    assert (one.reason, another.reason) == (Reason.NONE, Reason.TOO_MANY_OPEN_ORDERS)


class Pool:
    """A concentrated pool, and who provides it with what is next to nothing."""

    def __init__(self) -> None:
        self.world: World = small_world()
        self.world.do(CreatePool(OPERATOR, 0, CONCENTRATED, 3_000, MIDDLE_TICKS))
        self.nonce = 0

    def add(self, trader: Trader, lower_tick: int, upper_tick: int) -> Outcome:
        """Provide a pool between two ticks."""
        self.nonce += 1
        expire_ns = self.world.time_ns + SECOND_NS
        digest = self.nonce.to_bytes(16, "big")
        head = (trader.account_key, 10**6 + self.nonce, expire_ns, digest, trader.public_key)
        return self.world.do(AddLiquidity(*head, 0, lower_tick, upper_tick, 1_000, 1_000, 0, 0))

    def fill(self, trader: Trader, ranges: list[tuple[int, int]]) -> None:
        """Provide each of these, all of which must be taken."""
        for lower_tick, upper_tick in ranges:
            outcome = self.add(trader, lower_tick, upper_tick)
            assert not outcome.reason, (outcome.reason, lower_tick, upper_tick)


def ranges_of(bounds: int) -> list[tuple[int, int]]:
    """Ranges around the middle, out of so many bounds above it and as many below."""
    below = [CENTRE - n * STEP for n in range(1, bounds + 1)]
    above = [CENTRE + n * STEP for n in range(1, bounds + 1)]
    return [(lower, upper) for lower in below for upper in above]


def test_an_account_has_room_for_so_many_positions_in_a_pool() -> None:
    pool = Pool()
    trader, other = pool.world.traders[:2]
    *ranges, one_more = ranges_of(11)[: HUNDRED + 1]
    pool.fill(trader, ranges)
    refused = pool.add(trader, *one_more)
    assert refused.reason == Reason.TOO_MANY_POSITIONS, "a position that has no room is there"
    pool.fill(trader, ranges[:1])
    pool.fill(other, [one_more])


def test_a_pool_has_room_for_so_many_positions() -> None:
    pool = Pool()
    ranges = ranges_of(10)
    assert len(ranges) == HUNDRED
    traders = [pool.world.open_account(10**9) for _ in range(POOL_POSITIONS_MAX // HUNDRED)]
    for trader in traders:
        pool.fill(trader, ranges)
    assert pool.add(pool.world.traders[0], *ranges[0]).reason == Reason.TOO_MANY_POSITIONS
    pool.fill(traders[0], ranges[:1])


def test_a_pool_has_room_for_so_many_bounds() -> None:
    pool = Pool()
    # Each around the one before.
    nested = [(CENTRE - n * STEP, CENTRE + n * STEP) for n in range(1, POOL_BOUNDS_MAX // 2 + 1)]
    outermost, *_ = reversed(nested)
    beyond = outermost[0] - STEP, outermost[1] + STEP
    for trader, start in zip(pool.world.traders, range(0, len(nested), HUNDRED), strict=True):
        pool.fill(trader, nested[start : start + HUNDRED])
    newcomer = pool.world.open_account(10**9)
    assert pool.add(newcomer, *beyond).reason == Reason.TOO_MANY_POSITIONS
    assert pool.add(newcomer, beyond[0], outermost[1]).reason == Reason.TOO_MANY_POSITIONS
    # Bounds that are there are everybody's.
    pool.fill(newcomer, [outermost, (outermost[0], nested[0][1])])
