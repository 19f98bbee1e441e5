"""Random commands about an exchange, for the tests of the core, the journal and the runtime."""

from __future__ import annotations

import random
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from dexcore.commands import (
    EXTERNAL_TRADE,
    ClockTick,
    Command,
    CreateMarket,
    Deposit,
    MassCancel,
    OrderCommand,
    RecordTrades,
    RegisterKey,
    RevokeKey,
    SetDeadMansSwitch,
    SetFees,
    SetMarketLimits,
    SetMarketStatus,
    SetStpGroup,
    Transfer,
    Withdraw,
)
from dexcore.exchange import Exchange
from dexcore.items import ITEM, NO_MARKET, NO_TERMS, TERMS
from dexcore.market import MarketStatus
from tests.unit.core.exchanges import (
    ASSETS,
    BUY,
    MARKETS,
    OPERATOR,
    SECOND_NS,
    SELL,
    START_NS,
    Trader,
    amend,
    cancel,
    cancel_all,
    public_key,
)
from tests.unit.core.order_maker import CALLS, OrderMaker, Said, packed
from tests.unit.core.pool_maker import PoolMaker
from tests.unit.core.quote_maker import QuoteMaker


def batch(
    trader: Trader, nonce: int, expire_ns: int, said: Iterable[Said], phased: int = 0
) -> OrderCommand:
    """A signed batch; its digest is of its content, as the node's is."""
    pairs = [packed(each) for each in said]
    items = b"".join(ITEM.pack(*item) for item, _ in pairs)
    terms = b"".join(TERMS.pack(*each) for _, each in pairs if each)
    content = b"%d %d %d %d " % (trader.account_key, nonce, expire_ns, phased) + items + terms
    digest = blake2b(content, digest_size=16).digest()
    head = (trader.account_key, nonce, expire_ns, digest, trader.public_key)
    return OrderCommand(*head, items, terms, phased)


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
        self.order_maker = OrderMaker(chance, exchange)
        self.quotes = QuoteMaker(self)
        self.pools = PoolMaker(self)

    def next(self) -> tuple[int, Command]:
        """The next time and command."""
        chance = self.chance
        steps = (0, 1, 10**6, SECOND_NS, 200 * SECOND_NS, 7_200 * SECOND_NS)
        self.time_ns += chance.choices(steps, (500, 100, 300, 100, 10, 2))[0]
        makers = (
            (90, self._orders),
            (3, self._again),
            (3, self._register),
            (1, self._revoke),
            (4, self._transfer),
            (4, self._deposit),
            (3, self._withdraw),
            (4, self._status),
            (2, self._market_limits),
            (1, self._fees),
            (1, self._market),
            (2, self._trades),
            (1, self._group),
            (1, self._mass_cancel),
            (1, self._dead_mans_switch),
            (3, ClockTick),
            (9, self.quotes.next),
            (6, self.pools.next),
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
        said: list[Said] = []
        for _ in range(self.chance.choice((1, 1, 1, 2, 5))):
            said += self.items(trader)
        phased = int(len(said) > 1 and self.chance.random() < 0.3)
        return batch(trader, nonce, expire_ns, said, phased)

    def _again(self) -> Command:
        signed = [command for command in self.sent[-50:] if hasattr(command, "nonce")]
        booked = [command for command in self.sent[-50:] if hasattr(command, "reference")]
        return self.chance.choice([*signed, *booked, ClockTick()])

    def items(self, trader: Trader) -> list[Said]:
        """One item of this trader, or two that belong together."""
        chance = self.chance
        account = self.exchange.accounts.by_key.get(trader.account_key)
        own = list(account.open_orders.values()) if account else []
        roll = chance.random()
        if roll < 0.55 or not own:
            return self.order_maker.orders(self.time_ns)
        order = chance.choice(own)
        if chance.random() < 0.3 and order.client_order_id:
            names = {"client_id": order.client_order_id}
        else:
            names = {"order_key": self._often(order.key, 0, order.key + 1, 1)}
        if roll < 0.68:
            return [(cancel(**names), NO_TERMS)]
        if roll < 0.993:
            lot = 10 if order.market_index == 1 else self._often(1, 10)
            size = order.quantity_lots + lot * chance.choice((-9, -2, -1, 0, 0, 1, 5))
            price = chance.choice((0, order.price_ticks, order.price_ticks + chance.randint(-9, 9)))
            return [(amend(size, price, **names), self.order_maker.amended(order.terms))]
        everything = cancel_all(self._often(chance.choice((NO_MARKET, 0, 1, 2)), 3, 9))
        side = self._often(chance.choice((0, 0, BUY, SELL)), 3)
        return [((everything[0], side, *everything[2:]), NO_TERMS)]

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
            str(self.reference - self.chance.choices((0, 1), (20, 1))[0]),
        )

    def _deposit(self) -> Command:
        return Deposit(*self._booking())

    def _withdraw(self) -> Command:
        return Withdraw(*self._booking())

    def _status(self) -> Command:
        """From each phase mostly to those that usually come next."""
        markets = self.exchange.markets
        shut = [each.index for each in markets if each.status is not MarketStatus.OPEN]
        index = self._often(self.chance.choice([*range(len(markets)), *shut, *shut]), -1, 9)
        now = markets[index].status if 0 <= index < len(markets) else MarketStatus.OPEN
        if now is MarketStatus.OPEN:
            weights = (6, 1, 1, 4, 6, 1)
        else:
            weights = (12, 1, 1, 1, 2, 2) if now in CALLS else (8, 1, 1, 3, 1, 1)
        status = self.chance.choices((1, 2, 3, 4, 5, 6), weights)[0]
        return SetMarketStatus(OPERATOR, index, self._often(status, 0, 9))

    def _market_limits(self) -> Command:
        chance = self.chance
        index = chance.randint(0, 2)
        step, lot = MARKETS[index].price_increment_ticks, MARKETS[index].quantity_increment_lots
        return SetMarketLimits(
            OPERATOR,
            self._often(index, 3, -1, 9),
            self._often(step * chance.choice((0, 1, 2, 3, 4, 8, 30)), -1, 3, 1_001),
            self._often(chance.choice((0, 0, 0, 50_000, 500_000)), -1, 10**6 + 1),
            self._often(lot * chance.choice((0, 0, 0, 1_400)), -1),
            self._often(lot * chance.choice((0, 0, 0, 9_800)), -1, 1),
        )

    def _group(self) -> Command:
        account_key = self._often(self.chance.choice(self.traders).account_key, 0, 1)
        return SetStpGroup(OPERATOR, account_key, self._often(self.chance.choice((0, 1, 2)), -1))

    def _mass_cancel(self) -> Command:
        chance = self.chance
        account_key = chance.choice((0, *(trader.account_key for trader in self.traders)))
        return MassCancel(
            OPERATOR,
            self._often(account_key, 1),
            self._often(chance.choice((NO_MARKET, 0, 1, 2)), 3, 9),
            self._often(chance.choice((0, 0, BUY, SELL)), 3),
            self._often(chance.choice((1, 2)), 0, 3),
        )

    def _dead_mans_switch(self) -> Command:
        trader, nonce, expire_ns = self._signed()
        timeout_ns = self.chance.choice((0, 1, 5, 60, 86_400)) * SECOND_NS
        timeout_ns = self._often(timeout_ns, -1, SECOND_NS - 1, 86_400 * SECOND_NS + 1)
        digest = blake2b(b"%d" % timeout_ns, digest_size=16).digest()
        fields = (trader.account_key, nonce, expire_ns, digest, trader.public_key)
        return SetDeadMansSwitch(*fields, timeout_ns)

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
