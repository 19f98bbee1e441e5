"""The naive twin's commands of requests for quotes, and what of the twin they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.reference.exchange_answer import Answer
from tests.reference.exchange_books import Books
from tests.reference.exchange_keys import TRADE, AKey
from tests.reference.exchange_orders import Market
from tests.reference.exchange_rules import No, Result
from tests.reference.quotes import QuoteTwin

Once = Callable[..., Answer]


class QuoteActs:
    """What takers and makers of quotes ask for."""

    def __init__(self, books: Books, accounts: list[int], once: Once) -> None:
        self.books = books
        self.accounts = accounts
        self._once = once
        self.quotes = QuoteTwin(self)
        books.also_held.append(self.quotes.held)

    def do_requestquote(self, answer: Answer, **fields: Any) -> Answer:
        return self._quote(self.quotes.requestquote, answer, **fields)

    def do_givequote(self, answer: Answer, **fields: Any) -> Answer:
        return self._quote(self.quotes.givequote, answer, **fields)

    def do_withdrawquotes(self, answer: Answer, **fields: Any) -> Answer:
        return self._quote(self.quotes.withdrawquotes, answer, **fields)

    def do_acceptquote(self, answer: Answer, **fields: Any) -> Answer:
        return self._quote(self.quotes.acceptquote, answer, **fields)

    def _quote(
        self, act: Callable[..., tuple[int, int, int] | None], answer: Answer, **fields: Any
    ) -> Answer:
        """A refusal is remembered, too."""

        def carry_out(answer: Answer, signer: AKey, **said: Any) -> None:
            try:
                key = answer.sequence * 4096
                block = act(key, signer.owner, **said)
                answer.key = said.get("quote_key", key)
                if block:
                    price, lots, fee = block
                    fills = ((0, price, lots, fee),)
                    answer.items = [Result(answer.key, 0, "FILLED", lots, 0, fills, "NONE", "")]
            except No as no:
                answer.reason, answer.where = no.reason, no.where

        return self._once(carry_out, TRADE, answer, **fields)

    def do_endquotesession(self, answer: Answer, account_key: int, quote_keys: list[int]) -> None:
        self.quotes.endquotesession(account_key, quote_keys)
        answer.key = account_key

    def do_withdrawrequest(self, answer: Answer, account_key: int, request_key: int) -> None:
        self.quotes.withdrawrequest(account_key, request_key)
        answer.key = request_key

    # What requests for quotes are given.

    def now_ns(self) -> int:
        return self.books.time_ns

    def all_markets(self) -> list[Market]:
        return self.books.markets

    def available(self, owner: int, asset: str) -> int:
        return self.books.available(owner, asset)

    def own(self, owner: int, asset: str, change: int) -> None:
        self.books.own(owner, asset, change)

    def earn(self, asset: str, fee: int) -> None:
        self.books.fees[asset] = self.books.fees.get(asset, 0) + fee

    def one_owner(self, one: int, other: int) -> bool:
        return self.books.same_owner(one, other)
