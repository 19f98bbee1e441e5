"""Our own matcher as one of the engines that are measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dexcore.commands import OrderCommand
from dexcore.events import TRADED
from dexcore.funds import NoFunds
from dexcore.items import ITEM
from dexcore.limits import ITEM_INDEX_LIMIT
from dexcore.orders import OrderDesk, carry_out
from dexcore.results import Outcome
from dexcore.steps import begin_command, end_command
from tests.bench.matching.peers import Call, Command
from tests.reference.seeded_market import Record
from tests.unit.core.seeded import MatcherRun, item_of

BATCH_ITEMS: Final = 100


class Triodex:
    """The matcher of `dexcore`, one item a call, with or without ledger, reservations and fees."""

    def __init__(self, *, ledger: bool) -> None:
        self._ledger = ledger
        self._run = MatcherRun(None)

    def commands(self, records: Sequence[Record]) -> list[Command]:
        """Account, item and the key a new order gets."""
        owners: dict[int, int] = {}
        return [
            (owners.setdefault(r.order, r.account), item_of(r, r.order), r.order) for r in records
        ]

    def fresh(self) -> Call:
        """See Engine."""
        self._run = MatcherRun(None if self._ledger else NoFunds())
        matcher, accounts = self._run.matcher, self._run.accounts

        def call(command: Command) -> object:
            owner, item, order_key = command
            return carry_out(matcher, accounts[owner], item, order_key, [])

        return call

    def hand_over(self) -> object:
        """Nothing: each call gave its events and its results."""

    def trades(self, commands: list[Command]) -> int | None:
        """See Engine."""
        call, matcher, count = self.fresh(), self._run.matcher, 0
        for command in commands:
            call(command)
            count += sum(event[0] == TRADED for event in matcher.events)
        return count


class TriodexBatches:
    """The same as signed batches of one account, which is what a client sends at once."""

    def __init__(self, *, ledger: bool) -> None:
        self._ledger = ledger

    def commands(self, records: Sequence[Record]) -> list[Command]:
        """Packed items; an order's key follows from where it stands."""
        keys: dict[int, int] = {}
        packed: list[bytes] = []
        for index, record in enumerate(records):
            sequence = 1 + index // BATCH_ITEMS
            key = sequence * ITEM_INDEX_LIMIT + index % BATCH_ITEMS
            packed.append(ITEM.pack(*item_of(record, keys.setdefault(record.order, key))))
        starts = range(0, len(packed), BATCH_ITEMS)
        return [
            (sequence, OrderCommand(10, 0, 0, b"", b"", b"".join(packed[at : at + BATCH_ITEMS])))
            for sequence, at in enumerate(starts, 1)
        ]

    def fresh(self) -> Call:
        """See Engine."""
        run = MatcherRun(None if self._ledger else NoFunds())
        apply, account = OrderDesk(run.matcher).apply, run.accounts[0]

        def call(command: Command) -> Outcome:
            sequence, orders = command
            outcome = Outcome(sequence, 0)
            begin_command(run.matcher, outcome.logged)
            apply(account, orders, outcome)
            end_command(run.matcher)
            return outcome

        return call

    def hand_over(self) -> object:
        """Nothing: each call gave its events and its results."""

    def trades(self, commands: list[Command]) -> int | None:
        """See Engine."""
        call, count = self.fresh(), 0
        for command in commands:
            outcome: Outcome = call(command)  # type: ignore[assignment]
            count += sum(event[0] == TRADED for event in outcome.logged)
        return count
