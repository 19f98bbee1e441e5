"""`python -m tests.bench.worst`: what the dearest commands cost that anybody may send.

One exchange per row, filled until the command meets the bounds of docs/limits.md, and the
milliseconds of CPU of the one command, the least of three where it changes nothing.
docs/performance.md has a table.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from itertools import count

from dexcore.commands import CreateMarket, Deposit, SetMarketLimits
from dexcore.items import FOK, IOC, TYPE_MARKET, TYPE_PEGGED, TYPE_STOP, Item
from dexcore.limits import ICEBERG_PARTS_MAX, POOL_BOUNDS_MAX
from dexcore.pool import PoolKind
from dexcore.pool_commands import AddLiquidity, CreatePool
from dexcore.results import OrderStatus, Outcome
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SELL,
    Trader,
    WithTerms,
    World,
    amend,
    cancel_all,
    place,
    spec,
    with_terms,
)

# Where a pool begins, and the first ask behind its fee of 0.3 %.
MIDDLE_TICKS = 100_000
ASK_TICKS = 100_302
LEVELS = 10_000
BASE_ATOMS = 10**9
_REFERENCES = count()


def world(*, pool: bool = False, traders: int = 8) -> World:
    """A market with a protection band, rich traders, and a pool if wanted."""
    made = World()
    made.do(
        CreateMarket(OPERATOR, spec("AAA", "QQQ", quantity_lots_max=10**9, price_ticks_max=10**7))
    )
    for _ in range(traders):
        rich(made)
    made.do(SetMarketLimits(OPERATOR, 0, 50_000, 0, 0, 0))
    if pool:
        made.do(CreatePool(OPERATOR, 0, PoolKind.CONSTANT_PRODUCT, 3_000, 0))
        owner = made.traders[0]
        head = (owner.account_key, 10**9, made.time_ns + 10**9, bytes(16), owner.public_key)
        quote_atoms = BASE_ATOMS // 1_000 * MIDDLE_TICKS * 7
        made.do(AddLiquidity(*head, 0, 0, 0, BASE_ATOMS, quote_atoms, 0, 0))
    return made


def rich(made: World) -> Trader:
    """Another trader with much of everything."""
    trader = made.open_account()
    for asset_id in ("AAA", "QQQ"):
        reference = str(next(_REFERENCES))
        made.do(Deposit(OPERATOR, trader.account_key, asset_id, 10**16, reference))
    return trader


def rest(made: World, items: list[Item | WithTerms], traders: list[Trader]) -> int:
    """Send items in batches, each of the next trader; how many were taken in."""
    taken = 0
    for number, start in enumerate(range(0, len(items), 500)):
        trader = traders[number % len(traders)]
        results = made.order(trader, *items[start : start + 500]).items
        taken += sum(result.status != OrderStatus.REJECTED for result in results)
    return taken


def ladder(made: World, levels: int = LEVELS) -> None:
    """One lot at each tick."""
    rest(made, [place(SELL, ASK_TICKS + n, 1) for n in range(levels)], made.traders[:4])


def timed(act: Callable[[], Outcome], times: int = 1) -> float:
    """The least milliseconds of so many."""
    took = []
    for _ in range(times):
        gc.collect()
        gc.disable()
        start = time.process_time_ns()
        act()
        took.append(time.process_time_ns() - start)
        gc.enable()
    return min(took) / 1e6


def row(what: str, made: World, *items: Item | WithTerms, times: int = 1) -> Outcome:
    """Time one command of the last trader and print it; its last outcome."""
    trader = made.traders[-1]
    outcomes: list[Outcome] = []

    def act() -> Outcome:
        outcomes.append(made.order(trader, *items))
        return outcomes[-1]

    took = timed(act, times)
    events = len(outcomes[-1].events)
    print(f"{what:62} {took:9.2f} ms {events:8,} events", flush=True)
    return outcomes[-1]


def fill_or_kill() -> None:
    """Refused, since there is not so much; by itself and a hundred times."""
    # More than a thousand levels have, less than they and the pool have alone.
    for pool, lots, why in (
        (False, 10**6, "book"),
        (True, 10**8, "book and pool, far too much"),
        (True, 5_000, "book and pool, within what both have"),
    ):
        made = world(pool=pool)
        ladder(made)
        item = place(BUY, ASK_TICKS + LEVELS, lots, tif=FOK)
        row(f"fill or kill, refused: {why}", made, item, times=3)
        row(f"  100 of them: {why}", made, *[item] * 100)
        row(f"  1,000 of them: {why}", made, *[item] * 1_000)


def takers() -> None:
    """An order that takes as much as one may."""
    for pool in (False, True):
        made = world(pool=pool)
        ladder(made)
        where = "book and pool" if pool else "book"
        item = place(BUY, ASK_TICKS + LEVELS, 10**6, tif=IOC)
        row(f"limit IOC through 10,000 levels: {where}", made, item)
    made = world()
    for _ in range(10):
        ladder(made)
    row("  100 of them, 100,000 orders: book", made, *[item] * 100)
    made = world(pool=True)
    ladder(made)
    market = place(BUY, 0, 2_400, order_type=TYPE_MARKET, tif=FOK)
    row("market fill or kill, filled: book and pool", made, market)
    made = world(traders=12)
    part = with_terms(place(SELL, ASK_TICKS, ICEBERG_PARTS_MAX), display_lots=1)
    rest(made, [part] * 100, made.traders[:4])
    row("limit IOC into 100 icebergs of as many parts as one may have", made, item)


def followers() -> None:
    """Pegged orders of all accounts that may, and a batch that moves the best price each time."""
    made = world(traders=64)
    made.order(made.traders[-1], place(BUY, MIDDLE_TICKS, 1), place(SELL, ASK_TICKS, 10**6))
    peg = with_terms(place(BUY, 2 * MIDDLE_TICKS, 1, order_type=TYPE_PEGGED), peg=1)
    taken = sum(rest(made, [peg] * 20, [trader]) for trader in made.traders[:50])
    items = [place(BUY, MIDDLE_TICKS + 1 + n, 1) for n in range(100)]
    row(f"a new best price, {taken} pegged orders", made, place(BUY, MIDDLE_TICKS, 1), items[0])
    row(f"  100 new best prices, {taken} pegged orders", made, *items[1:])


def stops() -> None:
    """A trade that triggers thousands of stops, each of which changes the best price."""
    for pegs, pool in ((0, False), (50, False), (0, True)):
        made = world(traders=64, pool=pool)
        maker, taker = made.traders[-2:]
        made.order(maker, place(BUY, MIDDLE_TICKS, 1), place(SELL, 3 * MIDDLE_TICKS, 10**6))
        made.order(taker, place(SELL, MIDDLE_TICKS, 1))
        rest(made, [place(BUY, MIDDLE_TICKS - n, 1) for n in range(1, 12_000)], made.traders[:8])
        peg = with_terms(place(BUY, MIDDLE_TICKS, 1, order_type=TYPE_PEGGED), peg=1)
        taken = sum(rest(made, [peg] * 20, [trader]) for trader in made.traders[:pegs])
        stop = place(SELL, 0, 1, order_type=TYPE_STOP)
        item = with_terms(stop, trigger_price_ticks=MIDDLE_TICKS - 1)
        rest(made, [item] * 10_000, made.traders[:8])
        beside = "a pool" if pool else f"{taken} pegged orders"
        name = f"a trade that triggers 10,000 stops, {beside}"
        row(name, made, place(SELL, MIDDLE_TICKS - 1, 1))


def long_stops() -> None:
    """A trade whose stops meet as much as those of one command may."""
    for pool, lots, where in ((False, 999, "book"), (True, 2_900, "book and pool")):
        made = world(pool=pool)
        maker, taker = made.traders[-2:]
        made.order(maker, place(SELL, ASK_TICKS, 1))
        made.order(taker, place(BUY, ASK_TICKS, 10))
        for size in (lots, 10**6):
            stop = place(BUY, 0, size, order_type=TYPE_STOP)
            made.order(made.traders[4], with_terms(stop, trigger_price_ticks=ASK_TICKS + 1))
        ladder(made)
        item = place(BUY, ASK_TICKS + 1, 20, tif=IOC)
        row(f"a trade whose two stops meet what they may: {where}", made, item)


def ranges() -> None:
    """A concentrated pool of as many ranges as one may have, used up by a taker."""
    made = World()
    market = spec("AAA", "QQQ", quantity_lots_max=10**9, price_ticks_max=10**9)
    made.do(CreateMarket(OPERATOR, market))
    made.do(CreatePool(OPERATOR, 0, PoolKind.CONCENTRATED, 100, MIDDLE_TICKS))
    # The pool tick of 700 quote atoms a base atom.
    tick = 65_515
    for number in range(POOL_BOUNDS_MAX - 1):
        if number % 100 == 0:
            provider = rich(made)
        nonce = 10**9 + number
        head = (provider.account_key, nonce, made.time_ns + 10**9, bytes(16), provider.public_key)
        lower = tick + number
        made.do(AddLiquidity(*head, 0, lower, lower + 1, 10**6, 10**12, 0, 0))
    rich(made)
    item = place(BUY, 10**8, 10**8, tif=FOK)
    row("fill or kill, refused: a pool of as many bounds as one may have", made, item, times=3)
    row("  100 of them: a pool of as many bounds as one may have", made, *[item] * 100)
    item = place(BUY, 0, 10**8, order_type=TYPE_MARKET, tif=IOC)
    row("market IOC through a pool of as many bounds as one may have", made, item)


def cancels() -> None:
    """Few orders beside many of strangers, and as many as an account may have."""
    made = world(traders=12)
    for _ in range(10):
        ladder(made)
    own = [place(BUY, MIDDLE_TICKS, 1)] * 10
    made.order(made.traders[-1], *own)
    row("cancel all of 10, beside 100,000 of others", made, cancel_all())
    rest(made, [place(BUY, MIDDLE_TICKS - n, 1) for n in range(20_000)], made.traders[-1:])
    row("  100 that find none, 20,000 open in another market's stead", made, *[_none()] * 100)
    row("cancel all of 20,000", made, cancel_all())


def _none() -> Item:
    """Cancels all sells of an account that only buys."""
    item = cancel_all()
    return (item[0], SELL, *item[2:])


def amends() -> None:
    """An amend that brings an order in again."""
    made = world()
    ladder(made)
    made.order(made.traders[-1], place(BUY, MIDDLE_TICKS, 10**6, client_id=1))
    row("an amend that takes", made, amend(10**6, ASK_TICKS + LEVELS, client_id=1))


def main() -> None:
    """All rows."""
    for part in (fill_or_kill, takers, followers, stops, long_stops, ranges, cancels, amends):
        part()


if __name__ == "__main__":
    main()
