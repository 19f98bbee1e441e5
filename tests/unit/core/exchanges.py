"""Exchanges, traders and random commands for the tests of the core and the runtime.

Every random choice comes from one `random.Random`, whose seed a test prints with the command that
replays it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

from dexcore.commands import (
    EXTERNAL_TRADE,
    ClockTick,
    Command,
    CreateMarket,
    Deposit,
    OrderCommand,
    RecordTrades,
    RegisterKey,
    RevokeKey,
    SetFees,
    SetMarketStatus,
    Transfer,
    Withdraw,
)
from dexcore.exchange import Exchange
from dexcore.items import (
    ACTION_AMEND,
    ACTION_CANCEL,
    ACTION_CANCEL_ALL,
    ACTION_PLACE,
    FOK,
    GTC,
    HAS_TERMS,
    IOC,
    ITEM,
    NO_MARKET,
    TERMS,
    TYPE_LIMIT,
    TYPE_MARKET,
    Item,
    Terms,
)
from dexcore.market import MarketSpec
from dexcore.results import Outcome
from tests.unit.core.quote_maker import QuoteMaker

SECOND_NS = 10**9
START_NS = 1_700_000_000 * SECOND_NS
BUY, SELL = 1, 2
TERM_NAMES = (
    *("display_lots", "min_lots", "trigger_price_ticks", "trail_ticks"),
    *("peg_offset_ticks", "expire_time_ns", "stp", "peg"),
)
OPERATOR = "operator"


def seed_of(test: str) -> int:
    """The seed of a random test, printed with the command that replays it."""
    seed = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"replay: TEST_SEED={seed} pytest {test}")
    return seed


def spec(base: str, quote: str, **changes: Any) -> MarketSpec:
    """A market with odd units, so that rounding shows, and fees on both sides."""
    values: dict[str, Any] = {
        "market_id": f"{base}-{quote}",
        "base_asset_id": base,
        "base_scale": 8,
        "quote_asset_id": quote,
        "quote_scale": 6,
        "quote_atoms_per_tick_lot": 7,
        "base_atoms_per_lot": 1_000,
        "price_increment_ticks": 1,
        "quantity_increment_lots": 1,
        "price_ticks_max": 1_000,
        "quantity_lots_max": 500,
        "maker_fee_ppm": 1_234,
        "taker_fee_ppm": 56_789,
        "kind": 1,
    }
    return MarketSpec(**{**values, **changes})


MARKETS = (
    spec("AAA", "QQQ"),
    spec("BBB", "QQQ", price_increment_ticks=5, quantity_increment_lots=10, maker_fee_ppm=90_000),
    # Its quote is the first one's base, so money moves in a ring.
    spec("BBB", "AAA", base_scale=8, quote_scale=8, maker_fee_ppm=0, taker_fee_ppm=0),
    spec("XXX", "QQQ", kind=2),
)
ASSETS = ("AAA", "BBB", "QQQ")


def public_key(number: int) -> bytes:
    """A trader's key; the core never verifies a signature with it."""
    return blake2b(b"key %d" % number, digest_size=32).digest()


class Trader(NamedTuple):
    """Who signs."""

    account_key: int
    public_key: bytes


def place(
    side: int = BUY,
    price_ticks: int = 100,
    quantity_lots: int = 10,
    *,
    order_type: int = TYPE_LIMIT,
    tif: int = GTC,
    post_only: bool = False,
    market: int = 0,
    client_id: int = 0,
) -> Item:
    """An item that places an order."""
    if order_type == TYPE_MARKET:
        price_ticks = 0
    head = (ACTION_PLACE, side, order_type, tif, int(post_only), market)
    return (*head, price_ticks, quantity_lots, client_id, 0)


class WithTerms(NamedTuple):
    """An item and what it says beyond what every item says."""

    item: Item
    terms: Terms


def with_terms(item: Item, *flags: int, **terms: int) -> WithTerms:
    """The item with these flags and terms, named as in `dexcore.items.TERMS`."""
    said = [terms.pop(name, 0) for name in TERM_NAMES]
    assert not terms, terms
    return WithTerms((*item[:4], item[4] | sum(flags) | HAS_TERMS, *item[5:]), tuple(said))  # type: ignore[arg-type]


def cancel(order_key: int = 0, client_id: int = 0) -> Item:
    """An item that cancels an order."""
    return (ACTION_CANCEL, 0, 0, 0, 0, 0, 0, 0, client_id, order_key)


