"""The naive twin of requests for quotes: every one there ever was, asked anew each time.

Written from docs/reference/order-semantics.md; imports nothing of the product. What is open follows
from how it ended, what a maker holds from what is open. `Bank` is what the rest of the twin has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.reference.exchange_rules import BUY, SELL, No, check_price, check_size

MINUTES_5_NS = 300 * 10**9
MILLION = 1_000_000


class AMarket(Protocol):
    """What is read of a market."""

    index: int
    spec: dict[str, Any]
    maker_ppm: int
    taker_ppm: int
    status: str


class Bank(Protocol):
    """Accounts, markets and money of the twin this belongs to."""

    accounts: list[int]

    def now_ns(self) -> int: ...
    def all_markets(self) -> list[Any]: ...
    def available(self, owner: int, asset: str) -> int: ...
    def own(self, owner: int, asset: str, change: int) -> None: ...
    def earn(self, asset: str, fee: int) -> None: ...
    def one_owner(self, one: int, other: int) -> bool: ...


@dataclass(eq=False)
class Asked:
    """A request."""

    key: int
    taker: int
    market: AMarket
    side: int
    lots: int
    close_ns: int
    makers: list[int]
    end: str = ""


@dataclass(eq=False)
class Offer:
    """A quote."""

    key: int
    asked: Asked
    maker: int
    bid: int
    ask: int
    expire_ns: int
    client_id: int
    maker_ppm: int
    end: str = ""

    def value(self, price: int) -> int:
        """Quote atoms of the whole size at a price."""
        return int(self.asked.lots * price * self.asked.market.spec["quote_atoms_per_tick_lot"])

    def base(self) -> int:
        """Base atoms of the whole size."""
        return int(self.asked.lots * self.asked.market.spec["base_atoms_per_lot"])

    def holds(self, asset: str) -> int:
        """What of an asset the maker may have to give."""
        spec, atoms = self.asked.market.spec, 0
        if self.bid and asset == spec["quote_asset_id"]:
            atoms += self.value(self.bid) + fee(self.value(self.bid), self.maker_ppm)
        if self.ask and asset == spec["base_asset_id"]:
            atoms += self.base()
        return atoms


def fee(notional: int, ppm: int) -> int:
    """Rounded up."""
    whole, rest = divmod(notional * ppm, MILLION)
    return whole + (1 if rest else 0)


@dataclass
class QuoteTwin:
    """All requests and quotes, and the blocks they traded."""

    bank: Bank
    asked: list[Asked] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    # Of the running command: market, quote, price, lots, taker's side, maker, taker, their fees.
    blocks: list[tuple[int, ...]] = field(default_factory=list)

    # --- what can be asked

    def open_requests(self, taker: int | None = None) -> list[Asked]:
        return [a for a in self.asked if not a.end and taker in (None, a.taker)]

    def open_quotes(self, maker: int | None = None) -> list[Offer]:
        return [o for o in self.offers if not o.end and maker in (None, o.maker)]

    def held(self, owner: int, asset: str) -> int:
        return sum(offer.holds(asset) for offer in self.open_quotes(owner))

    # --- signed

    def requestquote(
        self,
        key: int,
        owner: int,
        market_index: int,
        side: int,
        quantity_lots: int,
        close_time_ns: int,
        maker_account_keys: list[int],
    ) -> None:
        markets = self.bank.all_markets()
        if not 0 <= market_index < len(markets):
            raise No("UNKNOWN_MARKET", "quote_request.market_id")
        market = markets[market_index]
        self._check_open(market, "quote_request.market_id")
        if side not in (0, BUY, SELL):
            raise No("FIELD_INVALID", "quote_request.side")
        _said("quote_request", check_size, market.spec, quantity_lots)
        self._check_ahead(close_time_ns, "quote_request.close_time")
        where = "quote_request.maker_account_ids"
        if len(maker_account_keys) > 100 or len(set(maker_account_keys)) < len(maker_account_keys):
            raise No("FIELD_INVALID", where)
        if any(maker not in self.bank.accounts for maker in maker_account_keys):
            raise No("UNKNOWN_ACCOUNT", where)
        if len(self.open_requests(owner)) >= 10:
            raise No("TOO_MANY_QUOTE_REQUESTS")
        terms = (side, quantity_lots, close_time_ns, maker_account_keys)
        self.asked.append(Asked(key, owner, market, *terms))

    def givequote(
        self,
        key: int,
        owner: int,
        request_key: int,
        bid_price_ticks: int,
        ask_price_ticks: int,
        quote_expire_time_ns: int,
        client_quote_id: int,
    ) -> None:
        where = "quote.quote_request_id"
        found = [a for a in self.open_requests() if a.key == request_key]
        if not found or found[0].close_ns <= self.bank.now_ns():
            raise No("UNKNOWN_QUOTE_REQUEST", where)
        [asked] = found
        if asked.makers and owner not in asked.makers:
            raise No("UNKNOWN_QUOTE_REQUEST", where)
        self._check_open(asked.market, where)
        if self.bank.one_owner(owner, asked.taker):
            raise No("SELF_TRADE", where)
        for price, side, name in (
            (bid_price_ticks, SELL, "bid_price_ticks"),
            (ask_price_ticks, BUY, "ask_price_ticks"),
        ):
            if price:
                if asked.side and asked.side != side:
                    raise No("QUOTE_PRICES_INVALID", f"quote.{name}")
                try:
                    check_price(asked.market.spec, price)
                except No as no:
                    raise No(no.reason, f"quote.{name}") from None
        both = bid_price_ticks and ask_price_ticks
        if not (bid_price_ticks or ask_price_ticks) or (
            both and bid_price_ticks >= ask_price_ticks
        ):
            raise No("QUOTE_PRICES_INVALID", "quote.bid_price_ticks")
        self._check_ahead(quote_expire_time_ns, "quote.expire_time")
        if client_quote_id < 0:
            raise No("FIELD_INVALID", "quote.client_quote_id")
        if client_quote_id and client_quote_id in [o.client_id for o in self.open_quotes(owner)]:
            raise No("CLIENT_QUOTE_ID_IN_USE", "quote.client_quote_id")
        on_it = [o for o in self.offers if o.asked is asked]
        by_it = [o for o in on_it if o.maker == owner]
        if len(self.open_quotes(owner)) >= 100 or len(by_it) >= 20 or len(on_it) >= 1_000:
            raise No("TOO_MANY_QUOTES")
        prices = (bid_price_ticks, ask_price_ticks)
        terms = (*prices, quote_expire_time_ns, client_quote_id, asked.market.maker_ppm)
        offer = Offer(key, asked, owner, *terms)
        for side_name, name in (("quote", "bid_price_ticks"), ("base", "ask_price_ticks")):
            asset = asked.market.spec[f"{side_name}_asset_id"]
            if offer.holds(asset) > self.bank.available(owner, asset):
                raise No("INSUFFICIENT_FUNDS", f"quote.{name}")
        self.offers.append(offer)

    def withdrawquotes(self, _key: int, owner: int, quote_key: int) -> None:
        chosen = [o for o in self.open_quotes(owner) if quote_key in (0, o.key)]
        if quote_key and not chosen:
            raise No("UNKNOWN_QUOTE", "quote_cancel.quote_id")
        for offer in chosen:
            offer.end = "WITHDRAWN"

    def acceptquote(
        self, _key: int, owner: int, quote_key: int, side: int, price_ticks: int
    ) -> tuple[int, int, int]:
        """Price, lots and the taker's fee."""
        where = "quote_acceptance.quote_id"
        now_ns = self.bank.now_ns()
        found = [
            o
            for o in self.open_quotes()
            if (o.key, o.asked.taker) == (quote_key, owner)
            and o.expire_ns > now_ns
            and o.asked.close_ns > now_ns
        ]
        if not found:
            raise No("UNKNOWN_QUOTE", where)
        [offer] = found
        self._check_open(offer.asked.market, where)
        if self.bank.one_owner(owner, offer.maker):
            raise No("SELF_TRADE", where)
        if side not in (BUY, SELL):
            raise No("FIELD_INVALID", "quote_acceptance.side")
        price = offer.ask if side == BUY else offer.bid
        if not price:
            raise No("QUOTE_MISMATCH", "quote_acceptance.side")
        if price != price_ticks:
            raise No("QUOTE_MISMATCH", "quote_acceptance.price_ticks")
        fees = self._trade(offer, owner, side, price)
        asked = offer.asked
        place = (asked.market.index, offer.key, price, asked.lots, side)
        self.blocks.append((*place, offer.maker, owner, *fees))
        offer.end = "FILLED"
        self._close(asked, "FILLED")
        return price, asked.lots, fees[1]

    def _trade(self, offer: Offer, taker: int, side: int, price: int) -> tuple[int, int]:
        bank, market = self.bank, offer.asked.market
        base, quote = market.spec["base_asset_id"], market.spec["quote_asset_id"]
        value = offer.value(price)
        fees = fee(value, offer.maker_ppm), fee(value, market.taker_ppm)
        needed = (quote, value + fees[1]) if side == BUY else (base, offer.base())
        if needed[1] > bank.available(taker, needed[0]):
            raise No("INSUFFICIENT_FUNDS", "quote_acceptance.side")
        sign = 1 if side == BUY else -1
        for who, its_sign, its_fee in ((taker, sign, fees[1]), (offer.maker, -sign, fees[0])):
            bank.own(who, base, its_sign * offer.base())
            bank.own(who, quote, -its_sign * value - its_fee)
        bank.earn(quote, sum(fees))
        return fees

    # --- what the node says, and time

    def endquotesession(self, owner: int, quote_keys: list[int]) -> None:
        if owner not in self.bank.accounts:
            raise No("UNKNOWN_ACCOUNT", "account_id")
        for offer in self.open_quotes(owner):
            if offer.key in quote_keys:
                offer.end = "SESSION_ENDED"

    def withdrawrequest(self, owner: int, request_key: int) -> None:
        found = [a for a in self.open_requests(owner) if a.key == request_key]
        if not found:
            raise No("UNKNOWN_QUOTE_REQUEST", "quote_request_id")
        self._close(found[0], "WITHDRAWN")

    def tick(self) -> None:
        """End what is due, one after the other."""
        now_ns = self.bank.now_ns()
        due: list[tuple[int, int, Asked | Offer]] = []
        due += [(a.close_ns, a.key, a) for a in self.open_requests() if a.close_ns <= now_ns]
        due += [(o.expire_ns, o.key, o) for o in self.open_quotes() if o.expire_ns <= now_ns]
        for _, _, each in sorted(due, key=lambda row: row[:2]):
            if each.end:
                continue
            if isinstance(each, Asked):
                self._close(each, "TIME_PASSED")
            else:
                each.end = "EXPIRED"

    def _close(self, asked: Asked, end: str) -> None:
        asked.end = end
        for offer in self.open_quotes():
            if offer.asked is asked:
                offer.end = "REQUEST_CLOSED"

    def _check_open(self, market: AMarket, where: str) -> None:
        if market.spec["kind"] == 2:
            raise No("MARKET_IS_EXTERNAL", where)
        if market.status != "OPEN":
            raise No("MARKET_NOT_OPEN", where)

    def _check_ahead(self, end_ns: int, where: str) -> None:
        if end_ns <= self.bank.now_ns():
            raise No("FIELD_INVALID", where)
        if end_ns > self.bank.now_ns() + MINUTES_5_NS:
            raise No("EXPIRY_TOO_FAR", where)


def _said(of: str, check: Any, *values: Any) -> None:
    try:
        check(*values)
    except No as no:
        raise No(no.reason, f"{of}.{no.where}") from None
