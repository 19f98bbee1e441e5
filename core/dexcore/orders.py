"""Signed items: each is a step with a result, in the order in which they were sent."""

from __future__ import annotations

from typing import Final, final

from dexcore import plain
from dexcore.accounts import Account
from dexcore.amending import amend, cancel, cancel_all
from dexcore.book import Boxed
from dexcore.commands import RULES_1, OrderCommand
from dexcore.events import REFUSED, Logged
from dexcore.items import (
    ACTION_AMEND,
    ACTION_CANCEL,
    ACTION_CANCEL_ALL,
    ACTION_PLACE,
    HAS_TERMS,
    ITEM,
    NO_TERMS,
    OCO,
    POST_ONLY,
    TERMS,
    Item,
    Terms,
)
from dexcore.limits import BATCH_ITEMS_MAX, ITEM_INDEX_LIMIT
from dexcore.matching import Matcher
from dexcore.reasons import Reason, Refused
from dexcore.results import Outcome, Result, refused_item
from dexcore.steps import end_command, end_step

_ORDERS_BYTES_MAX: Final = BATCH_ITEMS_MAX * ITEM.size
_PHASES: Final = 4
# Where an item's flags are.
_FLAGS_AT: Final = 4


@final
class OrderDesk:
    """Carries out the items of an account that may trade."""

    __slots__ = ("_matcher",)

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher

    def apply(self, account: Account, command: OrderCommand, outcome: Outcome) -> None:
        """Carry out all items and answer each.

        Raises:
            Refused: the command as a whole.
        """
        if not 0 < len(command.items) <= _ORDERS_BYTES_MAX:
            raise Refused(Reason.BATCH_SIZE, "items")
        matcher = self._matcher
        matcher.time_ns = outcome.time_ns
        matcher.keeps_last_price = command.rules != RULES_1
        matcher.begin_items(bounded=command.rules != RULES_1)
        first_key = outcome.sequence * ITEM_INDEX_LIMIT
        results: list[Result] = []
        item: Item
        if command.phased:
            self._apply_phased(account, command, first_key, results)
        elif command.terms or max(command.items[_FLAGS_AT :: ITEM.size], default=0) >= HAS_TERMS:
            said = _terms_of(command)
            for index, item in enumerate(ITEM.iter_unpack(command.items)):
                self._apply_item(account, item, said[index], index, first_key, results)
        else:
            for index, item in enumerate(ITEM.iter_unpack(command.items)):
                self._apply_item(account, item, NO_TERMS, index, first_key, results)
        matcher.keeps_last_price = True
        # A preview between commands is bounded as an order of now is.
        matcher.begin_items(bounded=True)
        outcome.results = tuple(results)

    def _apply_phased(
        self, account: Account, command: OrderCommand, first_key: int, results: list[Result]
    ) -> None:
        """Cancels, then amends, then post-only places, then the others; results stand as sent."""
        items: list[Item] = list(ITEM.iter_unpack(command.items))
        said = _terms_of(command)
        phases = [_phase(item) for item in items]
        for index in range(1, len(items)):
            first, second = items[index - 1], items[index]
            if second[4] & OCO and first[0] == second[0] == ACTION_PLACE:
                # A pair is not taken apart.
                phases[index - 1] = phases[index]
        of_items: list[list[Result]] = [[] for _ in items]
        for phase in range(_PHASES):
            for index, item in enumerate(items):
                if phases[index] == phase:
                    self._apply_item(account, item, said[index], index, first_key, of_items[index])
        for each in of_items:
            results.extend(each)

    def _apply_item(
        self,
        account: Account,
        item: Item,
        said: Terms,
        index: int,
        first_key: int,
        results: list[Result],
    ) -> None:
        matcher = self._matcher
        action = item[0]
        result: Result | None = None
        try:
            if action == ACTION_PLACE:
                key: Boxed = first_key + index
                result = plain.place(matcher, account, item, key)
                if result is None:
                    result = matcher.place(account, item, key, said)
            elif action == ACTION_CANCEL:
                result = plain.cancel(matcher, account, item)
                if result is None:
                    result = cancel(matcher, account, item[9], item[8])
            elif action == ACTION_AMEND:
                result = amend(matcher, account, item[9], item[8], item[7], item[6], said)
            elif action == ACTION_CANCEL_ALL:
                results.extend(cancel_all(matcher, account, item[5], item[1]))
            else:
                raise Refused(Reason.FIELD_INVALID, "action")
        except Refused as refused:
            client_id = item[8] if action == ACTION_PLACE else 0
            result = refused_item(refused.reason, refused.field, client_id)
        if result is not None:
            results.append(result)
            if result[6]:
                matcher.events.append((REFUSED, account.key, index, result[6]))
        if matcher.spent:
            matcher.end_item()
        if matcher.stirred:
            end_step(matcher)
            # What stops met is nothing of the command's.
            matcher.spent = 0


def carry_out(
    matcher: Matcher, account: Account, item: Item, order_key: Boxed, log: list[Logged]
) -> Result:
    """One new order or cancel by itself, unsigned and without terms: for measurements and tests.

    ``log`` takes what it does. A refusal is a result, and no event.
    """
    matcher.events = log
    try:
        if item[0] == ACTION_PLACE:
            result = plain.place(matcher, account, item, order_key)
            if result is None:
                result = matcher.place(account, item, order_key)
        else:
            result = plain.cancel(matcher, account, item)
            if result is None:
                result = cancel(matcher, account, item[9], item[8])
    except Refused as refused:
        client_id = item[8] if item[0] == ACTION_PLACE else 0
        return refused_item(refused.reason, refused.field, client_id)
    if matcher.stirred:
        end_step(matcher)
        end_command(matcher)
    else:
        matcher.flush_levels()
    return result


def _phase(item: Item) -> int:
    """The phase of an item: what frees comes before what adds, and that before what takes."""
    if item[0] in (ACTION_CANCEL, ACTION_CANCEL_ALL):
        return 0
    if item[0] == ACTION_AMEND:
        return 1
    return 2 if item[4] & POST_ONLY else _PHASES - 1


def _terms_of(command: OrderCommand) -> list[Terms]:
    """The terms of each item.

    Raises:
        Refused: there are not as many as items that say they have some.
    """
    flags = command.items[_FLAGS_AT :: ITEM.size]
    said: list[Terms] = list(TERMS.iter_unpack(command.terms))
    if sum(1 for each in flags if each & HAS_TERMS) != len(said):
        raise Refused(Reason.FIELD_INVALID, "terms")
    following = iter(said)
    return [next(following) if each & HAS_TERMS else NO_TERMS for each in flags]