def amend(quantity_lots: int, price_ticks: int = 0, order_key: int = 0, client_id: int = 0) -> Item:
    """An item that changes an order."""
    return (ACTION_AMEND, 0, 0, 0, 0, 0, price_ticks, quantity_lots, client_id, order_key)


def cancel_all(market: int = NO_MARKET) -> Item:
    """An item that cancels all orders."""
    return (ACTION_CANCEL_ALL, 0, 0, 0, 0, market, 0, 0, 0, 0)


def orders(
    trader: Trader,
    nonce: int,
    items: Iterable[Item | WithTerms],
    *,
    now_ns: int = START_NS,
    lifetime_ns: int = 60 * SECOND_NS,
    phased: bool = False,
) -> OrderCommand:
    """A signed order command; its digest is of its content, as the node's is."""
    packed = terms = b""
    for each in items:
        item = each
        if isinstance(each, WithTerms):
            item = each.item
            terms += TERMS.pack(*each.terms)
        packed += ITEM.pack(*item)
    expire_time_ns = now_ns + lifetime_ns
    content = b"%d %d %d " % (trader.account_key, nonce, expire_time_ns) + packed + terms
    digest = blake2b(content, digest_size=16).digest()
    return OrderCommand(
        *(trader.account_key, nonce, expire_time_ns, digest, trader.public_key),
        packed,
        terms,
        int(phased),
    )


def register(number: int, *, now_ns: int = START_NS, nonce: int = 1) -> RegisterKey:
    """The command that opens the account of a trader."""
    key = public_key(number)
    digest = blake2b(b"open %d %d" % (number, nonce), digest_size=16).digest()
    return RegisterKey(0, nonce, now_ns + 60 * SECOND_NS, digest, key, key)


class World:
    """An exchange that is fed one command after the other."""

    def __init__(self, exchange: Exchange | None = None) -> None:
        self.exchange = Exchange() if exchange is None else exchange
        self.time_ns = max(START_NS, self.exchange.time_ns)
        self.journal: list[tuple[int, int, Command]] = []
        self.outcomes: list[Outcome] = []
        self.traders: list[Trader] = []
        self.nonce = 0

    def do(self, command: Command) -> Outcome:
        """Apply the next command."""
        sequence = self.exchange.sequence + 1
        self.journal.append((sequence, self.time_ns, command))
        outcome = self.exchange.apply(sequence, self.time_ns, command)
        self.outcomes.append(outcome)
        return outcome

    def order(self, trader: Trader, *items: Item | WithTerms, phased: bool = False) -> Outcome:
        """Apply items under a fresh nonce."""
        self.nonce += 1
        return self.do(orders(trader, self.nonce, items, now_ns=self.time_ns, phased=phased))

    def open_account(self, atoms: int = 0) -> Trader:
        """Open an account with so much of every asset."""
        number = len(self.traders)
        outcome = self.do(register(number, now_ns=self.time_ns))
        trader = Trader(outcome.key, public_key(number))
        self.traders.append(trader)
        for asset_id in self.exchange.ledger.assets_by_id if atoms else ():
            self.do(Deposit(OPERATOR, trader.account_key, asset_id, atoms, f"{number} {asset_id}"))
        return trader


def small_world(traders: int = 3, atoms: int = 10**9) -> World:
    """The markets above and some funded traders."""
    world = World()
    for market in MARKETS:
        world.do(CreateMarket(OPERATOR, market))
    for _ in range(traders):
        world.open_account(atoms)
    return world


