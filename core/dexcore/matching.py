"""Placing, matching, amending and cancelling orders.

Theory of operation: an order first reserves its worst case (:mod:`dexcore.reserve`),
then takes what the other side offers at its price or better, best price first and
first come first at a price, and then rests, ends or expires. Each fill moves base
and quote between the two owners and the fee to the fee account; what an order
holds is exactly what its open remainder may still cost. A refused item changes
nothing.
"""

from __future__ import annotations

from typing import Final, final

from dexcore.accounts import Account, Accounts
from dexcore.book import BUY, SELL, Order
from dexcore.commands import FOK, GTC, IOC, NO_MARKET, TYPE_LIMIT, TYPE_MARKET, Item
from dexcore.events import Event, LevelChanged, OrderAccepted, OrderAmended, OrderClosed, Trade
from dexcore.invariant import InvariantError, check
from dexcore.ledger import Ledger
from dexcore.limits import OPEN_ORDERS_PER_ACCOUNT_MAX, PPM
from dexcore.market import Market, MarketStatus
from dexcore.reasons import Reason, Refused
from dexcore.reserve import buy_worst_case, maker_remainder, takeable
from dexcore.results import Fill, ItemResult, OrderStatus

# Looked up once: reading an enumeration's member costs more than comparing it.
_MARKET_OPEN: Final = MarketStatus.OPEN
_OPEN: Final = OrderStatus.OPEN
_PARTIALLY_FILLED: Final = OrderStatus.PARTIALLY_FILLED
_FILLED: Final = OrderStatus.FILLED
_CANCELLED: Final = OrderStatus.CANCELLED
_EXPIRED: Final = OrderStatus.EXPIRED
_HALTED: Final = MarketStatus.HALTED
_ACCEPTED: Final = Reason.NONE
# An event or result made by this costs half of what calling its class does.
_new: Final = tuple.__new__


