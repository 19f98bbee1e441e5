"""Placing, matching and ending orders.

Theory of operation: an order first reserves its worst case (:mod:`dexcore.funds`),
then takes what the other side offers at its price or better, best price first and
first come first at a price, and then rests, ends or expires. A refused item changes
nothing. What an order must fulfil is in :mod:`dexcore.admission`, how it changes in
:mod:`dexcore.amending`, and what a step sets off in :mod:`dexcore.steps`.
"""

from __future__ import annotations

from typing import Final, final

from dexcore import admission, parking
from dexcore.accounts import Account
from dexcore.amm.router import LotSwap
from dexcore.book import BUY, Boxed, Level, Order
from dexcore.events import (
    ACCEPTED,
    CLOSED,
    LEVEL,
    TRADED,
    Logged,
    OrderRepriced,
    TermsAccepted,
)
from dexcore.expiries import Expiries, end_of_day_ns
from dexcore.funds import Funds, NoFunds
from dexcore.invariant import InvariantError, check
from dexcore.items import (
    DAY,
    FOK,
    HAS_TERMS,
    IOC,
    NO_TERMS,
    OCO,
    POST_ONLY,
    TYPE_MARKET,
    Item,
    Terms,
)
from dexcore.limits import BOUNDS, INT64_MAX, Bounds
from dexcore.market import NO_LIMITS, Market
from dexcore.reasons import Reason, Refused
from dexcore.reserve import NOTHING, Takeable, limit_of, takeable
from dexcore.results import Fill, OrderStatus, Result
from dexcore.said import pair_of
from dexcore.self_trades import prevent
from dexcore.terms import OrderTerms

# Looked up once: reading an enumeration's member costs more than comparing it.
_OPEN: Final = int(OrderStatus.OPEN)
_PARTIALLY_FILLED: Final = int(OrderStatus.PARTIALLY_FILLED)
_FILLED: Final = int(OrderStatus.FILLED)
_CANCELLED: Final = int(OrderStatus.CANCELLED)
_EXPIRED: Final = int(OrderStatus.EXPIRED)
_ACCEPTED: Final = int(Reason.NONE)


