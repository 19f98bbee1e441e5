"""The naive twin carries out the items of a signed command, each a step."""

from __future__ import annotations

from tests.reference.exchange_amend import amend
from tests.reference.exchange_books import Books
from tests.reference.exchange_entry import NO_TERMS, Item, Terms, Wish, place
from tests.reference.exchange_orders import Order
from tests.reference.exchange_rules import (
    AMEND,
    ANY_MARKET,
    BUY,
    CANCEL,
    CANCEL_ALL,
    HAS_TERMS,
    OCO,
    PLACE,
    POST_ONLY,
    SELL,
    No,
    Result,
)
from tests.reference.exchange_steps import end_step


def carry_out(
    books: Books,
    owner: int,
    first_key: int,
    items: list[Item],
    terms: list[Terms],
    phased: bool,
) -> list[Result]:
    """The results stand in the order of the items, whatever the order they are carried out in."""
    column = iter(terms)
    said = [next(column) if item[4] & HAS_TERMS else NO_TERMS for item in items]
    order = list(range(len(items)))
    if phased:
        order.sort(key=lambda index: _phase(items, index))
    results: dict[int, list[Result]] = {}
    placed: dict[int, Order] = {}
    budget = books.bounds.of_command
    for index in order:
        books.left, books.spent = budget, 0
        try:
            results[index] = _item(books, owner, first_key, items, said, index, placed)
        except No as no:
            client_id = items[index][8] if items[index][0] == PLACE else 0
            refused = Result(0, client_id, "REJECTED", 0, 0, (), no.reason, no.where)
            results[index] = [refused]
        # An item is charged when it is done, and may spend more than was left.
        budget -= books.spent
        books.left = None
        end_step(books)
    return [result for index in range(len(items)) for result in results[index]]


def _phase(items: list[Item], index: int) -> int:
    """Cancels, amends, post-only places, other places; a pair is where its second item is."""
    actions = [item[0] for item in items[index : index + 2]]
    if actions == [PLACE, PLACE] and items[index + 1][4] & OCO:
        index += 1
    action, flags = items[index][0], items[index][4]
    if action == PLACE:
        return 2 if flags & POST_ONLY else 3
    return {CANCEL: 0, CANCEL_ALL: 0, AMEND: 1}.get(action, 3)


def _item(
    books: Books,
    owner: int,
    first_key: int,
    items: list[Item],
    said: list[Terms],
    index: int,
    placed: dict[int, Order],
) -> list[Result]:
    item, terms = items[index], said[index]
    action, market, client_id, named = item[0], item[5], item[8], item[9]
    if action == PLACE:
        wish = Wish.of(item, terms)
        placed[index], result = place(books, owner, first_key + index, wish, placed.get(index - 1))
        return [result]
    if action == CANCEL:
        order = books.named(owner, named, client_id)
        if order.market.status == "HALTED":
            raise No("MARKET_NOT_OPEN", "market_id")
        return [books.close(order, "CANCELLED")]
    if action == AMEND:
        return [amend(books, books.named(owner, named, client_id), item, terms)]
    if action != CANCEL_ALL:
        raise No("FIELD_INVALID", "action")
    if market != ANY_MARKET:
        books.market(market)
    if item[1] not in (0, BUY, SELL):
        raise No("FIELD_INVALID", "side")
    return [
        books.close(order, "CANCELLED")
        for order in cancellable(books, owner)
        if market in (ANY_MARKET, order.market.index) and item[1] in (0, order.side)
    ]


def cancellable(books: Books, owner: int) -> list[Order]:
    """An account's orders in markets that are not halted, in order of keys."""
    return [o for o in books.open_orders(owner) if o.market.status != "HALTED"]
