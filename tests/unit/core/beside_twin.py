"""The exchange and its naive twin side by side, compared after every command."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

from dexcore.book import Order
from dexcore.commands import (
    EXTERNAL_TRADE,
    Command,
    CreateMarket,
    Deposit,
    OrderCommand,
    RecordTrades,
)
from dexcore.events import (
    LevelChanged,
    OrderAccepted,
    OrderAmended,
    OrderClosed,
    OrderTriggered,
    SelfTradePrevented,
    Trade,
)
from dexcore.exchange import Exchange
from dexcore.items import ITEM, STP_DECREMENT, TERMS
from dexcore.ledger import EXTERNAL_ACCOUNT_KEY, FEE_ACCOUNT_KEY
from dexcore.limits import BOUNDS, Bounds
from dexcore.market import Market, MarketSpec
from dexcore.phases import indicative
from dexcore.quote_commands import EndQuoteSession, RequestQuote, keys_of
from dexcore.reasons import Reason
from dexcore.results import OrderStatus, Outcome
from dexcore.waiting import Waiting
from tests.reference.exchange_answer import Answer
from tests.reference.exchange_auction import auction_price
from tests.reference.exchange_orders import Market as TwinMarket
from tests.reference.exchange_rules import Bounds as TwinBounds
from tests.reference.exchange_twin import Twin
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import (
    ASSETS,
    BUY,
    MARKETS,
    OPERATOR,
    SELL,
    START_NS,
    Trader,
    public_key,
    register,
)
from tests.unit.core.features import Features
from tests.unit.core.pool_reader import PoolReader
from tests.unit.core.quote_reader import QuoteReader

# Those of the contract take thousands of orders to be met, the others a few.
TIGHT = (
    BOUNDS,
    Bounds(4, 2, 6, 4, 2, 6),
    Bounds(2, 1, 1, 2, 1, 1),
    Bounds(7, 3, 4, 6, 3, 9),
    Bounds(4, 2, 6, 4, 2, 2),
)


class Pair:
    """Applies each command to both and compares all that can be seen."""

    def __init__(
        self,
        traders: int = 5,
        bounds: Bounds = BOUNDS,
        markets: Iterable[MarketSpec] = MARKETS,
    ) -> None:
        self.exchange = Exchange(bounds)
        self.twin = Twin(TwinBounds(*bounds))
        self.quote_reader = QuoteReader()
        self.pool_reader = PoolReader()
        self.journal: list[tuple[int, int, Command]] = []
        # Off where a test is after something else and only wants the commands.
        self.compare = True
        # What a command says and did is compared after each, all that is there after so many.
        self.states_every = 1
        # The twin's answer to the last command, and what all of them met.
        self.answer = Answer(0, 0)
        self.features = Features()
        # What a reader of events alone would know: size and filled lots of orders, and levels.
        self.orders: dict[int, tuple[int, int]] = {}
        self.levels: dict[tuple[int, int, int], int] = {}
        for market in markets:
            self.apply(START_NS, CreateMarket(OPERATOR, market))
        self.traders = []
        for number in range(traders):
            outcome = self.apply(START_NS, register(number))
            self.traders.append(Trader(outcome.key, public_key(number)))
        for number, trader in enumerate(self.traders[1:], 1):
            for asset_id in ASSETS:
                booking = (OPERATOR, trader.account_key, asset_id, 400_000, f"{number} {asset_id}")
                self.apply(START_NS, Deposit(*booking))

    def apply(self, time_ns: int, command: Command) -> Outcome:
        """Apply to both; raises AssertionError where they differ."""
        sequence = self.exchange.sequence + 1
        self.journal.append((sequence, time_ns, command))
        outcome = self.exchange.apply(sequence, time_ns, command)
        if not self.compare:
            return outcome
        kind, fields = type(command).__name__, _fields(command)
        phases = [market.status for market in self.twin.books.markets]
        self.answer = self.twin.apply(sequence, time_ns, kind, **fields)
        self.features.take(kind, fields, self.answer, phases)
        self.features.counts["stops left for the next command"] += any(
            market.due_prices and market.status == "OPEN" for market in self.twin.books.markets
        )
        _compare_answers(outcome, self.answer)
        _compare_deeds(outcome, self.answer)
        self.pool_reader.read(outcome, self.twin.books.markets)
        self._read_events(outcome)
        self.quote_reader.read(outcome)
        if sequence % self.states_every == 0:
            self.compare_states()
        return outcome

    def compare_states(self) -> None:
        """Compare all that is there; raises AssertionError where they differ."""
        self._compare_books()
        self.quote_reader.compare(self.exchange, self.twin.quotes)
        self.pool_reader.compare(self.exchange, self.twin.books.markets)

    def _read_events(self, outcome: Outcome) -> None:
        orders = self.orders
        for event in outcome.events:
            if isinstance(event, OrderAccepted):
                orders[event.order_key] = (event.quantity_lots, 0)
            elif isinstance(event, Trade):
                for key in (event.maker_order_key, event.taker_order_key):
                    if self.pool_reader.is_pool(key):
                        continue
                    size, filled = orders[key]
                    orders[key] = (size, filled + event.quantity_lots)
            elif isinstance(event, SelfTradePrevented):
                if event.stp == STP_DECREMENT:
                    for key in (event.taker_order_key, event.maker_order_key):
                        size, filled = orders[key]
                        orders[key] = (size - event.maker_lots, filled)
            elif isinstance(event, OrderAmended):
                orders[event.order_key] = (event.quantity_lots, orders[event.order_key][1])
            elif isinstance(event, OrderClosed):
                size, filled = orders.pop(event.order_key)
                assert (event.filled_lots, event.remaining_lots) == (filled, size - filled)
            elif isinstance(event, LevelChanged):
                self.levels[event[:3]] = event.quantity_lots
                if not event.quantity_lots:
                    del self.levels[event[:3]]

    def _compare_books(self) -> None:
        ours: dict[int, Order] = {}
        told: dict[tuple[int, int], dict[int, int]] = {}
        for (index, its_side, price), lots in self.levels.items():
            told.setdefault((index, its_side), {})[price] = lots
        markets = self.twin.books.markets
        for market, other in zip(self.exchange.markets, markets, strict=True):
            _compare_market(market, other)
            for number, side in ((BUY, market.book.bids), (SELL, market.book.asks)):
                queue = [order for level in side.levels.values() for order in level]
                theirs = other.queue(number)
                rows = [(o.key, o.price, o.size, o.filled, o.shown) for o in theirs]
                _same("queues", [_row(order) for order in queue], rows)
                levels: Counter[int] = Counter()
                for _, price, _, _, shown in rows:
                    levels[price] += shown
                _same("levels", side.depth(1_000), [*levels.items()])
                _same("levels of the events", told.get((market.index, number), {}), levels)
                ours.update((order.key, order) for order in queue)
            waiting = market.waiting
            parked = waiting.parked if waiting else {}
            rows_parked = {key: _parked_row(waiting, order) for key, order in parked.items()}
            theirs_parked = {o.key: (o.size, o.filled, o.trigger) for o in other.parked}
            _same("parked orders", rows_parked, theirs_parked)
            ours.update(parked)
        self._compare_money(ours)

    def _compare_money(self, ours: dict[int, Order]) -> None:
        exchange, twin = self.exchange, self.twin
        theirs = twin.books.open_orders()
        _same("open orders", sorted(ours), [order.key for order in theirs])
        sizes = {order.key: (order.size, order.filled) for order in theirs}
        _same("sizes of the events", self.orders, sizes)
        reserved: Counter[int] = Counter()
        reserves: Counter[int] = Counter()
        held: Counter[tuple[int, str]] = Counter()
        for order in theirs:
            holds = order.holds()
            held[order.owner, order.asset()] += holds
            # Which of a pair holds how much is nobody's business.
            key = order.partner.key if order.partner and order.is_stop else order.key
            reserved[key] += ours[order.key].reserved_atoms
            reserves[key] += holds
        _same("reservations", reserved, reserves)
        for offer in twin.quotes.open_quotes():
            for asset_id in ASSETS:
                held[offer.maker, asset_id] += offer.holds(asset_id)
        owned, fees, supply = twin.books.owned, twin.books.fees, twin.desk.supply
        balances, expected = {}, {}
        for account_key, cells in exchange.ledger.cells.items():
            for cell in cells.values():
                place = account_key, cell.asset.asset_id
                balances[place] = (cell.available + cell.held, cell.held)
                if account_key == FEE_ACCOUNT_KEY:
                    expected[place] = (fees.get(place[1], 0), 0)
                elif account_key == EXTERNAL_ACCOUNT_KEY:
                    expected[place] = (-supply.get(place[1], 0), 0)
                else:
                    expected[place] = (owned.get(place, 0), held[place])
                    assert cell.available >= 0, "somebody owes"
        _same("balances and holds", balances, expected)
        _same("other balances", [p for p in owned.keys() - balances.keys() if owned[p]], [])


def _same(what: str, ours: object, theirs: object) -> None:
    """An AssertionError says what differs, so that a run of hours is not lost."""
    assert ours == theirs, f"{what} differ:\nexchange: {ours}\ntwin:     {theirs}"


def run_beside(seed: str, commands: int, states_every: int = 1) -> Counter[str]:
    """Random commands to a fresh pair: what it met, or the error of the first difference.

    Of the states it may be some commands late, which a run with each compared then tells.
    """
    chance = random.Random(seed)
    pair = Pair(bounds=chance.choice(TIGHT))
    pair.states_every = states_every
    maker = CommandMaker(chance, pair.exchange, pair.traders)
    for step in range(commands):
        time_ns, command = maker.next()
        try:
            pair.apply(time_ns, command)
        except BaseException as error:
            error.add_note(f"run_beside({seed!r}, {step + 1}), at the last command: {command}")
            raise
    pair.compare_states()
    pair.features.counts["commands"] += commands
    return pair.features.counts


def _compare_market(market: Market, other: TwinMarket) -> None:
    ours = (
        market.status.name,
        (market.maker_fee_ppm, market.taker_fee_ppm),
        (market.trade_sequence, market.last_external_id, market.watermark_ns),
        market.last_price_ticks,
        market.may_be_crossed,
        _due_range(market),
    )
    theirs = (
        other.status,
        (other.maker_ppm, other.taker_ppm),
        (other.trade_sequence, other.last_external, other.watermark_ns),
        other.last,
        other.uncross_due,
        (max(other.due_prices, default=0), min(other.due_prices, default=0)),
    )
    _same("markets", ours, theirs)
    bid, ask = other.best(BUY), other.best(SELL)
    assert market.may_be_crossed or not (bid and ask) or bid < ask, "a book is crossed"
    if other.is_call:
        found = indicative(market)
        _same("indicative prices", found and found[:2], auction_price(other))


def _due_range(market: Market) -> tuple[int, int]:
    waiting = market.waiting
    return (waiting.due_high_ticks, waiting.due_low_ticks) if waiting else (0, 0)


def _row(order: Order) -> tuple[int, ...]:
    hidden = order.terms.hidden_lots if order.terms else 0
    shown = order.open_lots - hidden
    return (order.key, order.price_ticks, order.quantity_lots, order.filled_lots, shown)


def _parked_row(waiting: Waiting | None, order: Order) -> tuple[int, ...]:
    assert order.terms is not None
    assert waiting is not None
    trigger = waiting.triggers.trigger_price_ticks(order.key) if order.terms.is_stop else 0
    return (order.quantity_lots, order.filled_lots, trigger)


def _fields(command: Command) -> dict[str, Any]:
    fields = command._asdict()
    if isinstance(command, OrderCommand):
        fields["items"] = list(ITEM.iter_unpack(command.items))
        fields["terms"] = list(TERMS.iter_unpack(command.terms))
        del fields["rules"]
    elif isinstance(command, RequestQuote):
        fields["maker_account_keys"] = keys_of(command.maker_account_keys)
    elif isinstance(command, EndQuoteSession):
        fields["quote_keys"] = keys_of(command.quote_keys)
    elif isinstance(command, RecordTrades):
        fields["trades"] = list(EXTERNAL_TRADE.iter_unpack(command.trades))
    elif isinstance(command, CreateMarket):
        fields["spec"] = command.spec._asdict()
    return fields


def _compare_answers(outcome: Outcome, answer: Answer) -> None:
    ours = (outcome.reason.name, outcome.field, outcome.sequence, outcome.time_ns)
    _same("answers", ours, (answer.reason, answer.where, answer.sequence, answer.time_ns))
    ours_more = (outcome.repeated, outcome.key, outcome.counts, outcome.amounts)
    theirs_more = (answer.repeated, answer.key, answer.counts, answer.amounts)
    _same("answers", ours_more, theirs_more)
    got = [
        (*r[:2], OrderStatus(r.status).name, *r[3:6], Reason(r.reason).name, r.field)
        for r in outcome.items
    ]
    _same("results", got, [tuple(item) for item in answer.items])


def _compare_deeds(outcome: Outcome, answer: Answer) -> None:
    deeds, events = answer.deeds, outcome.events
    trades = [tuple(event) for event in events if isinstance(event, Trade)]
    _same("trades", trades, deeds.trades)
    prevented = [tuple(event) for event in events if isinstance(event, SelfTradePrevented)]
    _same("self-trades prevented", prevented, deeds.prevented)
    triggered = [
        event.order_key
        for event in events
        if isinstance(event, OrderTriggered) and event.trigger_price_ticks
    ]
    _same("triggered stops", triggered, deeds.triggered)
    closed = {
        event.order_key: (OrderStatus(event.status).name, event.filled_lots, event.remaining_lots)
        for event in events
        if isinstance(event, OrderClosed)
    }
    _same("ends of orders", closed, deeds.closed)
