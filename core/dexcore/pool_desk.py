"""What operators, providers of liquidity and traders do with pools themselves."""

from __future__ import annotations

from math import isqrt
from typing import Final, final

from dexcore.accounts import Account
from dexcore.amm.concentrated import LIQUIDITY_MAX, Concentrated
from dexcore.amm.constant_product import ConstantProduct
from dexcore.amm.pool_tick import POOL_TICK_MAX, POOL_TICK_MIN, SQRT_PRICE_MAX, SQRT_PRICE_MIN
from dexcore.amm.position import Range
from dexcore.book import BUY, SELL
from dexcore.events import LiquidityAdded, LiquidityRemoved, PoolCreated, PoolSwapped
from dexcore.ledger import Ledger
from dexcore.limits import (
    ITEM_INDEX_LIMIT,
    POOL_BOUNDS_MAX,
    POOL_POSITIONS_MAX,
    POOL_POSITIONS_PER_ACCOUNT_MAX,
)
from dexcore.market import Market, MarketStatus
from dexcore.pool import TICK_SPACING_OF_FEE, Curve, Pool, PoolKind, grid_of
from dexcore.pool_commands import (
    EXACT_IN,
    EXACT_OUT,
    AddLiquidity,
    CreatePool,
    PoolSwap,
    RemoveLiquidity,
)
from dexcore.reasons import Reason, Refused
from dexcore.results import Outcome

PoolCommand = AddLiquidity | RemoveLiquidity | PoolSwap
# A constant product has one position for everybody: from here to here.
_EVERYWHERE: Final = (0, 0)


