"""The mirror against hand-made books, and against a naive book fed with random streams."""

from __future__ import annotations

import os
import random

from dexnode.recorded.mirror import MirrorBook
from dexsdk import Amend, Cancel, NewOrder, Side, TimeInForce
from dexsdk.types import BatchAction

M = "REPLAY.BTC-REPLAY.USDT"
SEED = int(os.environ.get("MIRROR_SEED", "7"))


def rest(side: Side, price: int, lots: int, number: int) -> NewOrder:
    return NewOrder(M, side, lots, price, post_only=True, client_order_id=number)


def test_levels_are_placed_amended_and_cancelled() -> None:
    book = MirrorBook(M)
    assert book.update([(99, 5)], [(101, 7), (102, 1)]) == [
        rest(Side.BUY, 99, 5, 1),
        rest(Side.SELL, 101, 7, 2),
        rest(Side.SELL, 102, 1, 3),
    ]
    assert book.update([(99, 6), (98, 0)], [(101, 7), (102, 0)]) == [
        Cancel(client_order_id=3),
        Amend(client_order_id=1, quantity_lots=6),
    ]
    assert list(book.levels(Side.BUY)) == [(99, 6)]
    assert list(book.levels(Side.SELL)) == [(101, 7)]


def test_an_amend_counts_what_is_filled() -> None:
    book = MirrorBook(M)
    book.update([], [(101, 7)])
    assert book.make_room(Side.BUY, 101, 3) == ([], None)
    taker = book.take(Side.BUY, 101, 3)
    assert taker == NewOrder(M, Side.BUY, 3, 101, time_in_force=TimeInForce.IOC)
    assert book.update([], [(101, 4)]) == []
    assert book.update([], [(101, 9)]) == [Amend(client_order_id=1, quantity_lots=12)]


def test_missing_liquidity_is_made_up_at_the_trade_and_stale_bids_go_first() -> None:
    book = MirrorBook(M)
    book.update([(99, 5), (102, 1)], [(103, 2)])
    cancels, synthetic = book.make_room(Side.BUY, 102, 4)
    assert cancels == [Cancel(client_order_id=2)]
    assert synthetic == rest(Side.SELL, 102, 4, 4)
    book.take(Side.BUY, 102, 4)
    assert (list(book.levels(Side.BUY)), list(book.levels(Side.SELL))) == ([(99, 5)], [(103, 2)])
    assert book.stale_count == 1


def test_better_prices_count_as_liquidity() -> None:
    book = MirrorBook(M)
    book.update([(99, 5), (98, 5)], [])
    assert book.make_room(Side.SELL, 98, 10) == ([], None)
    _, synthetic = book.make_room(Side.SELL, 98, 12)
    assert synthetic == rest(Side.BUY, 98, 2, 3)


def test_a_new_level_clears_the_stale_other_side() -> None:
    book = MirrorBook(M)
    book.update([], [(100, 1), (101, 1), (102, 1)])
    assert book.update([(101, 3)], []) == [
        Cancel(client_order_id=1),
        Cancel(client_order_id=2),
        rest(Side.BUY, 101, 3, 4),
    ]


def test_what_leaves_makes_room_within_one_update() -> None:
    book = MirrorBook(M)
    book.update([], [(100, 1)])
    assert book.update([(100, 2)], [(100, 0)]) == [
        Cancel(client_order_id=1),
        rest(Side.BUY, 100, 2, 2),
    ]
    assert book.stale_count == 0


def test_a_refused_order_is_forgotten() -> None:
    book = MirrorBook(M)
    book.update([(99, 5)], [])
    book.forget(1)
    book.forget(1)
    assert list(book.levels(Side.BUY)) == []
    assert book.update([(99, 0)], []) == []


class NaiveBook:
    """Orders in one list, worked through by price and age; imports no rule of the product."""

    def __init__(self) -> None:
        self.orders: list[list[int]] = []  # side, price, open, number, filled

    def apply(self, action: BatchAction) -> int:
        """Carries an action out; returns the lots a taker filled."""
        if isinstance(action, Cancel):
            (found,) = (each for each in self.orders if each[3] == action.client_order_id)
            self.orders.remove(found)
        elif isinstance(action, Amend):
            (found,) = (each for each in self.orders if each[3] == action.client_order_id)
            found[2] = action.quantity_lots - found[4]
            assert found[2] > 0
        elif isinstance(action, NewOrder):
            return self._new(action)
        return 0

    def _new(self, order: NewOrder) -> int:
        sign = 1 if order.side == Side.BUY else -1
        crossed = sorted(
            (each for each in self.orders if each[0] != order.side),
            key=lambda each: (sign * each[1], each[3]),
        )
        left = order.quantity_lots
        for each in crossed:
            if sign * each[1] > sign * order.price_ticks or not left:
                break
            assert not order.post_only, "a resting order would have taken"
            lots = min(left, each[2])
            left -= lots
            each[2] -= lots
            each[4] += lots
        self.orders = [each for each in self.orders if each[2]]
        if order.life == TimeInForce.GTC:
            terms = [order.side, order.price_ticks, left, order.client_order_id, 0]
            self.orders.append(terms)
        return order.quantity_lots - left

    def levels(self, side: Side) -> list[tuple[int, int]]:
        sign = -1 if side == Side.BUY else 1
        own = [(each[1], each[2]) for each in self.orders if each[0] == side]
        return sorted(own, key=lambda level: sign * level[0])


def test_random_streams_keep_mirror_and_book_equal() -> None:
    print(f"seed {SEED}: MIRROR_SEED={SEED} pytest {__file__}")
    chance = random.Random(SEED)
    mirror, book = MirrorBook(M), NaiveBook()
    synthetic_count = 0
    for _ in range(3_000):
        middle = 100 + chance.randrange(-4, 5)
        if chance.randrange(3):
            bids = [(middle - chance.randrange(1, 8), chance.randrange(6)) for _ in range(3)]
            asks = [(middle + chance.randrange(1, 8), chance.randrange(6)) for _ in range(3)]
            for action in mirror.update(dict(bids).items(), dict(asks).items()):
                book.apply(action)
        else:
            terms = (
                chance.choice((Side.BUY, Side.SELL)),
                middle + chance.randrange(-3, 4),
                chance.randrange(1, 12),
            )
            cancels, synthetic = mirror.make_room(*terms)
            for cancel in cancels:
                book.apply(cancel)
            if synthetic is not None:
                synthetic_count += 1
                assert book.apply(synthetic) == 0
            assert book.apply(mirror.take(*terms)) == terms[2], "every trade fills in full"
        for side in Side:
            assert list(mirror.levels(side)) == book.levels(side)
    assert synthetic_count > 0
    assert mirror.stale_count > 0