class CommandMaker:
    """Random commands about an exchange, valid and not, that meet each other often."""

    def __init__(self, chance: random.Random, exchange: Exchange, traders: list[Trader]) -> None:
        self.chance = chance
        self.exchange = exchange
        self.traders = traders
        self.time_ns = START_NS
        self.nonce = 0
        self.external_id = 0
        self.reference = 0
        self.sent: list[Command] = []
        self.quotes = QuoteMaker(self)

    def next(self) -> tuple[int, Command]:
        """The next time and command."""
        chance = self.chance
        steps = (0, 0, 1, 10**6, SECOND_NS, 200 * SECOND_NS)
        self.time_ns += chance.choices(steps, (40, 10, 10, 30, 10, 1))[0]
        makers = (
            (80, self._orders),
            (3, self._again),
            (3, self._register),
            (1, self._revoke),
            (4, self._transfer),
            (4, self._deposit),
            (3, self._withdraw),
            (2, self._status),
            (1, self._fees),
            (1, self._market),
            (2, self._trades),
            (2, ClockTick),
            (12, self.quotes.next),
        )
        make = chance.choices([m for _, m in makers], [weight for weight, _ in makers])[0]
        command: Command = make()
        self.sent.append(command)
        return self.time_ns, command

    def _often(self, good: Any, *odd: Any) -> Any:
        """The good value nearly always, now and then an odd one."""
        return good if self.chance.random() < 0.985 else self.chance.choice(odd)

    def _signed(self) -> tuple[Trader, int, int]:
        chance = self.chance
        self.nonce += 1
        trader = chance.choice(self.traders)
        account = self.exchange.accounts.by_key.get(trader.account_key)
        if account is not None and chance.random() < 0.1:
            trader = trader._replace(public_key=chance.choice(list(account.keys)))
        trader = trader._replace(account_key=self._often(trader.account_key, 0, 5, 2))
        nonce = self._often(self.nonce, max(1, self.nonce - chance.randint(0, 20)))
        lifetime_ns = self._often(chance.choice((1, 60, 300)), 0, -5, 301) * SECOND_NS
        return trader, nonce, self.time_ns + lifetime_ns

    def _orders(self) -> Command:
        trader, nonce, expire_ns = self._signed()
        items = [self.item(trader) for _ in range(self.chance.choice((1, 1, 1, 2, 5)))]
        return orders(
            trader, nonce, items, now_ns=self.time_ns, lifetime_ns=expire_ns - self.time_ns
        )

    def _again(self) -> Command:
        signed = [command for command in self.sent[-50:] if hasattr(command, "nonce")]
        booked = [command for command in self.sent[-50:] if hasattr(command, "reference")]
        return self.chance.choice([*signed, *booked, ClockTick()])

    def item(self, trader: Trader) -> Item:
        """One item of this trader."""
        chance = self.chance
        account = self.exchange.accounts.by_key.get(trader.account_key)
        own = list(account.open_orders.values()) if account else []
        roll = chance.random()
        if roll < 0.55 or not own:
            return self._place()
        order = chance.choice(own)
        if chance.random() < 0.3 and order.client_order_id:
            names = {"client_id": order.client_order_id}
        else:
            names = {"order_key": self._often(order.key, 0, order.key + 1, 1)}
        if roll < 0.68:
            return cancel(**names)
        if roll < 0.993:
            size = order.quantity_lots + chance.choice((-20, -10, -1, 0, 1, 10))
            price = chance.choice((0, order.price_ticks, order.price_ticks + chance.randint(-9, 9)))
            return amend(size, price, **names)
        return cancel_all(self._often(chance.choice((NO_MARKET, 0, 1, 2)), 3, 9))

    def _place(self) -> Item:
        chance = self.chance
        market = chance.choices((0, 1, 2), (6, 3, 2))[0]
        step = 5 if market == 1 else 1
        lots = chance.randint(1, 20) * (10 if market == 1 else 1)
        side = chance.choice((BUY, SELL))
        price = 100 + step * chance.randint(-8, 8)
        kind = chance.choices((TYPE_LIMIT, TYPE_MARKET), (9, 1))[0]
        tif = chance.choices((GTC, IOC, FOK), (12, 2, 1) if kind == TYPE_LIMIT else (1, 9, 9))[0]
        return (
            self._often(ACTION_PLACE, 0, 5, 255),
            self._often(side, 0, 3),
            self._often(kind, 0, 200),
            self._often(tif, 0, 200),
            int(kind == TYPE_LIMIT and tif == GTC and chance.random() < 0.2),
            self._often(market, 3, 4, NO_MARKET),
            self._often(price if kind == TYPE_LIMIT else 0, 0, -1, 3, 1_000, 1_001, 2**63 - 1),
            self._often(lots, 0, -1, 7, 500, 501, 2**63 - 1),
            self._often(chance.choice((0, chance.randint(1, 30))), -1),
            0,
        )

    def _register(self) -> Command:
        trader, nonce, expire_ns = self._signed()
        number = self.chance.randint(0, 12)
        digest = blake2b(b"%d %d" % (number, expire_ns), digest_size=16).digest()
        if self.chance.random() < 0.7:
            new = public_key(number + 100 + 20 * self.chance.randint(0, 40))
            fields = (trader.account_key, nonce, expire_ns, digest, trader.public_key, new)
            return RegisterKey(*fields, *self._limits())
        key = public_key(number)
        other = self._often(key, public_key(500))
        limits = self._often(
            (0, 0, ""), (3, 0, ""), (0, self.time_ns + 1, ""), (15, 0, "x" * 65), (0, 0, "\n")
        )
        return RegisterKey(0, nonce, expire_ns, digest, key, other, *limits)

    def _limits(self) -> tuple[int, int, str]:
        """Scopes, expiry and label of a key."""
        chance = self.chance
        scopes = self._often(chance.choice((0, 0, 1, 2, 3, 6, 8, 10, 15, 15)), 16, 31, -1)
        lifetime_ns = chance.choice((0, 0, 0, 1, 20, 500)) * SECOND_NS
        expire_ns = self.time_ns + lifetime_ns if lifetime_ns else self._often(0, 1, self.time_ns)
        return scopes, expire_ns, self._often(chance.choice(("", "bot")), "x" * 65, "\x1b[2J")

    def _revoke(self) -> Command:
        trader, nonce, expire_ns = self._signed()
        account = self.exchange.accounts.by_key.get(trader.account_key)
        own = list(account.keys) if account else []
        revoked = self._often(self.chance.choice([*own, trader.public_key]), public_key(0))
        cancel = int(self.chance.random() < 0.3)
        digest = blake2b(revoked + bytes([cancel]), digest_size=16).digest()
        fields = (trader.account_key, nonce, expire_ns, digest, trader.public_key)
        return RevokeKey(*fields, revoked, cancel)

    def _transfer(self) -> Command:
        trader, nonce, expire_ns = self._signed()
        to = self._often(self.chance.choice(self.traders).account_key, 0, 1, 2)
        amount = self._often(self.chance.randint(1, 20_000), 0, -1, 2**63 - 1)
        asset_id = self._often(self.chance.choice(ASSETS), "none")
        digest = blake2b(b"%d %d" % (to, amount), digest_size=16).digest()
        fields = (trader.account_key, nonce, expire_ns, digest, trader.public_key)
        return Transfer(*fields, to, asset_id, amount)

    def _booking(self) -> tuple[str, int, str, int, str]:
        self.reference += 1
        return (
            OPERATOR,
            self._often(self.chance.choice(self.traders).account_key, 0, 1, 2),
            self._often(self.chance.choice(ASSETS), "none"),
            self._often(self.chance.randint(1, 100_000), 0, -1, 2**63 - 1),
            self._often(str(self.reference), str(self.reference - 1)),
        )

    def _deposit(self) -> Command:
        return Deposit(*self._booking())

    def _withdraw(self) -> Command:
        return Withdraw(*self._booking())

    def _status(self) -> Command:
        status = self._often(self.chance.choices((1, 2, 3), (12, 1, 1))[0], 0, 9)
        return SetMarketStatus(OPERATOR, self._often(self.chance.randint(0, 3), -1, 9), status)

    def _fees(self) -> Command:
        fees = [self._often(self.chance.randint(0, 100_000), -1, 100_001) for _ in range(2)]
        return SetFees(OPERATOR, self._often(self.chance.randint(0, 3), -1, 9), *fees)

    def _market(self) -> Command:
        changes: list[dict[str, Any]] = [
            {"maker_fee_ppm": 1},
            {"market_id": "another"},
            {"base_scale": 19, "base_asset_id": "C", "market_id": "C-QQQ"},
            {"base_asset_id": "QQQ", "market_id": "QQQ-QQQ"},
            {"base_scale": 3, "kind": 2, "market_id": "odd"},
            {"base_atoms_per_lot": 0, "kind": 2, "market_id": "odd"},
            {"base_atoms_per_lot": 3, "kind": 2, "market_id": "odd"},
            {"taker_fee_ppm": 100_001, "kind": 2, "market_id": "odd"},
            {"kind": 3, "market_id": "odd"},
            {},
        ]
        return CreateMarket(OPERATOR, MARKETS[0]._replace(**self.chance.choice(changes)))

    def _trades(self) -> Command:
        chance = self.chance
        rows = []
        number = chance.choice((self.external_id, max(0, self.external_id - 3)))
        for _ in range(chance.randint(0, 4)):
            number += self._often(1, 2, 0)
            rows.append(
                (
                    number,
                    self._often(self.time_ns - chance.randint(0, SECOND_NS), self.time_ns + 1, -1),
                    self._often(chance.randint(1, 1_000), 0, 1_001),
                    self._often(chance.randint(1, 500), 0, 501),
                    self._often(chance.choice((BUY, SELL)), 0, 3),
                )
            )
        self.external_id = max(number, self.external_id)
        watermark_ns = self.time_ns + self._often(-1, 1)
        packed = b"".join(EXTERNAL_TRADE.pack(*row) for row in rows)
        market = self._often(3, 0, 9, -1)
        return RecordTrades(OPERATOR, market, watermark_ns, packed)
