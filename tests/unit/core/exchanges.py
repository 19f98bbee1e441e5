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
    Command,
    CreateMarket,
    Deposit,
    OrderCommand,
    RegisterKey,
)
from dexcore.exchange import Exchange
from dexcore.items import (
    ACTION_AMEND,
    ACTION_CANCEL,
    ACTION_CANCEL_ALL,
    ACTION_PLACE,
    GTC,
    HAS_TERMS,
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
    return WithTerms((*item[:4], item[4] | sum(flags) | HAS_TERMS, *item[5:]), tuple(said))


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