@final
class Matcher:
    """The order side of the exchange: one instance serves all markets of a shard."""

    __slots__ = ("_accounts", "_ledger", "_markets", "_touched", "events")

    def __init__(self, accounts: Accounts, ledger: Ledger, markets: list[Market]) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._markets = markets
        # Where the running command's events go; set by the exchange.
        self.events: list[Event] = []
        # Price levels the running command changed: (market index, side, price).
        self._touched: dict[tuple[int, int, int], None] = {}

    def flush_levels(self) -> None:
        """Report the final size of every changed level, market by market, and forget them."""
        touched = self._touched
        if not touched:
            return
        events = self.events
        markets = self._markets
        checked = -1
        for market_index, side, price_ticks in sorted(touched) if len(touched) > 1 else touched:
            book = markets[market_index].book
            if market_index != checked:
                book.check_not_crossed()
                checked = market_index
            quantity_lots = book.side(side).quantity_at(price_ticks)
            events.append(_new(LevelChanged, (market_index, side, price_ticks, quantity_lots)))
        touched.clear()

    # --- items

    def place(self, account: Account, item: Item, order_key: int) -> ItemResult:
        """Take a new order in.

        Raises:
            Refused: nothing was changed.
        """
        market, order, needed_atoms = self._admit(account, item, order_key)
        _, side, order_type, _, _, market_index, price_ticks, quantity_lots, client_id, _ = item
        cell = order.quote_cell if side == BUY else order.base_cell
        cell.hold(needed_atoms)
        order.reserved_atoms = needed_atoms
        event = (
            order_key,
            account.key,
            market_index,
            side,
            price_ticks,
            quantity_lots,
            client_id,
        )
        self.events.append(_new(OrderAccepted, event))
        fills = self._take(market, order, order_type == TYPE_MARKET)
        return self._settle_remainder(market, order, fills, rests=item[3] == GTC)

    def preview(self, account: Account, item: Item) -> tuple[int, int, int, int]:
        """Check an order without placing it.

        Returns:
            Index of the asset it would reserve, atoms it would reserve, lots it
            would take at once, and their value in quote atoms.

        Raises:
            Refused: as placing it now would.
        """
        market, order, needed_atoms = self._admit(account, item, 0)
        cell = order.quote_cell if order.side == BUY else order.base_cell
        limit_price = None if item[2] == TYPE_MARKET else order.price_ticks
        lots, notional_atoms = takeable(market, order.side, limit_price, order.quantity_lots)
        return cell.asset.index, needed_atoms, lots, notional_atoms

    def _admit(self, account: Account, item: Item, order_key: int) -> tuple[Market, Order, int]:
        """Every check a new order must pass, in the order in which they refuse."""
        _, side, order_type, tif, post_only, market_index, price, quantity, client_id, _ = item
        market = self._market(market_index)
        if market.is_external:
            raise Refused(Reason.MARKET_IS_EXTERNAL, "market_id")
        if market.status is not _MARKET_OPEN:
            raise Refused(Reason.MARKET_NOT_OPEN, "market_id")
        self._check_terms(market, side, order_type, tif, post_only, price, quantity)
        if client_id:
            if client_id < 0:
                raise Refused(Reason.FIELD_INVALID, "client_order_id")
            if client_id in account.client_orders:
                raise Refused(Reason.CLIENT_ORDER_ID_IN_USE, "client_order_id")
        if len(account.open_orders) >= OPEN_ORDERS_PER_ACCOUNT_MAX:
            raise Refused(Reason.TOO_MANY_OPEN_ORDERS)
        base_cell, quote_cell = self._ledger.cells_of(account.key, market.base, market.quote)
        order = Order(
            order_key,
            account,
            market_index,
            side,
            price,
            quantity,
            client_id,
            bool(post_only),
            market.maker_fee_ppm,
            market.taker_fee_ppm,
            base_cell,
            quote_cell,
        )
        if tif != GTC or post_only:
            self._check_against_book(market, order, order_type, tif)
        if side == BUY:
            cell = quote_cell
            needed_atoms = self._buy_worst_case(market, order, order_type == TYPE_MARKET)
        else:
            cell = base_cell
            needed_atoms = quantity * market.base_atoms_per_lot
        if needed_atoms > cell.available:
            raise Refused(Reason.INSUFFICIENT_FUNDS, "quantity_lots")
        return market, order, needed_atoms

    def cancel(self, account: Account, order_key: int, client_order_id: int) -> ItemResult:
        """Take an open order out of the book and give its reservation back."""
        order = self._open_order(account, order_key, client_order_id)
        market = self._markets[order.market_index]
        if market.status is _HALTED:
            raise Refused(Reason.MARKET_NOT_OPEN, "market_id")
        self._touched[(market.index, order.side, order.price_ticks)] = None
        market.book.side(order.side).remove(order)
        return self._close(market, order, (), _CANCELLED)

    def cancel_all(self, account: Account, market_index: int) -> list[ItemResult]:
        """Cancel every open order of the account, or of the account in one market."""
        if market_index != NO_MARKET:
            self._market(market_index)
        chosen = [
            order
            for order in account.open_orders.values()
            if market_index in (NO_MARKET, order.market_index)
            and self._markets[order.market_index].status is not _HALTED
        ]
        return [self.cancel(account, order.key, 0) for order in chosen]

    def amend(
        self,
        account: Account,
        order_key: int,
        client_order_id: int,
        quantity_lots: int,
        price_ticks: int,
    ) -> ItemResult:
        """Change size or price of an open order.

        A smaller size at the same price keeps the place in the queue; anything
        else gives it up and may trade at once. ``quantity_lots`` counts what is
        filled (FIX tag 38 of a replace request).
        """
        order = self._open_order(account, order_key, client_order_id)
        market = self._markets[order.market_index]
        if market.status is not _MARKET_OPEN:
            raise Refused(Reason.MARKET_NOT_OPEN, "market_id")
        price_ticks = price_ticks or order.price_ticks
        market.check_price(price_ticks)
        market.check_quantity(quantity_lots)
        if quantity_lots <= order.filled_lots:
            raise Refused(Reason.AMEND_BELOW_FILLED, "quantity_lots")
        if price_ticks == order.price_ticks and quantity_lots <= order.quantity_lots:
            return self._shrink(market, order, quantity_lots)
        return self._replace(market, order, quantity_lots, price_ticks)

    # --- checks

    def _market(self, market_index: int) -> Market:
        if market_index >= len(self._markets):
            raise Refused(Reason.UNKNOWN_MARKET, "market_id")
        return self._markets[market_index]

    def _open_order(self, account: Account, order_key: int, client_order_id: int) -> Order:
        if order_key:
            order = account.open_orders.get(order_key)
            field = "order_id"
        else:
            order = account.client_orders.get(client_order_id)
            field = "client_order_id"
        if order is None:
            raise Refused(Reason.UNKNOWN_ORDER, field)
        return order

    @staticmethod
    def _check_terms(
        market: Market,
        side: int,
        order_type: int,
        tif: int,
        post_only: int,
        price_ticks: int,
        quantity_lots: int,
    ) -> None:
        if side != BUY and side != SELL:
            raise Refused(Reason.FIELD_INVALID, "side")
        if order_type != TYPE_LIMIT and order_type != TYPE_MARKET:
            raise Refused(Reason.FIELD_INVALID, "type")
        if tif != GTC and tif != IOC and tif != FOK:
            raise Refused(Reason.FIELD_INVALID, "time_in_force")
        market.check_quantity(quantity_lots)
        if order_type == TYPE_LIMIT:
            market.check_price(price_ticks)
            if post_only and tif != GTC:
                raise Refused(Reason.TIME_IN_FORCE_INVALID, "post_only")
        else:
            if price_ticks:
                raise Refused(Reason.FIELD_INVALID, "price_ticks")
            if tif == GTC:
                raise Refused(Reason.TIME_IN_FORCE_INVALID, "time_in_force")
            if post_only:
                raise Refused(Reason.TIME_IN_FORCE_INVALID, "post_only")

    @staticmethod
    def _crosses(market: Market, side: int, price_ticks: int) -> bool:
        best = market.book.opposite(side).best
        if best is None:
            return False
        if side == BUY:
            return price_ticks >= best.price_ticks
        return price_ticks <= best.price_ticks

    def _check_against_book(self, market: Market, order: Order, order_type: int, tif: int) -> None:
        """Refuse what the book as it stands makes impossible."""
        if order.post_only and self._crosses(market, order.side, order.price_ticks):
            raise Refused(Reason.POST_ONLY_WOULD_TAKE, "post_only")
        if order_type == TYPE_MARKET and market.book.opposite(order.side).best is None:
            raise Refused(Reason.NO_LIQUIDITY)
        if tif == FOK:
            limit_price = None if order_type == TYPE_MARKET else order.price_ticks
            lots, _ = takeable(market, order.side, limit_price, order.quantity_lots)
            if lots < order.quantity_lots:
                raise Refused(Reason.FILL_OR_KILL_UNFILLABLE, "quantity_lots")

    # --- reservation

    @staticmethod
    def _buy_worst_case(market: Market, order: Order, is_market: bool) -> int:
        """Quote atoms a new buy can cost at worst."""
        lots = order.quantity_lots
        if is_market:
            _, notional_atoms = takeable(market, BUY, None, lots)
        else:
            notional_atoms = lots * order.price_ticks * market.quote_atoms_per_tick_lot
        return buy_worst_case(order, notional_atoms)

    def _release(self, order: Order, keep_atoms: int) -> None:
        """Give back what the order holds beyond ``keep_atoms``."""
        surplus = order.reserved_atoms - keep_atoms
        if surplus < 0:
            raise InvariantError("an order holds less than it needs")
        if surplus:
            cell = order.quote_cell if order.side == BUY else order.base_cell
            cell.release(surplus)
            order.reserved_atoms = keep_atoms

    # --- trading

    def _take(self, market: Market, order: Order, is_market: bool) -> tuple[Fill, ...]:
        """Trade against the other side while it offers the order's price or better."""
        buys = order.side == BUY
        opposite = market.book.asks if buys else market.book.bids
        if opposite.best is None:
            return ()
        fills: list[Fill] = []
        touched = self._touched
        maker_side = SELL if buys else BUY
        limit_ticks = order.price_ticks
        remaining_lots = order.quantity_lots - order.filled_lots
        while remaining_lots and (level := opposite.best) is not None:
            price_ticks = level.price_ticks
            if not is_market and (price_ticks > limit_ticks if buys else price_ticks < limit_ticks):
                break
            touched[(market.index, maker_side, price_ticks)] = None
            maker = level.head
            if maker is None:
                check(False, "an empty level is in the book")
                break
            maker_open_lots = maker.quantity_lots - maker.filled_lots
            lots = min(remaining_lots, maker_open_lots)
            fills.append(self._fill(market, maker, order, price_ticks, lots))
            remaining_lots -= lots
            if lots == maker_open_lots:
                # Its remainder is zero now, so removing it takes nothing from the sum.
                level.quantity_lots -= lots
                opposite.remove(maker)
                self._close(market, maker, (), _FILLED)
            else:
                level.quantity_lots -= lots
        return tuple(fills)

    def _fill(
        self, market: Market, maker: Order, taker: Order, price_ticks: int, lots: int
    ) -> Fill:
        """Move base, quote and fees of one trade and report it."""
        base_atoms = lots * market.base_atoms_per_lot
        notional_atoms = lots * price_ticks * market.quote_atoms_per_tick_lot
        maker_fee = _charge_fee(maker, notional_atoms * maker.maker_fee_ppm)
        taker_fee = _charge_fee(taker, notional_atoms * taker.taker_fee_ppm)
        if taker.side == BUY:
            buyer, seller, buyer_fee, seller_fee = taker, maker, taker_fee, maker_fee
        else:
            buyer, seller, buyer_fee, seller_fee = maker, taker, maker_fee, taker_fee
        paid_atoms = notional_atoms + buyer_fee
        buyer.quote_cell.debit_held(paid_atoms)
        buyer.reserved_atoms -= paid_atoms
        seller.base_cell.debit_held(base_atoms)
        seller.reserved_atoms -= base_atoms
        buyer.base_cell.credit(base_atoms)
        seller.quote_cell.credit(notional_atoms - seller_fee)
        if buyer_fee or seller_fee:
            market.fee_cell.credit(buyer_fee + seller_fee)
        if buyer.reserved_atoms < 0 or seller.reserved_atoms < 0:
            raise InvariantError("a fill cost more than reserved")
        maker.filled_lots += lots
        taker.filled_lots += lots
        market.trade_sequence += 1
        event = (
            market.index,
            market.trade_sequence,
            price_ticks,
            lots,
            taker.side,
            maker.key,
            taker.key,
            maker.account.key,
            taker.account.key,
            maker_fee,
            taker_fee,
        )
        self.events.append(_new(Trade, event))
        return (market.trade_sequence, price_ticks, lots, taker_fee)

    def _settle_remainder(
        self, market: Market, order: Order, fills: tuple[Fill, ...], *, rests: bool
    ) -> ItemResult:
        """After taking: rest, end filled, or expire."""
        remaining_lots = order.quantity_lots - order.filled_lots
        if not remaining_lots:
            return self._close(market, order, fills, _FILLED)
        if not rests:
            return self._close(market, order, fills, _EXPIRED)
        if order.side == BUY:
            notional_atoms = remaining_lots * order.price_ticks * market.quote_atoms_per_tick_lot
            self._release(order, maker_remainder(order, notional_atoms))
        market.book.side(order.side).add(order)
        self._touched[(market.index, order.side, order.price_ticks)] = None
        account = order.account
        account.open_orders[order.key] = order
        if order.client_order_id:
            account.client_orders[order.client_order_id] = order
        return _result(order, fills, _open_status(order))

    def _close(
        self, market: Market, order: Order, fills: tuple[Fill, ...], status: OrderStatus
    ) -> ItemResult:
        """End an order: give the rest of its reservation back and forget it."""
        self._release(order, 0)
        account = order.account
        account.open_orders.pop(order.key, None)
        if order.client_order_id:
            account.client_orders.pop(order.client_order_id, None)
        remaining_lots = order.quantity_lots - order.filled_lots
        if (remaining_lots == 0) is not (status is _FILLED):
            raise InvariantError("wrong end of an order")
        event = (order.key, account.key, market.index, status, order.filled_lots, remaining_lots)
        self.events.append(_new(OrderClosed, event))
        return _result(order, fills, status)

    # --- amending

    def _shrink(self, market: Market, order: Order, quantity_lots: int) -> ItemResult:
        """Make an order smaller in its place."""
        level = order.level
        if level is None:
            check(False, "amended an order that does not rest")
            raise Refused(Reason.UNKNOWN_ORDER)
        level.quantity_lots -= order.quantity_lots - quantity_lots
        order.quantity_lots = quantity_lots
        remaining_lots = quantity_lots - order.filled_lots
        if order.side == BUY:
            notional_atoms = remaining_lots * order.price_ticks * market.quote_atoms_per_tick_lot
            self._release(order, maker_remainder(order, notional_atoms))
        else:
            self._release(order, remaining_lots * market.base_atoms_per_lot)
        self._touched[(market.index, order.side, order.price_ticks)] = None
        self.events.append(
            OrderAmended(
                order.key,
                order.account.key,
                market.index,
                order.price_ticks,
                quantity_lots,
                1,
            )
        )
        return _result(order, (), _open_status(order))

    def _replace(
        self, market: Market, order: Order, quantity_lots: int, price_ticks: int
    ) -> ItemResult:
        """Take the order out and bring it in again with new terms."""
        if order.post_only and self._crosses(market, order.side, price_ticks):
            raise Refused(Reason.POST_ONLY_WOULD_TAKE, "price_ticks")
        remaining_lots = quantity_lots - order.filled_lots
        if order.side == BUY:
            notional_atoms = remaining_lots * price_ticks * market.quote_atoms_per_tick_lot
            needed = buy_worst_case(order, notional_atoms)
            cell = order.quote_cell
        else:
            needed = remaining_lots * market.base_atoms_per_lot
            cell = order.base_cell
        if needed > cell.available + order.reserved_atoms:
            raise Refused(Reason.INSUFFICIENT_FUNDS, "quantity_lots")
        self._touched[(market.index, order.side, order.price_ticks)] = None
        market.book.side(order.side).remove(order)
        self._release(order, 0)
        order.quantity_lots = quantity_lots
        order.price_ticks = price_ticks
        cell.hold(needed)
        order.reserved_atoms = needed
        self.events.append(
            OrderAmended(order.key, order.account.key, market.index, price_ticks, quantity_lots, 0)
        )
        fills = self._take(market, order, is_market=False)
        return self._settle_remainder(market, order, fills, rests=True)


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


def _open_status(order: Order) -> OrderStatus:
    return _PARTIALLY_FILLED if order.filled_lots else _OPEN


def _result(order: Order, fills: tuple[Fill, ...], status: OrderStatus) -> ItemResult:
    result = (
        order.key,
        order.client_order_id,
        status,
        order.filled_lots,
        order.quantity_lots - order.filled_lots,
        fills,
        _ACCEPTED,
        "",
    )
    return _new(ItemResult, result)
