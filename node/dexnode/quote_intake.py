"""Actions about quotes of a payload as commands. What makes no sense is passed on: the core
refuses it, in its order."""

from __future__ import annotations

from typing import Any, Final, final

from dex.errors.v1 import errors_pb2
from dexcore.limits import INT64_MAX
from dexcore.market import Market
from dexcore.quote_commands import KEY, AcceptQuote, GiveQuote, RequestQuote, WithdrawQuotes
from dexnode.errors import refuse, refuse_field
from dexnode.ids import IdFormat
from dexnode.times import time_ns_of

QUOTE_ACTIONS: Final = frozenset({"quote_request", "quote", "quote_cancel", "quote_acceptance"})
# No key: an id of another shard or epoch names nothing here.
UNKNOWN_KEY: Final = INT64_MAX
Head = tuple[int, int, int, bytes, bytes]
QuoteCommand = RequestQuote | GiveQuote | WithdrawQuotes | AcceptQuote


@final
class QuoteIntake:
    """Translates for one shard."""

    __slots__ = ("_ids", "_markets")

    def __init__(self, ids: IdFormat, markets: dict[str, Market]) -> None:
        """`markets` by id, as the exchange has them at any time."""
        self._ids = ids
        self._markets = markets

    def command(self, head: Head, action: str, body: Any) -> QuoteCommand:
        """The command of one of QUOTE_ACTIONS.

        Raises:
            RpcError: it names nothing, or a time is missing.
        """
        if action == "quote_request":
            return self._request(head, body)
        if action == "quote":
            request_key = self._key(body.quote_request_id)
            prices = (body.bid_price_ticks, body.ask_price_ticks)
            end_ns = _time_ns(body, "expire_time", "quote.expire_time")
            return GiveQuote(*head, request_key, *prices, end_ns, body.client_quote_id)
        if action == "quote_cancel":
            return WithdrawQuotes(*head, self._key(body.quote_id) if body.quote_id else 0)
        return AcceptQuote(*head, self._key(body.quote_id), body.side, body.price_ticks)

    def _request(self, head: Head, body: Any) -> RequestQuote:
        market = self._markets.get(body.market_id)
        if market is None:
            raise refuse(
                errors_pb2.ERROR_REASON_UNKNOWN_MARKET,
                f"no market {body.market_id!r}",
                field="quote_request.market_id",
            )
        makers = b"".join(KEY.pack(self._key(each)) for each in body.maker_account_ids)
        close_ns = _time_ns(body, "close_time", "quote_request.close_time")
        return RequestQuote(*head, market.index, body.side, body.quantity_lots, close_ns, makers)

    def _key(self, text: str) -> int:
        key = self._ids.key_of(text)
        return UNKNOWN_KEY if key is None else key


def _time_ns(body: Any, name: str, field: str) -> int:
    if not body.HasField(name):
        raise refuse_field(field, "must be set")
    return time_ns_of(getattr(body, name), field)