@final
class Matcher:
    """The order side of the exchange: one instance serves all markets of a shard."""

    __slots__ = (
        "bounds",
        "counts_money",
        "events",
        "expiries",
        "funds",
        "is_cut_off",
        "keeps_last_price",
        "markets",
        "meetings_left",
        "meetings_max",
        "met",
        "moved",
        "overdue",
        "spent",
        "stirred",
        "stops_left",
        "time_ns",
        "touched",
    )

    def __init__(self, markets: list[Market], funds: Funds, bounds: Bounds = BOUNDS) -> None:
        self.markets = markets
        self.funds = funds
        self.bounds = bounds
        self.counts_money = not isinstance(funds, NoFunds)
        # Where the running command's events go; set by the exchange.
        self.events: list[Logged] = []
        # The level that the running command changed last, in front of those before it.
        self.touched: Level | None = None
        # Markets where something waits and that the running step changed, by index.
        self.stirred: dict[int, Market] = {}
        # Open markets where triggered stops wait for the next command, and those with pegged
        # orders that the running one changed.
        self.overdue: dict[int, Market] = {}
        self.moved: dict[int, Market] = {}
        # Of the running command.
        self.time_ns = 0
        self.stops_left = bounds.stops_per_command
        # What all of its orders have met.
        self.met = 0
        self.expiries = Expiries()
        # Off for orders of version 1, whose journals' state has no last price.
        self.keeps_last_price = True
        # What an entering order may meet, and all items of the running command together: without
        # bound for orders of version 1.
        self.meetings_max = bounds.meetings_per_entry
        self.meetings_left = bounds.meetings_per_command
        # What of that the running item has spent.
        self.spent = 0
        # Whether the one that takes would meet more.
        self.is_cut_off = False

    def touch(self, level: Level) -> None:
        """Report a level when the command ends: before an order leaves it, after one joins it."""
        if level.next_touched is None:
            level.next_touched = level if self.touched is None else self.touched
            self.touched = level

    def flush_levels(self) -> None:
        """Report the final size of every changed level, market by market, and forget them."""
        level = self.touched
        if level is None:
            return
        self.touched = None
        if level.next_touched is not level:
            self._flush_levels(level)
            return
        level.next_touched = None
        market = self.markets[level.market_index]
        if not market.may_be_crossed:
            market.book.check_not_crossed()
        self.events.append(
            (LEVEL, level.market_index, level.side, level.price_ticks, level.quantity_lots)
        )

    def _flush_levels(self, level: Level) -> None:
        """More than one."""
        rows: list[Logged] = []
        while True:
            rows.append(
                (LEVEL, level.market_index, level.side, level.price_ticks, level.quantity_lots)
            )
            following = level.next_touched
            level.next_touched = None
            if following is None or following is level:
                break
            level = following
        rows.sort()
        events = self.events
        before: Logged = (LEVEL, -1, 0, 0, 0)
        for row in rows:
            if row[3] == before[3] and row[:3] == before[:3]:
                # A level that emptied, and the one that came to its price: the last of them counts.
                events.pop()
            elif row[1] != before[1]:
                market = self.markets[row[1]]
                if not market.may_be_crossed:
                    market.book.check_not_crossed()
            events.append(row)
            before = row

    def begin_items(self, *, bounded: bool) -> None:
        """Before the items of a command."""
        bounds = self.bounds
        self.meetings_left = bounds.meetings_per_command if bounded else INT64_MAX
        most = bounds.meetings_per_entry if bounded else INT64_MAX
        self.meetings_max = min(most, self.meetings_left)
        self.spent = 0

    def end_item(self) -> None:
        """Charge an item that spent something to the running command.

        Not before it is done: a fill or kill takes what it was counted to take.
        """
        self.meetings_left -= self.spent
        self.spent = 0
        self.meetings_max = max(0, min(self.meetings_max, self.meetings_left))

    # --- new orders

    def place(self, account: Account, item: Item, order_key: int, said: Terms = NO_TERMS) -> Result:
        """Take a new order in.

        Raises:
            Refused: nothing was changed.
        """
        market, order, needed_atoms = self._admit(account, item, order_key, said)
        self.funds.hold(order, needed_atoms)
        self.events.append(
            (
                ACCEPTED,
                order_key,
                account.key,
                market.index,
                order.side,
                item[6],
                order.open_lots,
                order.client_order_id,
            )
        )
        if order.terms is not None or order.price_ticks != item[6]:
            self._report_terms(order, item, said)
        if order.terms is not None and parking.waits(market, order.terms):
            limit = pair_of(account, item, order_key) if item[4] & OCO else None
            return parking.bring_in(self, market, order, order.terms, limit)
        fills = () if market.may_be_crossed else self.take(market, order, self.meetings_max)
        tif = item[3]
        return self.settle(market, order, fills, rests=tif not in (IOC, FOK))

    def _report_terms(self, order: Order, item: Item, said: Terms) -> None:
        """Report what an order has beyond what every order has, and the price that it slid to."""
        place = order.key, order.account.key, order.market_index
        if order.terms is not None:
            self.events.append(TermsAccepted(*place, *item[2:5], *said))
        if item[6] and order.price_ticks != item[6]:
            self.events.append(OrderRepriced(*place, order.price_ticks))

    def preview(
        self, account: Account, item: Item, said: Terms = NO_TERMS
    ) -> tuple[int, int, int, int]:
        """Check an order without placing it.

        Returns:
            Index of the asset it would reserve, atoms it would reserve, lots it
            would take at once, and their value in quote atoms.

        Raises:
            Refused: as placing it now would.
        """
        market, order, needed_atoms = self._admit(account, item, 0, said)
        cell = order.quote_cell if order.side == BUY else order.base_cell
        lots = notional_atoms = 0
        if not market.may_be_crossed and (
            order.terms is None or not parking.waits(market, order.terms)
        ):
            meetings_max = self.meetings_max
            lots, notional_atoms, _ = takeable(market, order, meetings_max)
        return cell.asset.index, needed_atoms, lots, notional_atoms

    def _admit(
        self, account: Account, item: Item, order_key: int, said: Terms
    ) -> tuple[Market, Order, int]:
        """Every check a new order must pass, in the order in which they refuse."""
        _, side, order_type, tif, flags, market_index, price_ticks, quantity_lots, client_id, _ = (
            item
        )
        market = admission.market_of(self.markets, market_index)
        admission.check_terms(market, account, item, order_key, said, self.time_ns)
        if price_ticks and market.limits is not NO_LIMITS:
            market.check_limits(price_ticks, quantity_lots)
        admission.check_account(account, client_id)
        funds = self.funds
        base_cell, quote_cell = funds.cells(account.key, market)
        order = Order(
            order_key,
            account,
            market_index,
            side,
            price_ticks,
            quantity_lots,
            client_id,
            flags & POST_ONLY != 0,
            market.maker_fee_ppm,
            market.taker_fee_ppm,
            base_cell,
            quote_cell,
        )
        if flags & HAS_TERMS or tif > FOK or order_type > TYPE_MARKET:
            terms = order.terms = OrderTerms(order_type, tif, price_ticks, said)
            if tif == DAY:
                terms.expire_time_ns = end_of_day_ns(self.time_ns)
            parking.prepare(market, order, terms, said[1], self.bounds)
            if parking.waits(market, terms):
                limit = pair_of(account, item, order_key) if flags & OCO else None
                return market, order, funds.needed(market, order, limit)
        if tif in (IOC, FOK) or flags:
            admission.check_against_book(market, order, item)
        is_market = order_type == TYPE_MARKET and tif <= FOK
        counts = tif == FOK or said[1] != 0 or (is_market and side == BUY)
        if (
            not self.meetings_max
            and not market.may_be_crossed
            and (counts or is_market or admission.crosses(market, side, order.price_ticks))
        ):
            raise Refused(Reason.TOO_MANY_MEETINGS)
        found = None
        if counts:
            found = self._count(market, order)
            admission.check_found(item, said, found.lots)
        return market, order, funds.needed(market, order, found=found if is_market else None)

    def _count(self, market: Market, order: Order) -> Takeable:
        """What a new order would take at once; the command pays for the dry run."""
        if market.may_be_crossed:
            return NOTHING
        found = takeable(market, order, self.meetings_max)
        self._spend(market, found.meetings)
        return found

    def _spend(self, market: Market, meetings: int) -> None:
        """Note what the running item met; going through a pool's ranges costs for itself."""
        if meetings:
            pool = market.pool
            self.spent += meetings if pool is None else meetings + pool.bound_count()

    # --- trading

    def take(self, market: Market, order: Order, meetings_max: int) -> tuple[Fill, ...]:
        """Trade against the other side while it offers the order's price or better.

        A price of zero takes at any price. Not in a call phase, which only collects. An order that
        has met so many as one may, and would meet more, is cut off: its rest cannot stay.
        """
        buys = order.side == BUY
        opposite = market.book.asks if buys else market.book.bids
        level = opposite.best
        swap = None if market.pool is None else market.pool.swap(order.side)
        fills: list[Fill] = []
        limit_ticks: int = order.price_ticks
        stp = 0 if order.terms is None else order.terms.stp
        meetings_left = meetings_max
        asked_ticks = 0
        while order.open_lots and level is not None:
            price_ticks: int = level.price_ticks
            if limit_ticks and (price_ticks > limit_ticks if buys else price_ticks < limit_ticks):
                break
            if swap is not None and meetings_left and price_ticks != asked_ticks:
                asked_ticks = price_ticks  # the pool has nothing better than this level after that
                meetings_left -= self._pool_first(market, order, swap, price_ticks, fills)
                if not order.open_lots:
                    break
            if not meetings_left:
                self.is_cut_off = True
                break
            meetings_left -= 1
            self.touch(level)
            maker = level.head
            if maker is None:
                check(False, "an empty level is in the book")
                break
            if stp and maker.account.owner == order.account.owner:
                if prevent(self, market, maker, order, stp):
                    break
                level = opposite.best
                continue
            open_lots = order.open_lots
            terms = maker.terms
            shown_lots = maker.open_lots if terms is None else maker.open_lots - terms.hidden_lots
            lots = min(shown_lots, open_lots)
            price = level.price_ticks
            fills.append(self.fill(market, maker, order, price, lots, order.taker_fee_ppm))
            level.quantity_lots -= lots
            if lots == shown_lots:
                if terms is not None and maker.open_lots:
                    self.touch(opposite.show_next(maker, terms))
                else:
                    # Its remainder is zero now, so removing it takes nothing from the sum.
                    opposite.remove(maker)
                    self.forget(market, maker, _FILLED)
                level = opposite.best
        if swap is not None:
            meetings_left = self._end_swap(market, order, swap, fills, meetings_left)
        met = meetings_max - meetings_left
        self.met += met
        self._spend(market, met)
        if fills and self.keeps_last_price:
            market.last_price_ticks = fills[-1][1]
        if fills and market.waiting is not None:
            market.waiting.traded(fills[0][1], fills[-1][1])
        return tuple(fills)

    def _pool_first(
        self, market: Market, order: Order, swap: LotSwap, level_ticks: int, fills: list[Fill]
    ) -> int:
        """Take what the pool has before a level of the book; how many meetings that was."""
        lots = swap.lots_before(level_ticks, order.open_lots)
        if not lots:
            return 0
        self._take_from_pool(market, order, swap, lots, fills)
        return 1

    def _take_from_pool(
        self, market: Market, order: Order, swap: LotSwap, lots: int, fills: list[Fill]
    ) -> None:
        """Carry out what the market's pool sells or buys next: at most two trades."""
        pool = market.pool
        if pool is None:
            return
        for price_ticks, piece_lots in swap.take(lots):
            fee = self.funds.trade_with_pool(market, pool, order, price_ticks, piece_lots)
            order.filled_lots += piece_lots
            order.open_lots -= piece_lots
            market.trade_sequence += 1
            fills.append((market.trade_sequence, price_ticks, piece_lots, fee))
            key = pool.account_key
            place = market.index, market.trade_sequence, price_ticks, piece_lots, order.side
            owners = key, order.key, key, order.account.key
            self.events.append((TRADED, *place, *owners, 0, fee))

    def _end_swap(
        self, market: Market, order: Order, swap: LotSwap, fills: list[Fill], meetings_left: int
    ) -> int:
        """Take what the pool has within the limit behind the book, and let the pool take it in.

        Returns:
            How many meetings are left then.
        """
        if not self.is_cut_off and (order.terms is None or not order.terms.is_prevented):
            lots = swap.lots_within(limit_of(market, order), order.open_lots)
            if lots and not meetings_left:
                self.is_cut_off = True
            elif lots:
                meetings_left -= 1
                self._take_from_pool(market, order, swap, lots, fills)
        pool = market.pool
        if pool is not None and swap.base_atoms:
            pool.curve.settle(order.side, swap.base_atoms, swap.quote_atoms)
            self.funds.settle_pool(pool)
        if fills and market.waiting is not None:
            # The pool's prices need not be in order with those of the book around them.
            prices = [fill[1] for fill in fills]
            market.waiting.traded(min(prices), max(prices))
        return meetings_left

    def fill(
        self,
        market: Market,
        maker: Order,
        taker: Order,
        price_ticks: Boxed,
        lots: int,
        taker_fee_ppm: int,
    ) -> Fill:
        """Carry out one trade and report it."""
        maker_fee = taker_fee = 0
        if self.counts_money:
            maker_fee, taker_fee = self.funds.trade(
                market, maker, taker, price_ticks, lots, taker_fee_ppm
            )
        maker.filled_lots += lots
        maker.open_lots -= lots
        taker.filled_lots += lots
        taker.open_lots -= lots
        if maker.terms is not None and market.waiting is not None:
            market.waiting.part(maker)
            if maker.terms.peg:
                # It holds its limit's worth, and traded at a better price.
                self.funds.keep_rest(market, maker)
        market.trade_sequence += 1
        sequence: Boxed = market.trade_sequence
        self.events.append(
            (
                TRADED,
                market.index,
                sequence,
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
        )
        return (sequence, price_ticks, lots, taker_fee)

    def settle(
        self, market: Market, order: Order, fills: tuple[Fill, ...], *, rests: bool
    ) -> Result:
        """After taking: rest, end filled, or expire."""
        if market.waiting is not None:
            self.stirred[market.index] = market
        terms = order.terms
        if terms is not None:
            if terms.is_prevented:
                return self.close(market, order, fills, _CANCELLED, decremented=True)
            terms.hide(order.open_lots)
        if not order.open_lots:
            return self.close(market, order, fills, _FILLED)
        if not rests or self.is_cut_off:
            self.is_cut_off = False
            return self.close(market, order, fills, _EXPIRED)
        if order.side == BUY:
            # What an auction is collected from holds its worst case until it is held.
            if not market.may_be_crossed:
                self.funds.keep_rest(market, order)
            self.touch(market.book.bids.add(order))
        else:
            if terms is not None:
                # A sell holds what it has open, unless prevention took from that.
                self.funds.keep_rest(market, order)
            self.touch(market.book.asks.add(order))
        return self.keep_open(order, fills, _PARTIALLY_FILLED if order.filled_lots else _OPEN)

    def keep_open(self, order: Order, fills: tuple[Fill, ...], status: int) -> Result:
        """Know an order that is in the book or waits by its account, and when it ends."""
        account = order.account
        account.open_orders[order.key] = order
        if order.client_order_id:
            account.client_orders[order.client_order_id] = order
        if order.terms is not None and order.terms.expire_time_ns:
            self.expiries.add(order.terms.expire_time_ns, order)
        return result_of(order, fills, status)

    # --- ending

    def take_out(self, market: Market, order: Order) -> None:
        """Take an open order from where it is; what it holds stays held."""
        waiting = market.waiting
        if waiting is not None:
            self.stirred[market.index] = market
            if order.key in waiting.parked:
                waiting.unpark(order)
                return
        level = order.level
        if level is not None:
            self.touch(level)
        market.book.side(order.side).remove(order)

    def close(
        self,
        market: Market,
        order: Order,
        fills: tuple[Fill, ...],
        status: int,
        *,
        decremented: bool = False,
    ) -> Result:
        """End an order as :meth:`forget` does; its result."""
        self.forget(market, order, status, decremented=decremented)
        return result_of(order, fills, status)

    def forget(
        self, market: Market, order: Order, status: int, *, decremented: bool = False
    ) -> None:
        """End an order that is in no book: give the rest of what it holds back and forget it.

        Only one that self-trade prevention ``decremented`` may end unfilled with nothing open.
        """
        if self.counts_money:
            self.funds.keep_nothing(order)
        terms = order.terms
        if terms is not None:
            if terms.expire_time_ns:
                self.expiries.remove(terms.expire_time_ns, order)
            if market.waiting is not None:
                market.waiting.ended(order)
        account, key, client_id = order.account, order.key, order.client_order_id
        if key in account.open_orders:
            del account.open_orders[key]
            if client_id:
                del account.client_orders[client_id]
        open_lots = order.open_lots
        if (open_lots == 0) is not (status == _FILLED) and not (decremented and not open_lots):
            raise InvariantError("wrong end of an order")
        self.events.append(
            (CLOSED, key, account.key, market.index, status, order.filled_lots, open_lots)
        )


def result_of(order: Order, fills: tuple[Fill, ...], status: int) -> Result:
    """What is answered about an order."""
    return (
        order.key,
        order.client_order_id,
        status,
        order.filled_lots,
        order.open_lots,
        fills,
        _ACCEPTED,
        "",
    )
