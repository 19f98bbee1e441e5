"""The index of parked stops beside a list that is read from end to end."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dexcore.triggers import Triggers

BUY, SELL = 1, 2
PRICES = st.integers(1, 40)


class TriggersMachine(RuleBasedStateMachine):
    """Parks, forgets and steps both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.triggers = Triggers()
        # key -> [side, trigger, trail, mark]; trail is zero for a plain stop.
        self.kept: dict[int, list[int]] = {}
        self.key = 100
        # Highest and lowest price since some were reached that are kept; zeros for none.
        self.range = (0, 0)

    @rule(side=st.sampled_from([BUY, SELL]), trigger=PRICES, back=st.integers(0, 60))
    def park(self, side: int, trigger: int, back: int) -> None:
        self.key += 1
        key = self.key * 100 - back * 97  # Keys do not come in order: an amend parks an old one.
        if key in self.kept:
            return
        self.triggers.add(key, side, trigger)
        self.kept[key] = [side, trigger, 0, 0]

    @rule(side=st.sampled_from([BUY, SELL]), trail=PRICES, mark=PRICES)
    def park_trailing(self, side: int, trail: int, mark: int) -> None:
        self.key += 1
        self.triggers.add_trailing(self.key * 100, side, trail, mark)
        self.kept[self.key * 100] = [side, 0, trail, mark]

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        self.forget_one(data.draw(st.sampled_from(sorted(self.kept))))

    @rule(one=PRICES, other=PRICES, serve=st.booleans())
    def step(self, one: int, other: int, serve: bool) -> None:
        low, high = min(one, other), max(one, other)
        frozen = [key for key in self.reached(high, low) if self.kept[key][2]]
        assert sorted(self.triggers.freeze(high, low)) == frozen
        for key in frozen:
            self.kept[key][2:] = [0, 0]
        before = self.range
        self.range = max(before[0], high), min(before[1] or low, low)
        known = self.reached(*before) if before[0] else []
        new = [
            key for key in self.reached(*self.range) if not self.kept[key][2] and key not in known
        ]
        assert sorted(self.triggers.reached(*self.range, *before)) == new
        self.triggers.move_marks(high, low)
        for row in self.kept.values():
            if row[2]:
                row[3] = min(row[3], low) if row[0] == BUY else max(row[3], high)
        if serve:
            for key in self.reached(*self.range):
                if not self.kept[key][2]:
                    self.forget_one(key)
            self.range = (0, 0)

    def reached(self, high: int, low: int) -> list[int]:
        return [
            key
            for key, (side, trigger, _, _) in sorted(self.kept.items())
            if trigger > 0 and (trigger <= high if side == BUY else trigger >= low)
        ]

    def forget_one(self, key: int) -> None:
        self.triggers.remove(key)
        del self.kept[key]

    @invariant()
    def knows_all(self) -> None:
        for key, row in self.kept.items():
            if row[2]:
                row[1] = row[3] + row[2] if row[0] == BUY else row[3] - row[2]
            assert self.triggers.mark_ticks(key) == row[3]
            assert self.triggers.plain_ticks(key) == (0 if row[2] else row[1])
            assert self.triggers.trigger_price_ticks(key) == row[1]
        assert len(self.triggers) == len(self.kept)


TriggersMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestTriggers = TriggersMachine.TestCase
