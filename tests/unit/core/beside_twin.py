"""The exchange and its naive twin side by side, compared after every command."""

from __future__ import annotations

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
from dexcore.events import LevelChanged, OrderAccepted, OrderAmended, OrderClosed, Trade
from dexcore.exchange import Exchange
from dexcore.items import ITEM
from dexcore.ledger import EXTERNAL_ACCOUNT_KEY, FEE_ACCOUNT_KEY
from dexcore.quote_commands import EndQuoteSession, RequestQuote, keys_of
from dexcore.reasons import Reason
from dexcore.results import OrderStatus, Outcome
from tests.reference.exchange_twin import Answer, Twin
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
from tests.unit.core.quote_reader import QuoteReader


class Pair:
    """Applies each command to both and compares all that can be seen."""

    def __init__(self, traders: int = 5) -> None:
        self.exchange = Exchange()
        self.twin = Twin()
        self.quote_reader = QuoteReader()
        self.journal: list[tuple[int, int, Command]] = []
        # Off where a test is after something else and only wants the commands.
        self.compare = True
        # What a reader of events alone would know: size and filled lots of orders, and levels.
        self.orders: dict[int, tuple[int, int]] = {}
        self.levels: dict[tuple[int, int, int], int] = {}
        for market in MARKETS:
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
        answer = self.twin.apply(sequence, time_ns, type(command).__name__, **_fields(command))
        _compare_answers(outcome, answer)
        self._read_events(outcome)
        self.quote_reader.read(outcome)
        self._compare_states()
        self.quote_reader.compare(self.exchange, self.twin.quotes)
        return outcome

    def _read_events(self, outcome: Outcome) -> None:
        orders = self.orders
        for event in outcome.events:
            if isinstance(event, OrderAccepted):
                orders[event.order_key] = (event.quantity_lots, 0)
            elif isinstance(event, Trade):
                for key in (event.maker_order_key, event.taker_order_key):
                    size, filled = orders[key]
                    orders[key] = (size, filled + event.quantity_lots)
            elif isinstance(event, OrderAmended):
                orders[event.order_key] = (event.quantity_lots, orders[event.order_key][1])
            elif isinstance(event, OrderClosed):
                size, filled = orders.pop(event.order_key)
                assert (event.filled_lots, event.remaining_lots) == (filled, size - filled)
            elif isinstance(event, LevelChanged):
                self.levels[event[:3]] = event.quantity_lots

    def _compare_states(self) -> None:
        exchange, twin = self.exchange, self.twin
        ours: dict[int, Order] = {}
        for market, other in zip(exchange.markets, twin.markets, strict=True):
            assert market.status.name == other.status
            assert (market.maker_fee_ppm, market.taker_fee_ppm) == (
                other.maker_ppm,
                other.taker_ppm,
            )
            assert market.trade_sequence == other.trade_sequence
            assert (market.last_external_id, market.watermark_ns) == (
                other.last_external,
                other.watermark_ns,
            )
            for number, side in ((BUY, market.book.bids), (SELL, market.book.asks)):
                depth = side.depth(1_000)
                assert depth == twin.depth(other, number)
                mirrored = [
                    (price, lots)
                    for (index, its_side, price), lots in self.levels.items()
                    if (index, its_side) == (market.index, number) and lots
                ]
                assert sorted(mirrored) == sorted(depth)
                queue = [order for level in side.levels.values() for order in level]
                assert [o.key for o in queue] == [o.key for o in twin.queue(other, number)]
                ours.update((order.key, order) for order in queue)
        self._compare_money(ours)

    def _compare_money(self, ours: dict[int, Order]) -> None:
        exchange, twin = self.exchange, self.twin
        theirs = twin.open_orders()
        assert sorted(ours) == [order.key for order in theirs]
        assert self.orders == {order.key: (order.size, order.filled) for order in theirs}
        held: dict[tuple[int, str], int] = {}
        for order in theirs:
            mine = ours[order.key]
            reserve = order.reserve()
            assert mine.reserved_atoms == reserve, "an order's reservation is not exact"
            assert (mine.filled_lots, mine.quantity_lots) == (order.filled, order.size)
            place = order.owner, order.asset()
            held[place] = held.get(place, 0) + reserve
        for account_key in twin.accounts:
            for asset_id in ASSETS:
                place = account_key, asset_id
                held[place] = held.get(place, 0) + twin.quotes.held(*place)
        for account_key, cells in exchange.ledger.cells.items():
            for cell in cells.values():
                place = account_key, cell.asset.asset_id
                if account_key == FEE_ACCOUNT_KEY:
                    assert (cell.available, cell.held) == (twin.fees.get(place[1], 0), 0)
                elif account_key == EXTERNAL_ACCOUNT_KEY:
                    assert (cell.available, cell.held) == (-twin.supply.get(place[1], 0), 0)
                else:
                    assert cell.held == held.get(place, 0)
                    assert cell.available + cell.held == twin.owned.get(place, 0)
                    assert cell.available >= 0
        for account_key, asset_id in twin.owned:
            cell = exchange.ledger.cell(account_key, exchange.ledger.assets_by_id[asset_id])
            assert cell.available + cell.held == twin.owned[account_key, asset_id]


def _fields(command: Command) -> dict[str, Any]:
    fields = command._asdict()
    if isinstance(command, OrderCommand):
        fields["items"] = list(ITEM.iter_unpack(command.items))
        # What is not carried out yet: docs/reference/order-semantics.md.
        del fields["terms"], fields["phased"], fields["rules"]
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
    assert (outcome.reason.name, outcome.field) == (answer.reason, answer.where)
    assert (outcome.sequence, outcome.time_ns) == (answer.sequence, answer.time_ns)
    assert (outcome.repeated, outcome.key) == (answer.repeated, answer.key)
    assert outcome.counts == answer.counts
    got = [
        (*r[:2], OrderStatus(r.status).name, *r[3:6], Reason(r.reason).name, r.field)
        for r in outcome.items
    ]
    assert got == [tuple(item) for item in answer.items]
    trades = [tuple(event) for event in outcome.events if isinstance(event, Trade)]
    assert trades == ([] if answer.repeated else answer.trades)
