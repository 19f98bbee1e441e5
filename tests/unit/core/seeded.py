"""The seeded market (tests/reference/seeded_market.py) through the product, as a program.

`python -m tests.unit.core.seeded COMMANDS` sends each command as a signed order of one item through
a whole exchange, with its ledger, reservations and fees, and prints two digests: of the plain
events that the product's own say the same as, and the hash over all the product's events. It says
on standard error how far it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, Final

from dexcore.accounts import Account
from dexcore.commands import CreateMarket, Deposit, OrderCommand, RegisterKey
from dexcore.events import Event, ItemRefused, OrderAccepted, OrderClosed, Trade, named
from dexcore.exchange import Exchange
from dexcore.funds import Funds, LedgerFunds
from dexcore.items import (
    ACTION_CANCEL,
    ACTION_PLACE,
    FOK,
    GTC,
    IOC,
    ITEM,
    POST_ONLY,
    TYPE_LIMIT,
    Item,
)
from dexcore.ledger import FEE_ACCOUNT_KEY, Ledger
from dexcore.limits import ITEM_INDEX_LIMIT
from dexcore.market import Market, MarketSpec
from dexcore.matching import Matcher
from dexcore.orders import carry_out
from dexcore.reasons import Reason
from dexcore.results import ItemResult, OrderStatus
from tests.reference import seeded_market as plain
from tests.reference.seeded_market import EventDigest, Record, SeededMarket

SPEC: Final = MarketSpec(
    market_id="BASE-QUOTE",
    base_asset_id="BASE",
    base_scale=8,
    quote_asset_id="QUOTE",
    quote_scale=6,
    quote_atoms_per_tick_lot=7,
    base_atoms_per_lot=1_000,
    price_increment_ticks=1,
    quantity_increment_lots=1,
    price_ticks_max=100_000,
    quantity_lots_max=1_000,
    maker_fee_ppm=1_234,
    taker_fee_ppm=5_678,
    kind=1,
)
RICH_ATOMS: Final = 10**14
# 5,000 commands a second, so that answers of 30 s are remembered and then forgotten.
STEP_NS: Final = 200_000
LIFETIME_NS: Final = 30 * 10**9
PROGRESS_COMMANDS: Final = 10_000
TIMES: Final = {
    plain.GTC: (GTC, 0),
    plain.IOC: (IOC, 0),
    plain.FOK: (FOK, 0),
    plain.POST_ONLY: (GTC, POST_ONLY),
}
REASONS: Final = {
    Reason.UNKNOWN_ORDER: plain.UNKNOWN_ORDER,
    Reason.FILL_OR_KILL_UNFILLABLE: plain.UNFILLABLE,
    Reason.POST_ONLY_WOULD_TAKE: plain.WOULD_TAKE,
}
# What so many commands give: what they say in plain events, and the hash over all events of the
# product, which is for good. The digest of the plain events of a million is by another
# implementation, made before this project had a matcher.
GOLDEN: Final[dict[int, dict[str, object]]] = {
    5_000: {
        "plain": "bfa028fac2517e3ede6e13dbdcc5f8b8",
        "plain_events": 5_864,
        "event_hash": "139ed8fdc8f4d018dc681420f8de3c1e3a824c02b0ad4bb4698399da5a362adb",
    },
    30_000: {
        "plain": "9102f48e5e93f71679edff64b35381d2",
        "plain_events": 35_415,
        "event_hash": "121e9c53a10e4773626a101bef4f9e0b75da2b013ad72b61b676e9584278effe",
    },
    1_000_000: {
        "plain": "3d28845ef0f03d08d2597167a1d58516",
        "plain_events": 1_203_798,
        "event_hash": "2c121a4148ef283fa933c1c7ee13291e9df647fe53fd9861548298fd3872043c",
    },
}
RESTS: Final = (OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED)


def item_of(record: Record, order_key: int = 0, client_id: int = 0) -> Item:
    """The record as an item; a cancel says the key of its order."""
    if record.kind == plain.CANCEL:
        return (ACTION_CANCEL, 0, 0, 0, 0, 0, 0, 0, 0, order_key)
    tif, flags = TIMES[record.tif]
    head = (ACTION_PLACE, record.side + 1, TYPE_LIMIT, tif, flags, 0)
    return (*head, record.price, record.lots, client_id, 0)


def plain_events(
    record: Record, events: Iterable[Event], result: ItemResult, price: int, number: Any
) -> list[plain.Event]:
    """What the product's events and answer say in the words of the plain book.

    ``number`` gives the market's number of an order key, ``price`` is that of the record's order.
    """
    said: list[plain.Event] = []
    if result.reason:
        return [(plain.REFUSED, record.order, REASONS[Reason(result.reason)], 0, 0)]
    for event in events:
        if isinstance(event, Trade):
            maker, taker = number(event.maker_order_key), number(event.taker_order_key)
            said.append((plain.TRADES, maker, taker, event.price_ticks, event.quantity_lots))
        elif isinstance(event, OrderClosed) and event.status == OrderStatus.CANCELLED:
            said.append((plain.CANCELLED, record.order, 0, price, event.remaining_lots))
        elif isinstance(event, OrderClosed) and event.status == OrderStatus.EXPIRED:
            said.append((plain.EXPIRES, record.order, 0, 0, event.remaining_lots))
    if record.kind == plain.NEW and result.status in RESTS:
        said.append((plain.RESTS, record.order, 0, price, result.remaining_lots))
    return said


class MatcherRun:
    """A matcher by itself; order keys are the market's numbers."""

    def __init__(self, funds: Funds | None) -> None:
        ledger = Ledger()
        base, quote = ledger.add_asset("BASE", 8), ledger.add_asset("QUOTE", 6)
        self.accounts = [Account(key) for key in range(10, 11 + plain.ACCOUNTS)]
        for account in self.accounts:
            ledger.open_account(account.key)
            ledger.deposit(account.key, base, RICH_ATOMS)
            ledger.deposit(account.key, quote, RICH_ATOMS)
        market = Market(0, SPEC, base, quote, ledger.cell(FEE_ACCOUNT_KEY, quote))
        self.matcher = Matcher([market], funds or LedgerFunds(ledger))

    def step(self, account: Account, item: Item, order_key: int) -> ItemResult:
        """One item."""
        return ItemResult._make(carry_out(self.matcher, account, item, order_key, []))

    @property
    def events(self) -> list[Event]:
        """What the last step did."""
        return [named(logged) for logged in self.matcher.events]


