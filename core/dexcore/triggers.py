"""Parked stops of one market: which of them a step's trades trigger.

Theory of operation: a plain stop stands in its side's list by trigger, so a step looks at what it
triggers alone, and at that once. Trailing stops that have seen the same extreme price, their mark,
are a group: a new extreme moves whole groups instead of each order, and of a group the least trail
triggers first. Sells are kept with all prices negated, so one piece of code serves both: a buy
stop triggers at its trigger or above, and a trailing buy follows the lowest price down.
"""

from __future__ import annotations

from typing import final

from sortedcontainers import SortedDict, SortedList

from dexcore.book import BUY
from dexcore.invariant import check


@final
class _Group:
    """Trailing stops of one mark, as (trail, key)."""

    __slots__ = ("mark", "stops")

    def __init__(self, mark: int) -> None:
        self.mark = mark
        self.stops: SortedList[tuple[int, int]] = SortedList()


@final
class _Side:
    """The stops of one side, in prices that grow toward the trigger."""

    __slots__ = ("groups", "plain", "sign", "trailing", "triggers")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        # By key: the trigger; and in order of triggers: (trigger, key).
        self.plain: dict[int, int] = {}
        self.triggers: SortedList[tuple[int, int]] = SortedList()
        # By key: group and trail; and the groups by mark.
        self.trailing: dict[int, tuple[_Group, int]] = {}
        self.groups: SortedDict[int, _Group] = SortedDict()

    def reached(self, price: int, after: int | None) -> list[int]:
        """Keys of plain stops that trigger at this price, and not yet at the one before."""
        least = None if after is None else (after + 1, 0)
        return [key for _, key in self.triggers.irange(least, (price + 1, 0))]

    def freeze(self, price: int) -> list[int]:
        """Make plain stops of the trailing ones that trigger at this price; their keys."""
        reached = []
        for mark, group in self.groups.items():
            for trail, key in group.stops:
                if mark + trail > price:
                    break
                reached.append((key, mark + trail))
        for key, trigger in reached:
            self.remove(key)
            self.add(key, trigger)
        return [key for key, _ in reached]

    def add(self, key: int, trigger: int) -> None:
        self.plain[key] = trigger
        self.triggers.add((trigger, key))

    def move_marks(self, price: int) -> None:
        """Move every mark above the price there."""
        groups = self.groups
        while groups and groups.peekitem()[0] > price:
            _, moved = groups.popitem()
            known = groups.get(price)
            # The larger group stays as it is: in a trend the same moves again and again.
            if known is not None and len(known.stops) > len(moved.stops):
                known, moved = moved, known
            moved.mark = price
            groups[price] = moved
            if known is not None:
                for trail, key in known.stops:
                    self.trailing[key] = (moved, trail)
                moved.stops.update(known.stops)

    def remove(self, key: int) -> None:
        trigger = self.plain.pop(key, None)
        if trigger is not None:
            self.triggers.remove((trigger, key))
            return
        group, trail = self.trailing.pop(key)
        group.stops.remove((trail, key))
        if not group.stops:
            del self.groups[group.mark]


@final
class Triggers:
    """All parked stops of a market, by order key. Prices are in ticks."""

    __slots__ = ("_buys", "_sells", "_sides")

    def __init__(self) -> None:
        self._buys = _Side(1)
        self._sells = _Side(-1)
        self._sides: dict[int, _Side] = {}

    def __len__(self) -> int:
        return len(self._sides)

    def add(self, key: int, side: int, trigger_price_ticks: int) -> None:
        """Park a stop: a buy waits for this price or above, a sell for it or below."""
        kept = self._new(key, side)
        kept.add(key, kept.sign * trigger_price_ticks)

    def add_trailing(self, key: int, side: int, trail_ticks: int, mark_ticks: int) -> None:
        """Park a stop whose trigger follows the price; the mark is the best price it has seen."""
        kept = self._new(key, side)
        mark = kept.sign * mark_ticks
        group = kept.groups.get(mark)
        if group is None:
            group = kept.groups[mark] = _Group(mark)
        group.stops.add((trail_ticks, key))
        kept.trailing[key] = (group, trail_ticks)

    def remove(self, key: int) -> None:
        """Forget a parked stop."""
        self._sides.pop(key).remove(key)

    def mark_ticks(self, key: int) -> int:
        """The highest (sell) or lowest (buy) price a stop that trails has seen; zero of others."""
        kept = self._sides[key]
        trails = kept.trailing.get(key)
        return 0 if trails is None else kept.sign * trails[0].mark

    def plain_ticks(self, key: int) -> int:
        """The trigger of a parked stop that does not move; zero of one that trails."""
        kept = self._sides[key]
        return kept.sign * kept.plain.get(key, 0)

    def trigger_price_ticks(self, key: int) -> int:
        """The price at which a parked stop triggers now; not positive while it cannot."""
        kept = self._sides[key]
        trigger = kept.plain.get(key)
        if trigger is None:
            group, trail = kept.trailing[key]
            trigger = group.mark + trail
        return kept.sign * trigger

    def freeze(self, high_ticks: int, low_ticks: int) -> list[int]:
        """Let trailing stops trail no more that a step's highest and lowest price reach."""
        return self._buys.freeze(high_ticks) + self._sells.freeze(-low_ticks)

    def reached(
        self, high_ticks: int, low_ticks: int, before_high_ticks: int, before_low_ticks: int
    ) -> list[int]:
        """Keys of all that do not trail and that a range of prices reaches.

        Without those that the range before, zero for none, had reached.
        """
        buys = self._buys.reached(high_ticks, before_high_ticks or None)
        sells = self._sells.reached(-low_ticks, -before_low_ticks if before_low_ticks else None)
        return buys + sells

    def move_marks(self, high_ticks: int, low_ticks: int) -> None:
        """Let trailing stops see a step's highest and lowest trade price."""
        self._buys.move_marks(low_ticks)
        self._sells.move_marks(-high_ticks)

    def _new(self, key: int, side: int) -> _Side:
        check(key not in self._sides, "a stop is parked twice")
        kept = self._sides[key] = self._buys if side == BUY else self._sells
        return kept
