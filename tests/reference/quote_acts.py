"""The naive twin's commands of requests for quotes, and what of the twin they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.reference.exchange_keys import TRADE
from tests.reference.exchange_rules import No, Result
from tests.reference.quotes import QuoteTwin

if TYPE_CHECKING:
    from tests.reference.exchange_twin import Answer


class QuoteActs:
    """Part of the twin."""

    accounts: list[int]
    available: Callable[[int, str], int]
    time_ns: int
    markets: list[Any]
    fees: dict[str, int]
    keys: Any
    answered: dict[tuple[Any, int], tuple[bytes, int, Any]]
    _first: Callable[..., Any]
    _own: Callable[[int, str, int], None]

    def __init__(self) -> None:
        self.quotes = QuoteTwin(self)

    def _do_requestquote(self, answer: Answer, **fields: Any) -> Any:
        return self._quote(self.quotes.requestquote, answer, **fields)

    def _do_givequote(self, answer: Answer, **fields: Any) -> Any:
        return self._quote(self.quotes.givequote, answer, **fields)

    def _do_withdrawquotes(self, answer: Answer, **fields: Any) -> Any:
        return self._quote(self.quotes.withdrawquotes, answer, **fields)

    def _do_acceptquote(self, answer: Answer, **fields: Any) -> Any:
        return self._quote(self.quotes.acceptquote, answer, **fields)

    def _quote(
        self,
        act: Callable[..., tuple[int, int, int] | None],
        answer: Answer,
        account_key: int,
        nonce: int,
        expire_time_ns: int,
        digest: bytes,
        public_key: bytes,
        **fields: Any,
    ) -> Any:
        """A refusal is remembered, too."""
        signer = self.keys.of(account_key, public_key)
        first = self._first(account_key, nonce, digest, expire_time_ns, answer, signer, TRADE)
        if first:
            return first
        try:
            key = answer.sequence * 4096
            block = act(key, account_key, **fields)
            answer.key = fields.get("quote_key", key)
            if block:
                price, lots, fee = block
                fills = ((0, price, lots, fee),)
                answer.items = [Result(answer.key, 0, "FILLED", lots, 0, fills, "NONE", "")]
        except No as no:
            answer.reason, answer.where = no.reason, no.where
        self.answered[(account_key, nonce)] = (digest, expire_time_ns, answer)
        return None

    def _do_endquotesession(self, answer: Answer, account_key: int, quote_keys: list[int]) -> None:
        self.quotes.endquotesession(account_key, quote_keys)
        answer.key = account_key

    def _do_withdrawrequest(self, answer: Answer, account_key: int, request_key: int) -> None:
        self.quotes.withdrawrequest(account_key, request_key)
        answer.key = request_key

    def _do_clocktick(self, answer: Answer) -> None:
        self.quotes.tick()

    # What requests for quotes are given.

    def now_ns(self) -> int:
        return self.time_ns

    def all_markets(self) -> list[Any]:
        return self.markets

    def own(self, owner: int, asset: str, change: int) -> None:
        self._own(owner, asset, change)

    def earn(self, asset: str, fee: int) -> None:
        self.fees[asset] = self.fees.get(asset, 0) + fee

    def one_owner(self, one: int, other: int) -> bool:
        return one == other
