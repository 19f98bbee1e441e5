"""What orders hold and what trades move: the matcher's view of the money.

Theory of operation: the matcher says what happens to an order and never counts money itself. With
:class:`LedgerFunds` an order reserves its worst case (:mod:`dexcore.reserve`) before it may match,
each trade moves base and quote between the two owners and the fee to the fee account, and what an
order holds is exactly what its open remainder may still cost. With :class:`NoFunds` orders are
matched as if everybody could pay: for a backtest, and to measure the matcher alone.
"""

# ruff: noqa: ARG002 - who books nothing uses nothing of what it is told
from __future__ import annotations

from typing import final

from dexcore.book import BUY, Order
from dexcore.invariant import InvariantError
from dexcore.ledger import Asset, Cell, Ledger
from dexcore.limits import PPM
from dexcore.market import Market
from dexcore.pool import Pool
from dexcore.reasons import Reason, Refused
from dexcore.reserve import (
    Takeable,
    buy_worst_case,
    maker_remainder,
    worst_price_ticks,
)


class Funds:
    """The port. Every amount is in atoms."""

    __slots__ = ()

    def cells(self, account_key: int, market: Market) -> tuple[Cell, Cell]:
        """The account's base and quote of the market, for the order to keep."""
        raise NotImplementedError

    def needed(
        self,
        market: Market,
        order: Order,
        beside: Order | None = None,
        found: Takeable | None = None,
    ) -> int:
        """Worst case of a new order's open lots at its price, less what the one beside it holds.

        A market order takes what was ``found`` at most, whatever its price.

        Raises:
            Refused: INSUFFICIENT_FUNDS.
        """
        raise NotImplementedError

    def hold(self, order: Order, atoms: int) -> None:
        """Reserve so much more for the order: what :meth:`needed` said."""
        raise NotImplementedError

    def needed_again(self, market: Market, order: Order, open_lots: int, price_ticks: int) -> int:
        """Worst case of an order with other terms, which may use what it holds.

        Raises:
            Refused: INSUFFICIENT_FUNDS.
        """
        raise NotImplementedError

    def cover(self, market: Market, order: Order, beside: Order | None) -> None:
        """Let an order hold its worst case less what the one beside it holds: never both need it.

        It has that much: together the two hold no less than before.
        """
        raise NotImplementedError

    def keep_rest(self, market: Market, order: Order) -> None:
        """Keep what the order's open lots need while it rests: it can only be a maker now."""
        raise NotImplementedError

    def keep_nothing(self, order: Order) -> None:
        """Give all the order still holds back: it ended."""
        raise NotImplementedError

    def trade(
        self,
        market: Market,
        maker: Order,
        taker: Order,
        price_ticks: int,
        lots: int,
        taker_fee_ppm: int,
    ) -> tuple[int, int]:
        """Move base, quote and fees of one trade; the maker's fee and the taker's."""
        raise NotImplementedError

    def trade_with_pool(
        self, market: Market, pool: Pool, taker: Order, price_ticks: int, lots: int
    ) -> int:
        """The same with the market's pool as maker, which pays no fee; the taker's."""
        raise NotImplementedError

    def settle_pool(self, pool: Pool) -> None:
        """Compare what the pool counts with the money, at the end of a swap."""
        raise NotImplementedError


