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
        key = data.draw(st.sampled_from(sorted(self.kept)))
        self.triggers.remove(key)
        del self.kept[key]

    @rule(one=PRICES, other=PRICES)
    def step(self, one: int, other: int) -> None:
        low, high = min(one, other), max(one, other)
        expected = []
        for key in sorted(self.kept):
            side, trigger, _, _ = self.kept[key]
            if trigger > 0 and (trigger <= high if side == BUY else trigger >= low):
                expected.append(key)
        assert self.triggers.reached(high, low) == expected
        for key in expected:
            self.triggers.remove(key)
            del self.kept[key]
        self.triggers.move_marks(high, low)
        for row in self.kept.values():
            if row[2]:
                row[3] = min(row[3], low) if row[0] == BUY else max(row[3], high)

    @invariant()
    def knows_all(self) -> None:
        for key, row in self.kept.items():
            if row[2]:
                row[1] = row[3] + row[2] if row[0] == BUY else row[3] - row[2]
                assert self.triggers.mark_ticks(key) == row[3]
            assert self.triggers.trigger_price_ticks(key) == row[1]
        assert len(self.triggers) == len(self.kept)
        assert self.triggers.trailing_count == sum(1 for row in self.kept.values() if row[2])


TriggersMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestTriggers = TriggersMachine.TestCase
