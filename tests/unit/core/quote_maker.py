"""Random commands about requests for quotes, valid and not, that meet each other often."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from dexcore.commands import Command
from dexcore.quote_commands import (
    KEY,
    AcceptQuote,
    EndQuoteSession,
    GiveQuote,
    RequestQuote,
    WithdrawQuotes,
    WithdrawRequest,
)
from dexcore.quotes import Quote, Request

if TYPE_CHECKING:
    from tests.unit.core.command_maker import CommandMaker

SECOND_NS = 10**9
Head = tuple[int, int, int, bytes, bytes]


def pack(*keys: int) -> bytes:
    """Keys as a command has them."""
    return b"".join(KEY.pack(key) for key in keys)


class QuoteMaker:
    """Makes them for a maker of all commands, with its chance, traders, time and nonces."""

    def __init__(self, maker: CommandMaker) -> None:
        self.maker = maker

    def next(self) -> Command:
        """The next command."""
        quotes = self.maker.exchange.quotes
        chance = self.maker.chance
        weights = (
            (2 if quotes.requests else 9, self._request),
            (12 if quotes.requests else 1, self._quote),
            (10 if quotes.quotes else 1, self._accept),
            (2, self._withdraw),
            (1, self._session),
            (1, self._withdraw_request),
        )
        return chance.choices([m for _, m in weights], [w for w, _ in weights])[0]()

    def _head(self, owner: int = 0) -> Head:
        """Who signs: the owner of what it is about, nearly always."""
        trader, nonce, expire_ns = self.maker._signed()
        known = self.maker.exchange.accounts.by_key.get(self.maker._often(owner, 0))
        if known is not None:
            trader = trader._replace(account_key=known.key, public_key=next(iter(known.keys)))
        digest = blake2b(b"quote %d" % nonce, digest_size=16).digest()
        return trader.account_key, nonce, expire_ns, digest, trader.public_key

    def _end_ns(self) -> int:
        seconds: int = self.maker._often(self.maker.chance.choice((1, 5, 60, 300)), 0, -1, 301)
        return self.maker.time_ns + seconds * SECOND_NS

    def _request(self) -> Command:
        chance, often = self.maker.chance, self.maker._often
        market = often(chance.choice((0, 1, 2)), 3, -1, 99)
        lots = often(chance.randint(1, 20) * (10 if market == 1 else 1), 0, 7, 501)
        keys = [trader.account_key for trader in self.maker.traders]
        makers = chance.sample(keys, min(len(keys), chance.choice((0, 0, 0, 2, 4))))
        makers = often(makers, [*makers, 5], keys[:1] * 2, [7] * 101)
        side = often(chance.choice((0, 1, 2)), 3, -1)
        return RequestQuote(*self._head(), market, side, lots, self._end_ns(), pack(*makers))

    def _known_request(self) -> Request | None:
        requests = list(self.maker.exchange.quotes.requests.values())
        return self.maker.chance.choice(requests) if requests else None

    def _known_quote(self) -> Quote | None:
        quotes = list(self.maker.exchange.quotes.quotes.values())
        return self.maker.chance.choice(quotes) if quotes else None

    def _quote(self) -> Command:
        chance, often = self.maker.chance, self.maker._often
        request = self._known_request()
        step = 5 if request is not None and request.market.index == 1 else 1
        bid = 100 + step * chance.randint(-8, 8)
        ask = bid + often(step * chance.randint(1, 4), 0, -step)
        asks = request.side if request is not None else 0
        bid = often(0 if asks == 1 else chance.choice((bid, bid, 0)), bid, -1, 1_001, 3)
        ask = often(0 if asks == 2 else chance.choice((ask, ask, 0 if bid else ask)), ask, 2**62)
        key = often(request.key if request is not None else 1, 0, 4096)
        owner = 0
        if request is not None and request.maker_keys:
            owner = often(chance.choice(request.maker_keys), 0)
        client_id = often(chance.choice((0, chance.randint(1, 9))), -1)
        known = self.maker.exchange.quotes.quotes.values()
        named = [each for each in known if each.client_quote_id]
        if named and chance.random() < 0.3:
            # One that is in use.
            owner, client_id = named[-1].account.key, named[-1].client_quote_id
        return GiveQuote(*self._head(owner), key, bid, ask, self._end_ns(), client_id)

    def _accept(self) -> Command:
        chance, often = self.maker.chance, self.maker._often
        quote = self._known_quote()
        if quote is None:
            return AcceptQuote(*self._head(), 4096, 1, 100)
        side = often(1 if quote.ask_price_ticks else 2, chance.choice((1, 2)), 0, 3)
        price = quote.ask_price_ticks if side == 1 else quote.bid_price_ticks
        price += chance.choices((0, 1), (9, 1))[0]
        head = self._head(quote.request.account.key)
        return AcceptQuote(*head, often(quote.key, 1), side, price)

    def _withdraw(self) -> Command:
        quote = self._known_quote()
        if quote is None:
            return WithdrawQuotes(*self._head(), 0)
        key = self.maker.chance.choice((quote.key, quote.key, 0))
        return WithdrawQuotes(*self._head(quote.account.key), self.maker._often(key, 1))

    def _session(self) -> Command:
        quote = self._known_quote()
        owner = quote.account.key if quote is not None else self.maker.traders[0].account_key
        keys = list(self.maker.exchange.quotes.quotes)
        chosen = self.maker.chance.sample(keys, min(len(keys), 3))
        return EndQuoteSession(self.maker._often(owner, 0, 5), pack(*chosen))

    def _withdraw_request(self) -> Command:
        request = self._known_request()
        if request is None:
            return WithdrawRequest(self.maker.traders[0].account_key, 4096)
        return WithdrawRequest(self.maker._often(request.account.key, 5), request.key)