@final
class NoFunds(Funds):
    """No ledger: nothing is reserved, moved or refused."""

    __slots__ = ("_cell",)

    def __init__(self) -> None:
        self._cell = Cell(Asset(0, "", 0))

    def cells(self, account_key: int, market: Market) -> tuple[Cell, Cell]:
        """One cell for all, which nothing is booked to."""
        return self._cell, self._cell

    def needed(
        self,
        market: Market,
        order: Order,
        beside: Order | None = None,
        found: Takeable | None = None,
    ) -> int:
        """Nothing."""
        return 0

    def hold(self, order: Order, atoms: int) -> None:
        """Nothing."""

    def needed_again(self, market: Market, order: Order, open_lots: int, price_ticks: int) -> int:
        """Nothing."""
        return 0

    def cover(self, market: Market, order: Order, beside: Order | None) -> None:
        """Nothing."""

    def keep_rest(self, market: Market, order: Order) -> None:
        """Nothing."""

    def keep_nothing(self, order: Order) -> None:
        """Nothing."""

    def trade(
        self,
        market: Market,
        maker: Order,
        taker: Order,
        price_ticks: int,
        lots: int,
        taker_fee_ppm: int,
    ) -> tuple[int, int]:
        """No fees."""
        return 0, 0

    def trade_with_pool(
        self, market: Market, pool: Pool, taker: Order, price_ticks: int, lots: int
    ) -> int:
        """No fees."""
        return 0

    def settle_pool(self, pool: Pool) -> None:
        """Nothing."""


