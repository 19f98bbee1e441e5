"""Pools as a reader of events alone knows them, beside the exchange and its twin."""

from __future__ import annotations

from collections import Counter
from typing import Any

from dexcore.amm.constant_product import ConstantProduct
from dexcore.events import LiquidityAdded, LiquidityRemoved, PoolCreated, PoolSwapped, Trade
from dexcore.exchange import Exchange
from dexcore.pool import Pool
from tests.reference.exchange_orders import Market as TwinMarket
from tests.reference.exchange_pool import Pool as TwinPool
from tests.reference.pool_curves import Product
from tests.unit.core.exchanges import BUY

Place = tuple[int, int, int]


class PoolReader:
    """Follows the events of pools, and what must never fall."""

    def __init__(self) -> None:
        # By market: how it was created, what it holds, and who provides how much where.
        self.created: dict[int, tuple[int, ...]] = {}
        self.held: dict[int, list[int]] = {}
        self.places: dict[int, Counter[Place]] = {}
        # Product of the reserves, and shares, of each constant product when last seen.
        self._products: dict[int, tuple[int, int]] = {}
        self._seen: dict[int, tuple[Any, ...]] = {}

    def read(self, outcome: Any, markets: list[TwinMarket]) -> None:
        """Take in one outcome."""
        for event in outcome.events:
            if isinstance(event, PoolCreated):
                self.created[event.market_index] = tuple(event[1:])
                self.held[event.market_index] = [0, 0]
                self.places[event.market_index] = Counter()
            elif isinstance(event, LiquidityAdded | LiquidityRemoved):
                sign = 1 if isinstance(event, LiquidityAdded) else -1
                index, *place, liquidity, base_atoms, quote_atoms = event
                self._move(index, sign * base_atoms, sign * quote_atoms)
                self.places[index][place[0], place[1], place[2]] += sign * liquidity
            elif isinstance(event, PoolSwapped):
                sign = 1 if event.side == BUY else -1
                self._move(event.market_index, -sign * event.base_atoms, sign * event.quote_atoms)
            elif isinstance(event, Trade) and self.is_pool(event.maker_order_key):
                spec = markets[event.market_index].spec
                base_atoms = event.quantity_lots * spec["base_atoms_per_lot"]
                quote_atoms = event.quantity_lots * event.price_ticks
                quote_atoms *= spec["quote_atoms_per_tick_lot"]
                sign = 1 if event.taker_side == BUY else -1
                self._move(event.market_index, -sign * base_atoms, sign * quote_atoms)

    def is_pool(self, key: int) -> bool:
        """Whether this is the account of a pool."""
        return any(key == created[0] for created in self.created.values())

    def _move(self, index: int, base_atoms: int, quote_atoms: int) -> None:
        self.held[index][0] += base_atoms
        self.held[index][1] += quote_atoms

    def compare(self, exchange: Exchange, markets: list[TwinMarket]) -> None:
        """Events, exchange and twin say the same; AssertionError where they differ."""
        for market, other in zip(exchange.markets, markets, strict=True):
            pool, twin = market.pool, other.pool
            assert (pool is None) == (twin is None) == (other.index not in self.created)
            if pool is not None and twin is not None:
                self._compare(other.index, pool, twin)

    def _compare(self, index: int, pool: Pool, twin: TwinPool) -> None:
        curve, theirs = pool.curve, twin.curve
        created = (pool.account_key, pool.kind, curve.fee_ppm, pool.price_ticks)
        assert created == (twin.key, twin.kind, theirs.fee_ppm, twin.first_price)
        assert created == self.created[index]
        held = [curve.base_atoms, curve.quote_atoms]
        assert held == [theirs.base, theirs.quote] == self.held[index], (held, theirs)
        if isinstance(curve, ConstantProduct):
            assert isinstance(theirs, Product)
            found = {(key, 0, 0): shares for key, shares in curve.shares.items()}
            assert curve.shares == theirs.shares
            assert curve.shares_total == theirs.total
            self._check_product(index, curve)
            state: tuple[Any, ...] = (*held, curve.shares_total)
        else:
            assert not isinstance(theirs, Product)
            found = {
                (key.account_key, key.lower_tick, key.upper_tick): each.liquidity
                for key, each in curve.positions.items()
            }
            assert found == {place: each.liquidity for place, each in theirs.positions.items()}
            assert curve.sqrt_price == theirs.root
            state = (*held, curve.sqrt_price, found)
        assert found == +self.places[index]
        if state != self._seen.get(index):
            # It recounts everything: what it owes is there.
            curve.check_sound()
            self._seen[index] = state

    def _check_product(self, index: int, curve: ConstantProduct) -> None:
        """The product per share squared never falls, whatever anybody does."""
        product, shares = self._products.get(index, (0, 1))
        now = curve.base_atoms * curve.quote_atoms
        if curve.shares_total:
            assert now * shares**2 >= product * curve.shares_total**2, "the product of a pool fell"
            self._products[index] = now, curve.shares_total
