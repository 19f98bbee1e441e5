"""The uncross price and the pairing of queues beside trying every price and every lot."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dexcore.auction import pair, uncross

# (price in increments, lots) of orders; few prices, so that levels meet and gaps appear.
ORDERS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), max_size=8)
SETTINGS = settings(max_examples=200, deadline=None)

Levels = list[tuple[int, int]]


def levels(orders: Levels, increment: int, *, best_is_highest: bool) -> Levels:
    """Orders summed up by price, best first."""
    sums: dict[int, int] = {}
    for price, lots in orders:
        sums[price * increment] = sums.get(price * increment, 0) + lots
    return sorted(sums.items(), reverse=best_is_highest)


def by_every_price(
    bids: Levels, asks: Levels, increment: int, last: int
) -> tuple[int, int, int] | None:
    """The rule as it is written down, one price after the other."""
    if not bids or not asks or max(bids)[0] < min(asks)[0]:
        return None
    tried = []
    for price in range(min(asks)[0], max(bids)[0] + 1, increment):
        demand = sum(lots for ticks, lots in bids if ticks >= price)
        supply = sum(lots for ticks, lots in asks if ticks <= price)
        volume, surplus = min(demand, supply), abs(demand - supply)
        tried.append((volume, surplus, price, demand - supply))
    volume = max(each[0] for each in tried)
    tried = [each for each in tried if each[0] == volume]
    surplus = min(each[1] for each in tried)
    tried = [each for each in tried if each[1] == surplus]
    if last:
        distance = min(abs(each[2] - last) for each in tried)
        tried = [each for each in tried if abs(each[2] - last) == distance]
    _, _, price, over = min(tried, key=lambda each: each[2])
    return price, volume, over


@SETTINGS
@given(ORDERS, ORDERS, st.integers(1, 5), st.integers(0, 160))
def test_the_uncross_price_is_the_one_that_trying_every_price_gives(
    buying: Levels, selling: Levels, increment: int, last: int
) -> None:
    bids = levels(buying, increment, best_is_highest=True)
    asks = levels(selling, increment, best_is_highest=False)
    found = uncross(bids, asks, increment, last)
    assert found == by_every_price(bids, asks, increment, last)


@SETTINGS
@given(ORDERS, ORDERS, st.integers(1, 3), st.integers(0, 100))
def test_an_uncross_leaves_nothing_crossed(
    buying: Levels, selling: Levels, increment: int, last: int
) -> None:
    bids = levels(buying, increment, best_is_highest=True)
    asks = levels(selling, increment, best_is_highest=False)
    found = uncross(bids, asks, increment, last)
    if found is None:
        return
    price, lots, _ = found
    trades = pair([(bid, bid[1]) for bid in bids], [(ask, ask[1]) for ask in asks], lots)
    assert all(ask[0] <= price <= bid[0] for bid, ask, _ in trades)
    left_bids = dict(bids)
    left_asks = dict(asks)
    for bid, ask, traded in trades:
        left_bids[bid[0]] -= traded
        left_asks[ask[0]] -= traded
    open_bids = [ticks for ticks, left in left_bids.items() if left]
    open_asks = [ticks for ticks, left in left_asks.items() if left]
    assert max(open_bids, default=0) < min(open_asks, default=1 << 62)


@SETTINGS
@given(st.lists(st.integers(1, 6), max_size=6), st.lists(st.integers(1, 6), max_size=6), st.data())
def test_queues_are_paired_lot_by_lot_from_their_fronts(
    buying: list[int], selling: list[int], data: st.DataObject
) -> None:
    lots = data.draw(st.integers(0, min(sum(buying), sum(selling))))
    buyer_of_lot = [who for who, each in enumerate(buying) for _ in range(each)][:lots]
    seller_of_lot = [who for who, each in enumerate(selling) for _ in range(each)][:lots]
    trades = pair(list(enumerate(buying)), list(enumerate(selling)), lots)
    met = [(buyer, seller) for buyer, seller, each in trades for _ in range(each)]
    assert met == list(zip(buyer_of_lot, seller_of_lot, strict=True))
    assert len({(buyer, seller) for buyer, seller, _ in trades}) == len(trades)


def test_a_wide_auction_costs_levels_and_not_ticks() -> None:
    """Trying every tick of this one would not end before the test's limit."""
    assert uncross([(10**12, 5)], [(1, 5)], 1, 4 * 10**11) == (4 * 10**11, 5, 0)


def test_surplus_decides_before_the_last_price() -> None:
    # 10 lots trade from 100 to 102; only at 102 nobody is left over.
    bids = [(102, 10), (101, 5)]
    asks = [(100, 10)]
    assert uncross(bids, asks, 1, 100) == (102, 10, 0)