@final
class LedgerFunds(Funds):
    """Reservations, double entry and fees in a :class:`~dexcore.ledger.Ledger`."""

    __slots__ = ("_ledger",)

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def cells(self, account_key: int, market: Market) -> tuple[Cell, Cell]:
        """The account's cells, made on first use."""
        return self._ledger.cells_of(account_key, market.base, market.quote)

    def needed(
        self,
        market: Market,
        order: Order,
        beside: Order | None = None,
        found: Takeable | None = None,
    ) -> int:
        """See :meth:`Funds.needed`."""
        lots = order.open_lots
        if order.side == BUY:
            if found is not None:
                notional_atoms = found.notional_atoms
            else:
                price_ticks = worst_price_ticks(order)
                notional_atoms = lots * price_ticks * market.quote_atoms_per_tick_lot
            needed_atoms = buy_worst_case(order, notional_atoms)
            available_atoms = order.quote_cell.available
        else:
            needed_atoms = lots * market.base_atoms_per_lot
            available_atoms = order.base_cell.available
        if beside is not None:
            needed_atoms = max(0, needed_atoms - beside.reserved_atoms)
        if needed_atoms > available_atoms:
            raise Refused(Reason.INSUFFICIENT_FUNDS, "quantity_lots")
        return needed_atoms

    def hold(self, order: Order, atoms: int) -> None:
        """See :meth:`Funds.hold`."""
        cell = order.quote_cell if order.side == BUY else order.base_cell
        cell.hold(atoms)
        order.reserved_atoms += atoms

    def needed_again(self, market: Market, order: Order, open_lots: int, price_ticks: int) -> int:
        """See :meth:`Funds.needed_again`."""
        if order.side == BUY:
            notional_atoms = open_lots * price_ticks * market.quote_atoms_per_tick_lot
            needed_atoms = buy_worst_case(order, notional_atoms)
            cell = order.quote_cell
        else:
            needed_atoms = open_lots * market.base_atoms_per_lot
            cell = order.base_cell
        if needed_atoms > cell.available + order.reserved_atoms:
            raise Refused(Reason.INSUFFICIENT_FUNDS, "quantity_lots")
        return needed_atoms

    def cover(self, market: Market, order: Order, beside: Order | None) -> None:
        """See :meth:`Funds.cover`."""
        beside_atoms = 0 if beside is None else beside.reserved_atoms
        if order.side == BUY:
            price_ticks = worst_price_ticks(order)
            notional_atoms = order.open_lots * price_ticks * market.quote_atoms_per_tick_lot
            worst_atoms = buy_worst_case(order, notional_atoms)
        else:
            worst_atoms = order.open_lots * market.base_atoms_per_lot
        more_atoms = max(0, worst_atoms - beside_atoms) - order.reserved_atoms
        if more_atoms > 0:
            self.hold(order, more_atoms)
        else:
            self._keep(order, order.reserved_atoms + more_atoms)

    def keep_rest(self, market: Market, order: Order) -> None:
        """See :meth:`Funds.keep_rest`."""
        if order.side == BUY:
            price_ticks = worst_price_ticks(order)
            notional_atoms = order.open_lots * price_ticks * market.quote_atoms_per_tick_lot
            self._keep(order, maker_remainder(order, notional_atoms))
        else:
            self._keep(order, order.open_lots * market.base_atoms_per_lot)

    def keep_nothing(self, order: Order) -> None:
        """See :meth:`Funds.keep_nothing`."""
        if order.reserved_atoms:
            self._keep(order, 0)

    def _keep(self, order: Order, keep_atoms: int) -> None:
        """Give back what the order holds beyond ``keep_atoms``."""
        surplus = order.reserved_atoms - keep_atoms
        if surplus:
            if surplus < 0:
                raise InvariantError("an order holds less than it needs")
            cell = order.quote_cell if order.side == BUY else order.base_cell
            cell.release(surplus)
            order.reserved_atoms = keep_atoms

    def trade(
        self,
        market: Market,
        maker: Order,
        taker: Order,
        price_ticks: int,
        lots: int,
        taker_fee_ppm: int,
    ) -> tuple[int, int]:
        """See :meth:`Funds.trade`."""
        base_atoms = lots * market.base_atoms_per_lot
        notional_atoms = lots * price_ticks * market.quote_atoms_per_tick_lot
        maker_fee = _charge_fee(maker, notional_atoms * maker.maker_fee_ppm)
        taker_fee = _charge_fee(taker, notional_atoms * taker_fee_ppm)
        if taker.side == BUY:
            buyer, seller, buyer_fee, seller_fee = taker, maker, taker_fee, maker_fee
        else:
            buyer, seller, buyer_fee, seller_fee = maker, taker, maker_fee, taker_fee
        buyer.quote_cell.pay(seller.quote_cell, notional_atoms - seller_fee)
        if buyer_fee or seller_fee:
            buyer.quote_cell.pay(market.fee_cell, buyer_fee + seller_fee)
        buyer.reserved_atoms -= notional_atoms + buyer_fee
        seller.base_cell.pay(buyer.base_cell, base_atoms)
        seller.reserved_atoms -= base_atoms
        if buyer.reserved_atoms < 0 or seller.reserved_atoms < 0:
            raise InvariantError("a fill cost more than reserved")
        return maker_fee, taker_fee

    def trade_with_pool(
        self, market: Market, pool: Pool, taker: Order, price_ticks: int, lots: int
    ) -> int:
        """See :meth:`Funds.trade_with_pool`."""
        base_atoms = lots * market.base_atoms_per_lot
        notional_atoms = lots * price_ticks * market.quote_atoms_per_tick_lot
        fee_atoms = _charge_fee(taker, notional_atoms * taker.taker_fee_ppm)
        if taker.side == BUY:
            taker.quote_cell.debit_held(notional_atoms + fee_atoms)
            taker.reserved_atoms -= notional_atoms + fee_atoms
            pool.base_cell.debit_available(base_atoms)
            taker.base_cell.credit(base_atoms)
            pool.quote_cell.credit(notional_atoms)
        else:
            taker.base_cell.debit_held(base_atoms)
            taker.reserved_atoms -= base_atoms
            pool.quote_cell.debit_available(notional_atoms)
            pool.base_cell.credit(base_atoms)
            taker.quote_cell.credit(notional_atoms - fee_atoms)
        if fee_atoms:
            market.fee_cell.credit(fee_atoms)
        if taker.reserved_atoms < 0:
            raise InvariantError("a fill cost more than reserved")
        return fee_atoms

    def settle_pool(self, pool: Pool) -> None:
        """See :meth:`Funds.settle_pool`."""
        pool.check_cells()


def _charge_fee(order: Order, fee_ppm_atoms: int) -> int:
    """Atoms to charge now so that the order's total fee is its exact sum rounded up once.

    Rounding each fill up by itself would let many small fills cost more than the
    reservation of the whole.
    """
    accrued = order.fee_accrued_ppm_atoms + fee_ppm_atoms
    order.fee_accrued_ppm_atoms = accrued
    total_atoms = -(-accrued // PPM)
    fee_atoms = total_atoms - order.fee_charged_atoms
    order.fee_charged_atoms = total_atoms
    return fee_atoms