class ExchangeRun:
    """A whole exchange: every record is a signed command of its account."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.time_ns = 1_700_000_000 * 10**9
        self._do(CreateMarket("operator", SPEC))
        self.keys = []
        for number in range(plain.ACCOUNTS + 1):
            public_key = number.to_bytes(32, "little")
            digest = public_key[:16]
            expiry_ns = self.time_ns + LIFETIME_NS
            command = RegisterKey(0, 1, expiry_ns, digest, public_key, public_key)
            self.keys.append((self._do(command).key, public_key))
        for key, _ in self.keys:
            self._do(Deposit("operator", key, "BASE", RICH_ATOMS, f"base {key}"))
            self._do(Deposit("operator", key, "QUOTE", RICH_ATOMS, f"quote {key}"))
        # number -> order key, account, price
        self._orders: dict[int, tuple[int, int, int]] = {}
        self._numbers: dict[int, int] = {}

    def _do(self, command: Any) -> Any:
        outcome = self.exchange.apply(self.exchange.sequence + 1, self.time_ns, command)
        assert not outcome.reason, (command, outcome.reason)
        return outcome

    def step(self, record: Record) -> list[plain.Event]:
        """Carry the record out and say it in the words of the plain book."""
        self.time_ns += STEP_NS
        sequence = self.exchange.sequence + 1
        if record.kind == plain.NEW:
            order_key = sequence * ITEM_INDEX_LIMIT
            self._orders[record.order] = (order_key, record.account, record.price)
            self._numbers[order_key] = record.order
        order_key, number, price = self._orders[record.order]
        account_key, public_key = self.keys[number]
        digest = sequence.to_bytes(16, "little")
        expiry_ns = self.time_ns + LIFETIME_NS
        items = ITEM.pack(*item_of(record, order_key))
        command = OrderCommand(account_key, sequence, expiry_ns, digest, public_key, items)
        outcome = self._do(command)
        (result,) = outcome.items
        assert isinstance(outcome.events[0], OrderAccepted | OrderClosed | ItemRefused)
        return plain_events(record, outcome.events, result, price, self._numbers.__getitem__)


def exchange_digests(commands: int) -> dict[str, object]:
    """Both digests of so many commands."""
    run, digest = ExchangeRun(), EventDigest()
    market = SeededMarket()
    for done, record in enumerate(market.records(commands), 1):
        market.book.events.clear()
        digest.take(run.step(record))
        if done % PROGRESS_COMMANDS == 0:
            print(done, file=sys.stderr, flush=True)
    run.exchange.ledger.audit()
    return {
        "plain": digest.hexdigest(),
        "plain_events": digest.count,
        "event_hash": run.exchange.event_hash.hex(),
    }


if __name__ == "__main__":
    print(json.dumps(exchange_digests(int(sys.argv[1]))))
