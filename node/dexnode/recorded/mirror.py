"""Our book as the replay knows it: what rests there, and what brings it to the recorded state.

Theory of operation: one liquidity account holds at most one order per price, so a level's size
is changed by placing, amending or cancelling that one order. One taker account takes. Nobody else
trades in the market, so the mirror knows every fill before the node reports it, and the replay
need not wait for answers. A recorded book is never crossed; where an update or a trade shows that
an order of ours could not have been there, the order is stale and goes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import final

from sortedcontainers import SortedDict

from dexsdk import Amend, Cancel, NewOrder, Side, TimeInForce
from dexsdk.types import BatchAction


@final
class Order:
    """A resting order of the liquidity account."""

    __slots__ = ("client_order_id", "filled_lots", "open_lots")

    def __init__(self, client_order_id: int, open_lots: int) -> None:
        self.client_order_id = client_order_id
        self.open_lots = open_lots
        self.filled_lots = 0


@final
class MirrorBook:
    """Both sides of the book of one market."""

    __slots__ = ("_last_id", "_market_id", "_prices", "_sides", "stale_count")

    def __init__(self, market_id: str) -> None:
        self._market_id = market_id
        # Keys are prices times the side's sign, so that both sides are best first.
        self._sides: dict[Side, SortedDict] = {Side.BUY: SortedDict(), Side.SELL: SortedDict()}
        self._prices: dict[int, tuple[Side, int]] = {}
        self._last_id = 0
        self.stale_count = 0

    def levels(self, side: Side) -> Iterator[tuple[int, int]]:
        """(price_ticks, quantity_lots), best first."""
        for key, order in self._sides[side].items():
            yield abs(key), order.open_lots

    def update(
        self, bids: Iterable[tuple[int, int]], asks: Iterable[tuple[int, int]]
    ) -> list[BatchAction]:
        """What makes these levels, (price_ticks, quantity_lots), as large as recorded."""
        changes = [(Side.BUY, *level) for level in bids]
        changes += [(Side.SELL, *level) for level in asks]
        # What left makes room first: a later level may lie where an earlier one was.
        changes.sort(key=lambda change: change[2] != 0)
        actions: list[BatchAction] = []
        for side, price_ticks, quantity_lots in changes:
            actions += self._set(side, price_ticks, quantity_lots)
        return actions

    def make_room(
        self, side: Side, price_ticks: int, quantity_lots: int
    ) -> tuple[list[Cancel], NewOrder | None]:
        """What must be done before a taker of `side` can have that many lots at the price.

        Nothing when the book offers them; else the cancels of what is in the way, and a synthetic
        order at the price for the rest.
        """
        offered = 0
        for price, lots in self.levels(_other(side)):
            if _beyond(side, price, price_ticks):
                break
            offered += lots
        if offered >= quantity_lots:
            return [], None
        maker_side = _other(side)
        # The trade takes all of it at once, so it is never part of the mirror.
        synthetic = NewOrder(
            self._market_id,
            maker_side,
            quantity_lots - offered,
            price_ticks,
            post_only=True,
            client_order_id=self._next_id(),
        )
        return self._clear(maker_side, price_ticks), synthetic

    def take(self, side: Side, price_ticks: int, quantity_lots: int) -> NewOrder:
        """The taker of a trade; what it takes from the book is taken from the mirror."""
        levels = self._sides[_other(side)]
        left = quantity_lots
        while left and levels:
            key, order = levels.peekitem(0)
            if _beyond(side, abs(key), price_ticks):
                break
            lots = min(left, order.open_lots)
            left -= lots
            order.open_lots -= lots
            order.filled_lots += lots
            if not order.open_lots:
                self._drop(order)
        return NewOrder(
            self._market_id,
            side,
            quantity_lots,
            price_ticks,
            time_in_force=TimeInForce.IOC,
        )

    def forget(self, client_order_id: int) -> None:
        """The node refused what we thought rests: it does not."""
        side_and_key = self._prices.get(client_order_id)
        if side_and_key is not None:
            self._drop(self._sides[side_and_key[0]][side_and_key[1]])

    def _set(self, side: Side, price_ticks: int, quantity_lots: int) -> list[BatchAction]:
        key = _key(side, price_ticks)
        order: Order | None = self._sides[side].get(key)
        if not quantity_lots:
            return [] if order is None else [self._cancel(order)]
        actions: list[BatchAction] = [*self._clear(side, price_ticks)]
        if order is None:
            order = Order(self._next_id(), quantity_lots)
            self._sides[side][key] = order
            self._prices[order.client_order_id] = (side, key)
            terms = NewOrder(
                self._market_id,
                side,
                quantity_lots,
                price_ticks,
                post_only=True,
                client_order_id=order.client_order_id,
            )
            return [*actions, terms]
        if order.open_lots != quantity_lots:
            order.open_lots = quantity_lots
            total = order.filled_lots + quantity_lots
            actions.append(Amend(client_order_id=order.client_order_id, quantity_lots=total))
        return actions

    def _clear(self, side: Side, price_ticks: int) -> list[Cancel]:
        """Cancels what an order of `side` at the price would trade with: it is stale."""
        opposite = self._sides[_other(side)]
        actions: list[Cancel] = []
        while opposite and not _beyond(side, abs(opposite.peekitem(0)[0]), price_ticks):
            actions.append(self._cancel(opposite.peekitem(0)[1]))
            self.stale_count += 1
        return actions

    def _cancel(self, order: Order) -> Cancel:
        self._drop(order)
        return Cancel(client_order_id=order.client_order_id)

    def _drop(self, order: Order) -> None:
        side, key = self._prices.pop(order.client_order_id)
        del self._sides[side][key]

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


def _other(side: Side) -> Side:
    return Side.SELL if side == Side.BUY else Side.BUY


def _key(side: Side, price_ticks: int) -> int:
    return -price_ticks if side == Side.BUY else price_ticks


def _beyond(side: Side, price_ticks: int, limit_ticks: int) -> bool:
    """Whether a resting price is worse than an order of `side` accepts."""
    return price_ticks > limit_ticks if side == Side.BUY else price_ticks < limit_ticks
