"""The engines: the matcher without a ledger for steps, the whole exchange for a journal.

Both carry out a chunk at a time and tell the recorder what each command did, as the events say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, final

import click

from dexcore.accounts import Account
from dexcore.amending import amend, cancel, cancel_all
from dexcore.commands import OrderCommand
from dexcore.events import CLOSED, LEVEL, REFUSED, TRADED, Logged
from dexcore.exchange import Exchange
from dexcore.expiry import Timekeeper
from dexcore.funds import NoFunds
from dexcore.items import ACTION_AMEND, ACTION_CANCEL, ACTION_PLACE, ITEM, NO_MARKET, NO_TERMS
from dexcore.ledger import Asset, Cell
from dexcore.market import Market, MarketKind, MarketLimits, MarketSpec
from dexcore.matching import Matcher
from dexcore.reasons import Reason, Refused
from dexcore.steps import begin_command, end_command, end_step
from dexnode.backtest.model import DECIMALS, EVERY_ACCOUNT, UNIT, WHOLE_DIGITS_MAX, Grid, Step
from dexnode.backtest.recorder import Recorder
from dexruntime.journal import Record
from dexruntime.records import command_of

_NUMBER_MAX: Final = UNIT * 10**WHOLE_DIGITS_MAX


@final
class MatcherEngine:
    """A matcher, its accounts, and the numbers the files know their orders by."""

    def __init__(self, recorder: Recorder, grid: Grid) -> None:
        """Without markets; what holds for all of them is in ``grid``."""
        self.refusals: Counter[str] = Counter()
        self.command_count = 0
        self._recorder = recorder
        self._grid = grid
        self._matcher = Matcher([], NoFunds())
        self._timekeeper = Timekeeper(self._matcher)
        self._accounts: dict[int, Account] = {}
        # By order key: what the file calls the order.
        self._order_ids: list[int] = [0]

    def open_market(self, name: str) -> int:
        """Make a market without fees whose tick and lot are 10^-9; returns its index."""
        markets = self._matcher.markets
        spec = MarketSpec(
            market_id=name,
            base_asset_id="",
            base_scale=DECIMALS,
            quote_asset_id="",
            quote_scale=2 * DECIMALS,
            quote_atoms_per_tick_lot=1,
            base_atoms_per_lot=1,
            price_increment_ticks=self._grid.price_increment,
            quantity_increment_lots=self._grid.quantity_increment,
            price_ticks_max=_NUMBER_MAX,
            quantity_lots_max=_NUMBER_MAX,
            maker_fee_ppm=0,
            taker_fee_ppm=0,
            kind=MarketKind.ORDER_BOOK,
        )
        asset = Asset(0, "", 0)
        market = Market(len(markets), spec, asset, asset, Cell(asset))
        if market.index >= NO_MARKET:
            raise click.ClickException(f"{name}: a run has at most {NO_MARKET:,} markets")
        if self._grid.protection:
            market.limits = MarketLimits(self._grid.protection, 0, 0, 0)
        markets.append(market)
        unit = Decimal(1).scaleb(-DECIMALS)
        self._recorder.open_market(market, unit, unit)
        return market.index

    def run(self, steps: Sequence[Step]) -> None:
        """Carry out steps, each as the node carries out a command of one item."""
        matcher, recorder, accounts = self._matcher, self._recorder, self._accounts
        markets, order_ids = matcher.markets, self._order_ids
        events: list[Logged] = []
        matcher.events = events
        self.command_count += len(steps)
        for time_ns, account_key, item, said in steps:
            if time_ns > matcher.time_ns:
                self._tick(time_ns)
                matcher.time_ns = time_ns
            begin_command(matcher, events)
            account = accounts.get(account_key)
            if account is None:
                account = accounts[account_key] = Account(account_key)
            action = item[0]
            try:
                if action == ACTION_PLACE:
                    order_ids.append(item[8])
                    matcher.place(account, item, len(order_ids) - 1, said or NO_TERMS)
                elif action == ACTION_CANCEL:
                    cancel(matcher, account, 0, item[8])
                elif action == ACTION_AMEND:
                    amend(matcher, account, 0, item[8], item[7], item[6], said or NO_TERMS)
                elif account_key == EVERY_ACCOUNT:
                    for each in list(accounts.values()):
                        cancel_all(matcher, each, item[5], item[1])
                else:
                    cancel_all(matcher, account, item[5], item[1])
            except Refused as refused:
                self._refuse(refused)
            if matcher.stirred:
                end_step(matcher)
            self._end_command()
            if events:
                self._report(matcher.time_ns, events)
                if item[5] == NO_MARKET:
                    for market in markets:
                        recorder.top(matcher.time_ns, market)
                else:
                    recorder.top(matcher.time_ns, markets[item[5]])
                events.clear()

    def _end_command(self) -> None:
        """End it, and then do what the node's next ticks would, which come at once."""
        matcher = self._matcher
        end_command(matcher)
        while matcher.overdue:
            begin_command(matcher, matcher.events)
            end_command(matcher)

    def _refuse(self, refused: Refused) -> None:
        field = f" {refused.field}" if refused.field else ""
        self.refusals[f"{refused.reason.name}{field}"] += 1

    def _tick(self, time_ns: int) -> None:
        """Do what is due by time before a command of this time, as the node's clock ticks do."""
        matcher, timekeeper = self._matcher, self._timekeeper
        while True:
            due_ns = timekeeper.next_ns()
            if due_ns is None or due_ns > time_ns:
                return
            matcher.time_ns = due_ns
            begin_command(matcher, matcher.events)
            timekeeper.tick(due_ns)
            self._end_command()
            self._report(due_ns, matcher.events)
            for market in matcher.markets:
                self._recorder.top(due_ns, market)
            matcher.events.clear()

    def _report(self, time_ns: int, events: Iterable[Logged]) -> None:
        recorder, order_ids = self._recorder, self._order_ids
        for event in events:
            if type(event) is not tuple:
                continue
            if event[0] == TRADED:
                recorder.fill(time_ns, event, order_ids[event[6]], order_ids[event[7]])
            elif event[0] == CLOSED:
                recorder.close(time_ns, event, order_ids[event[1]])


