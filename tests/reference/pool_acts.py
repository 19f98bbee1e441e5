"""The naive twin's pools: what operators, providers of liquidity and traders do with them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import floor, isqrt
from typing import Any

from tests.reference.exchange_answer import Answer
from tests.reference.exchange_books import Books
from tests.reference.exchange_keys import TRADE, AKey
from tests.reference.exchange_orders import Market
from tests.reference.exchange_pool import Pool
from tests.reference.exchange_rules import BUY, SELL, No, check_price
from tests.reference.pool_curves import Place, Product, Ranges
from tests.reference.pool_ticks import HIGHEST, LOWEST, root_at

CONSTANT_PRODUCT, CONCENTRATED = 1, 2
EXACT_IN, EXACT_OUT = 1, 2
# Fee tiers, and how far apart positions may end.
SPACINGS = {100: 1, 500: 10, 3_000: 60, 10_000: 200}
POSITIONS_MAX, POSITIONS_EACH_MAX, BOUNDS_MAX = 10_000, 100, 500

Once = Callable[..., Answer]


class PoolActs:
    """What is asked of pools."""

    def __init__(self, books: Books, once: Once) -> None:
        self.books = books
        self._once = once

    def do_createpool(
        self,
        answer: Answer,
        operator: str,
        market_index: int,
        kind: int,
        fee_ppm: int,
        price_ticks: int,
    ) -> None:
        market = self.books.market(market_index)
        if market.spec["kind"] == 2:
            raise No("MARKET_IS_EXTERNAL", "market_id")
        pool = market.pool
        if pool:
            if (kind, fee_ppm, price_ticks) != (pool.kind, pool.curve.fee_ppm, pool.first_price):
                raise No("POOL_EXISTS", "market_id")
            answer.repeated, answer.key = True, pool.key
            return
        if fee_ppm not in SPACINGS:
            raise No("FIELD_INVALID", "fee_ppm")
        curve = _curve(market, kind, fee_ppm, price_ticks)
        answer.key = answer.sequence * 4096
        market.pool = Pool(answer.key, kind, curve, price_ticks)

    def do_addliquidity(self, answer: Answer, **fields: Any) -> Answer:
        return self._act(self._add, answer, **fields)

    def do_removeliquidity(self, answer: Answer, **fields: Any) -> Answer:
        return self._act(self._remove, answer, **fields)

    def do_poolswap(self, answer: Answer, **fields: Any) -> Answer:
        return self._act(self._swap, answer, **fields)

    def _act(self, act: Callable[..., tuple[int, ...]], answer: Answer, **fields: Any) -> Answer:
        """A refusal is remembered, too."""

        def carry_out(answer: Answer, signer: AKey, market_index: int, **said: Any) -> None:
            try:
                market = self.books.market(market_index)
                if market.pool is None:
                    raise No("NO_POOL", "market_id")
                out = act == self._remove and market.status != "HALTED"
                if market.status != "OPEN" and not out:
                    raise No("MARKET_NOT_OPEN", "market_id")
                answer.amounts = act(market, market.pool, signer.owner, **said)
                answer.key = market.pool.key
            except No as no:
                answer.reason, answer.where = no.reason, no.where

        return self._once(carry_out, TRADE, answer, **fields)

    def _add(
        self,
        market: Market,
        pool: Pool,
        owner: int,
        lower_tick: int,
        upper_tick: int,
        base_atoms_max: int,
        quote_atoms_max: int,
        base_atoms_min: int,
        quote_atoms_min: int,
    ) -> tuple[int, ...]:
        """Liquidity, and what it took."""
        place = owner, lower_tick, upper_tick
        _check_place(pool, place)
        for atoms, where in (
            (base_atoms_max, "base_atoms_max"),
            (quote_atoms_max, "quote_atoms_max"),
        ):
            if atoms < 0:
                raise No("FIELD_INVALID", where)
        liquidity, base, quote = pool.curve.offer(place, base_atoms_max, quote_atoms_max)
        if not pool.curve.fits(liquidity):
            raise No("LIQUIDITY_OUT_OF_RANGE")
        _check_room(pool, place)
        _check_least((base, quote), (base_atoms_min, quote_atoms_min))
        self._pay(market, pool, owner, base, quote)
        pool.curve.add(place, liquidity, base, quote)
        return liquidity, base, quote

    def _remove(
        self,
        market: Market,
        pool: Pool,
        owner: int,
        lower_tick: int,
        upper_tick: int,
        liquidity: int,
        base_atoms_min: int,
        quote_atoms_min: int,
    ) -> tuple[int, ...]:
        """Liquidity, and what it brought."""
        place = owner, lower_tick, upper_tick
        _check_place(pool, place)
        is_product = isinstance(pool.curve, Product)
        owned = pool.curve.owned(place)
        if owned is None:
            raise No("UNKNOWN_POSITION", "market_id" if is_product else "lower_tick")
        if not (1 if is_product else 0) <= liquidity <= owned:
            raise No("LIQUIDITY_OUT_OF_RANGE", "liquidity")
        _check_least(pool.curve.worth(place, liquidity), (base_atoms_min, quote_atoms_min))
        base, quote = pool.curve.take_back(place, liquidity)
        self._pay(market, pool, owner, -base, -quote)
        return liquidity, base, quote

    def _swap(
        self,
        market: Market,
        pool: Pool,
        owner: int,
        side: int,
        exact: int,
        amount_atoms: int,
        limit_atoms: int,
    ) -> tuple[int, ...]:
        """Base and quote that moved."""
        for is_wrong, where in (
            (side not in (BUY, SELL), "side"),
            (exact not in (EXACT_IN, EXACT_OUT), "exact"),
            (amount_atoms <= 0, "amount_atoms"),
            (limit_atoms < 0, "limit_atoms"),
        ):
            if is_wrong:
                raise No("FIELD_INVALID", where)
        is_in = exact == EXACT_IN
        paid, got, carry_out = pool.curve.swap(side, amount_atoms, is_in=is_in)
        if not got:
            raise No("NO_LIQUIDITY")
        if got < limit_atoms if is_in else paid > limit_atoms:
            raise No("SLIPPAGE", "limit_atoms")
        if side == BUY:
            self._pay(market, pool, owner, -got, paid)
        else:
            self._pay(market, pool, owner, paid, -got)
        carry_out()
        return (got, paid) if side == BUY else (paid, got)

    def _pay(self, market: Market, pool: Pool, owner: int, base: int, quote: int) -> None:
        """From the account to the pool; negative amounts the other way."""
        books = self.books
        amounts = ((market.spec["base_asset_id"], base), (market.spec["quote_asset_id"], quote))
        if any(atoms > books.available(owner, asset) for asset, atoms in amounts):
            raise No("INSUFFICIENT_FUNDS")
        for asset, atoms in amounts:
            books.own(owner, asset, -atoms)
            books.own(pool.key, asset, atoms)


def _curve(market: Market, kind: int, fee_ppm: int, price: int) -> Product | Ranges:
    if kind == CONSTANT_PRODUCT:
        if price:
            raise No("FIELD_INVALID", "price_ticks")
        return Product(fee_ppm)
    if kind != CONCENTRATED:
        raise No("FIELD_INVALID", "kind")
    spec = market.spec
    check_price(spec, price)
    of_atoms = Fraction(price * spec["quote_atoms_per_tick_lot"], spec["base_atoms_per_lot"])
    root = isqrt(floor(of_atoms * 2**192))
    if not root_at(LOWEST) <= root < root_at(HIGHEST):
        raise No("PRICE_OUT_OF_RANGE", "price_ticks")
    return Ranges(fee_ppm, root, root_at)


def _check_place(pool: Pool, place: Place) -> None:
    _, lower, upper = place
    if isinstance(pool.curve, Product):
        if lower or upper:
            raise No("FIELD_INVALID", "lower_tick")
        return
    spacing = SPACINGS[pool.curve.fee_ppm]
    if not LOWEST <= lower < HIGHEST or lower % spacing:
        raise No("FIELD_INVALID", "lower_tick")
    if not lower < upper <= HIGHEST or upper % spacing:
        raise No("FIELD_INVALID", "upper_tick")


def _check_room(pool: Pool, place: Place) -> None:
    """A position more must not be one too many."""
    if isinstance(pool.curve, Product) or place in pool.curve.positions:
        return
    places = [*pool.curve.positions, place]
    own = [each for each in places if each[0] == place[0]]
    bounds = {tick for each in places for tick in each[1:]}
    for found, most in ((places, POSITIONS_MAX), (own, POSITIONS_EACH_MAX), (bounds, BOUNDS_MAX)):
        if len(found) > most:
            raise No("TOO_MANY_POSITIONS")


def _check_least(amounts: tuple[int, int], least: tuple[int, int]) -> None:
    for atoms, bound, name in zip(amounts, least, ("base", "quote"), strict=True):
        if atoms < bound:
            raise No("SLIPPAGE", f"{name}_atoms_min")