@final
class PoolDesk:
    """Handles the commands about pools on the exchange's state."""

    __slots__ = ("_ledger", "_markets")

    def __init__(self, ledger: Ledger, markets: list[Market]) -> None:
        self._ledger = ledger
        self._markets = markets

    def _market(self, market_index: int) -> Market:
        if not 0 <= market_index < len(self._markets):
            raise Refused(Reason.UNKNOWN_MARKET, "market_id")
        return self._markets[market_index]

    # --- operators

    def create_pool(self, command: CreatePool, outcome: Outcome) -> None:
        """Give a market its pool; the same pool again is answered and changes nothing."""
        market = self._market(command.market_index)
        if market.is_external:
            raise Refused(Reason.MARKET_IS_EXTERNAL, "market_id")
        known = market.pool
        if known is not None:
            if command[2:] != (known.kind, known.curve.fee_ppm, known.price_ticks):
                raise Refused(Reason.POOL_EXISTS, "market_id")
            outcome.repeated = True
            outcome.key = known.account_key
            return
        if command.fee_ppm not in TICK_SPACING_OF_FEE:
            raise Refused(Reason.FIELD_INVALID, "fee_ppm")
        curve = _new_curve(market, command)
        account_key = outcome.sequence * ITEM_INDEX_LIMIT
        self._ledger.open_account(account_key)
        cells = self._ledger.cells_of(account_key, market.base, market.quote)
        kind = PoolKind(command.kind)
        market.pool = Pool(
            account_key, kind, curve, command.price_ticks, grid_of(market.spec), cells
        )
        outcome.key = account_key
        outcome.logged.append(
            PoolCreated(market.index, account_key, kind, curve.fee_ppm, command.price_ticks)
        )

    # --- accounts

    def apply(self, account: Account, command: PoolCommand, outcome: Outcome) -> None:
        """Carry out a signed command.

        Raises:
            Refused: nothing was changed.
        """
        market = self._market(command.market_index)
        pool = market.pool
        if pool is None:
            raise Refused(Reason.NO_POOL, "market_id")
        removes = isinstance(command, RemoveLiquidity)
        if market.status is not MarketStatus.OPEN and (
            not removes or market.status is MarketStatus.HALTED
        ):
            raise Refused(Reason.MARKET_NOT_OPEN, "market_id")
        if isinstance(command, AddLiquidity):
            self._add(account, market, pool, command, outcome)
        elif isinstance(command, RemoveLiquidity):
            self._remove(account, market, pool, command, outcome)
        else:
            self._swap(account, market, pool, command, outcome)
        pool.check_cells()
        outcome.key = pool.account_key

    def _add(
        self, account: Account, market: Market, pool: Pool, command: AddLiquidity, outcome: Outcome
    ) -> None:
        curve = pool.curve
        _check_range(curve, command)
        base_max, quote_max = command.base_atoms_max, command.quote_atoms_max
        for value, name in ((base_max, "base_atoms_max"), (quote_max, "quote_atoms_max")):
            if value < 0:
                raise Refused(Reason.FIELD_INVALID, name)
        if isinstance(curve, ConstantProduct):
            liquidity, *amounts = curve.mint_for(base_max, quote_max)
            if liquidity <= 0 or liquidity + curve.shares_total > LIQUIDITY_MAX:
                raise Refused(Reason.LIQUIDITY_OUT_OF_RANGE)
        else:
            place = command.lower_tick, command.upper_tick
            liquidity, *amounts = curve.mint_for(*place, base_max, quote_max)
            if liquidity <= 0 or liquidity + curve.liquidity_total > LIQUIDITY_MAX:
                raise Refused(Reason.LIQUIDITY_OUT_OF_RANGE)
            _check_room(curve, Range(account.key, *place))
        base_atoms, quote_atoms = amounts
        _check_least(base_atoms, quote_atoms, command)
        self._pay(account.key, pool.account_key, market, base_atoms, quote_atoms)
        if isinstance(curve, ConstantProduct):
            curve.mint(account.key, liquidity, base_atoms, quote_atoms)
        else:
            key = Range(account.key, command.lower_tick, command.upper_tick)
            curve.mint(key, liquidity, base_atoms, quote_atoms)
        outcome.amounts = (liquidity, base_atoms, quote_atoms)
        outcome.logged.append(
            LiquidityAdded(
                market.index,
                account.key,
                command.lower_tick,
                command.upper_tick,
                liquidity,
                base_atoms,
                quote_atoms,
            )
        )

    def _remove(
        self,
        account: Account,
        market: Market,
        pool: Pool,
        command: RemoveLiquidity,
        outcome: Outcome,
    ) -> None:
        curve, liquidity = pool.curve, command.liquidity
        _check_range(curve, command)
        if isinstance(curve, ConstantProduct):
            owned = curve.shares.get(account.key)
            if owned is None:
                raise Refused(Reason.UNKNOWN_POSITION, "market_id")
            if not 0 < liquidity <= owned:
                raise Refused(Reason.LIQUIDITY_OUT_OF_RANGE, "liquidity")
            _check_least(*curve.burn_for(liquidity), command)
            base_atoms, quote_atoms = curve.burn(account.key, liquidity)
        else:
            key = Range(account.key, command.lower_tick, command.upper_tick)
            position = curve.positions.get(key)
            if position is None:
                raise Refused(Reason.UNKNOWN_POSITION, "lower_tick")
            if not 0 <= liquidity <= position.liquidity:
                raise Refused(Reason.LIQUIDITY_OUT_OF_RANGE, "liquidity")
            # The bounds are of what is taken back; fees come on top.
            _check_least(*curve.burn_for(key, liquidity), command)
            curve.burn(key, liquidity)
            base_atoms, quote_atoms = curve.collect(key)
        self._pay(pool.account_key, account.key, market, base_atoms, quote_atoms)
        outcome.amounts = (liquidity, base_atoms, quote_atoms)
        outcome.logged.append(
            LiquidityRemoved(
                market.index,
                account.key,
                command.lower_tick,
                command.upper_tick,
                liquidity,
                base_atoms,
                quote_atoms,
            )
        )

    def _swap(
        self, account: Account, market: Market, pool: Pool, command: PoolSwap, outcome: Outcome
    ) -> None:
        side, amount, limit = command.side, command.amount_atoms, command.limit_atoms
        if side not in (BUY, SELL):
            raise Refused(Reason.FIELD_INVALID, "side")
        if command.exact not in (EXACT_IN, EXACT_OUT):
            raise Refused(Reason.FIELD_INVALID, "exact")
        if amount <= 0:
            raise Refused(Reason.FIELD_INVALID, "amount_atoms")
        if limit < 0:
            raise Refused(Reason.FIELD_INVALID, "limit_atoms")
        curve = pool.curve
        is_in = command.exact == EXACT_IN
        other = curve.quote_in(side, amount) if is_in else curve.quote_out(side, amount)
        if other is None:
            raise Refused(Reason.NO_LIQUIDITY)
        if other < limit if is_in else other > limit:
            raise Refused(Reason.SLIPPAGE, "limit_atoms")
        paid, got = (amount, other) if is_in else (other, amount)
        base_atoms, quote_atoms = (got, paid) if side == BUY else (paid, got)
        if side == BUY:
            self._pay(account.key, pool.account_key, market, 0, quote_atoms)
            self._pay(pool.account_key, account.key, market, base_atoms, 0)
        else:
            self._pay(account.key, pool.account_key, market, base_atoms, 0)
            self._pay(pool.account_key, account.key, market, 0, quote_atoms)
        if is_in:
            curve.swap_in(side, amount)
        else:
            curve.swap_out(side, amount)
        outcome.amounts = (base_atoms, quote_atoms)
        outcome.logged.append(PoolSwapped(market.index, account.key, side, base_atoms, quote_atoms))

    def _pay(
        self, payer: int, receiver: int, market: Market, base_atoms: int, quote_atoms: int
    ) -> None:
        ledger = self._ledger
        base_cell, quote_cell = ledger.cells_of(payer, market.base, market.quote)
        if base_atoms > base_cell.available or quote_atoms > quote_cell.available:
            raise Refused(Reason.INSUFFICIENT_FUNDS)
        ledger.transfer(payer, receiver, market.base, base_atoms)
        ledger.transfer(payer, receiver, market.quote, quote_atoms)