@final
class JournalEngine:
    """The exchange of a node, from its first command on."""

    def __init__(self, recorder: Recorder) -> None:
        """Empty books."""
        self.refusals: Counter[str] = Counter()
        self.command_count = 0
        self._recorder = recorder
        self._exchange = Exchange()

    @property
    def event_hash(self) -> str:
        """Running hash over all events; `dex node status` shows the same at that sequence."""
        return self._exchange.event_hash.hex()

    def run(self, records: Sequence[Record]) -> None:
        """Apply records; a batch of orders counts as many commands as it has items."""
        exchange, recorder = self._exchange, self._recorder
        for record in records:
            command = command_of(record)
            if isinstance(command, OrderCommand):
                self.command_count += len(command.items) // ITEM.size
            else:
                self.command_count += 1
            outcome = exchange.apply(record.sequence, record.time_ns, command)
            for market in exchange.markets[recorder.market_count :]:
                recorder.open_market(market, *_units_of(market))
            if outcome.reason:
                self.refusals[outcome.reason.name] += 1
            changed: dict[int, None] = {}
            for event in outcome.logged:
                if type(event) is not tuple:
                    continue
                if event[0] == TRADED:
                    recorder.fill(record.time_ns, event, event[6], event[7])
                elif event[0] == CLOSED:
                    recorder.close(record.time_ns, event, event[1])
                elif event[0] == LEVEL:
                    changed[event[1]] = None
                elif event[0] == REFUSED:
                    self.refusals[Reason(event[3]).name] += 1
            for index in changed:
                recorder.top(record.time_ns, exchange.markets[index])


def _units_of(market: Market) -> tuple[Decimal, Decimal]:
    """What a tick and a lot are in whole units of the assets."""
    spec = market.spec
    lot = Decimal(spec.base_atoms_per_lot).scaleb(-spec.base_scale)
    return Decimal(spec.quote_atoms_per_tick_lot).scaleb(-spec.quote_scale) / lot, lot