def _new_curve(market: Market, command: CreatePool) -> Curve:
    if command.kind == PoolKind.CONSTANT_PRODUCT:
        if command.price_ticks:
            raise Refused(Reason.FIELD_INVALID, "price_ticks")
        return ConstantProduct(command.fee_ppm)
    if command.kind != PoolKind.CONCENTRATED:
        raise Refused(Reason.FIELD_INVALID, "kind")
    market.check_price(command.price_ticks)
    quote_atoms = command.price_ticks * market.quote_atoms_per_tick_lot
    sqrt_price = isqrt((quote_atoms << 192) // market.base_atoms_per_lot)
    if not SQRT_PRICE_MIN <= sqrt_price < SQRT_PRICE_MAX:
        raise Refused(Reason.PRICE_OUT_OF_RANGE, "price_ticks")
    return Concentrated(command.fee_ppm, sqrt_price)


def _check_range(curve: Curve, command: AddLiquidity | RemoveLiquidity) -> None:
    lower_tick, upper_tick = command.lower_tick, command.upper_tick
    if isinstance(curve, ConstantProduct):
        if (lower_tick, upper_tick) != _EVERYWHERE:
            raise Refused(Reason.FIELD_INVALID, "lower_tick")
        return
    spacing = TICK_SPACING_OF_FEE[curve.fee_ppm]
    if not POOL_TICK_MIN <= lower_tick < POOL_TICK_MAX or lower_tick % spacing:
        raise Refused(Reason.FIELD_INVALID, "lower_tick")
    if not lower_tick < upper_tick <= POOL_TICK_MAX or upper_tick % spacing:
        raise Refused(Reason.FIELD_INVALID, "upper_tick")


def _check_least(
    base_atoms: int, quote_atoms: int, command: AddLiquidity | RemoveLiquidity
) -> None:
    if base_atoms < command.base_atoms_min:
        raise Refused(Reason.SLIPPAGE, "base_atoms_min")
    if quote_atoms < command.quote_atoms_min:
        raise Refused(Reason.SLIPPAGE, "quote_atoms_min")


def _check_room(curve: Concentrated, key: Range) -> None:
    """Refuse a position more than a pool or an account may have, or a bound too many."""
    if key in curve.positions:
        return
    positions, bounds = curve.positions, curve.bounds
    mine = sum(1 for known in positions if known.account_key == key.account_key)
    new_bounds = (key.lower_tick not in bounds) + (key.upper_tick not in bounds)
    if (
        len(positions) >= POOL_POSITIONS_MAX
        or mine >= POOL_POSITIONS_PER_ACCOUNT_MAX
        or len(bounds) + new_bounds > POOL_BOUNDS_MAX
    ):
        raise Refused(Reason.TOO_MANY_POSITIONS)
