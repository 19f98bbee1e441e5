"""The naive twin of the exchange: lists, searches and sums made from nothing each time.

Slow on purpose and written from the contract's words; imports nothing of the product. What an
account has is what it owns less what its open orders may still cost; neither a running total nor a
sorted book is kept, so there is nothing here to get out of step. Reasons and states go by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.reference.exchange_keys import MANAGE, MOVE, TRADE, AKey, KeyRing
from tests.reference.exchange_rules import (
    AMEND,
    ANY_MARKET,
    BUY,
    CANCEL,
    CANCEL_ALL,
    FOK,
    GTC,
    INT64_MAX,
    IOC,
    LIMIT,
    MARKET,
    PLACE,
    SELL,
    No,
    Result,
    check_kind,
    check_price,
    check_size,
    check_spec,
)
from tests.reference.quote_acts import QuoteActs

STATUSES = {1: "OPEN", 2: "CANCEL_ONLY", 3: "HALTED"}
MILLION = 1_000_000

Item = tuple[int, ...]
Trade = tuple[int, ...]


@dataclass
class Answer:
    """What became of a command."""

    sequence: int
    time_ns: int
    reason: str = "NONE"
    where: str = ""
    repeated: bool = False
    key: int = 0
    counts: tuple[int, int] = (0, 0)
    items: list[Result] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)


@dataclass
class Market:
    """A market as it was asked for, and how it is."""

    index: int
    spec: dict[str, Any]
    maker_ppm: int
    taker_ppm: int
    status: str = "OPEN"
    trade_sequence: int = 0
    last_external: int = 0
    watermark_ns: int = 0
    # Who came first stands first, whatever the price.
    resting: list[Order] = field(default_factory=list)


@dataclass(eq=False)
class Order:
    """An order; its fee is worked out from all its fills each time it is asked for."""

    key: int
    owner: int
    market: Market
    side: int
    price: int
    size: int
    client_id: int
    post_only: bool
    maker_ppm: int
    taker_ppm: int
    filled: int = 0
    # Notional and rate of each fill so far.
    charges: list[tuple[int, int]] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        return self.size - self.filled

    def fee(self, *more: tuple[int, int]) -> int:
        """The fee of all fills, and of some more, rounded up once."""
        return -(-sum(n * rate for n, rate in [*self.charges, *more]) // MILLION)

    def cost(self, lots: int, price: int) -> int:
        """Quote atoms of so many lots at a price."""
        return int(lots * price * self.market.spec["quote_atoms_per_tick_lot"])

    def reserve(self) -> int:
        """What it may still cost while it rests: a resting order only makes."""
        if self.side == SELL:
            return int(self.remaining * self.market.spec["base_atoms_per_lot"])
        notional = self.cost(self.remaining, self.price)
        return notional + self.fee((notional, self.maker_ppm)) - self.fee()

    def worst(self, notional: int) -> int:
        """What it may cost before it has met the book: the higher rate counts."""
        if self.side == SELL:
            return int(self.remaining * self.market.spec["base_atoms_per_lot"])
        rate = max(self.maker_ppm, self.taker_ppm)
        return notional + self.fee((notional, rate)) - self.fee()

    def asset(self) -> str:
        """What it reserves."""
        side = "quote" if self.side == BUY else "base"
        return str(self.market.spec[f"{side}_asset_id"])

    def crosses(self, price: int) -> bool:
        return price <= self.price if self.side == BUY else price >= self.price


class Twin(QuoteActs):
    """The exchange again, the slow way."""

    def __init__(self) -> None:
        super().__init__()
        self.time_ns = 0
        self.markets: list[Market] = []
        self.scales: dict[str, int] = {}
        self.keys = KeyRing()
        self.accounts: list[int] = []
        self.owned: dict[tuple[int, str], int] = {}
        self.fees: dict[str, int] = {}
        self.supply: dict[str, int] = {}
        self.booked: dict[tuple[str, str], tuple[Any, ...]] = {}
        self.answered: dict[tuple[Any, int], tuple[bytes, int, Answer]] = {}

    def apply(self, sequence: int, time_ns: int, kind: str, **fields: Any) -> Answer:
        """Apply a command: `kind` is its name, `fields` its fields by name."""
        self.time_ns = time_ns
        self.quotes.blocks = []
        answer = Answer(sequence, time_ns)
        act: Callable[..., Answer | None] = getattr(self, "_do_" + kind.lower())
        try:
            return act(answer, **fields) or answer
        except No as no:
            return Answer(sequence, time_ns, no.reason, no.where)

    # --- what can be asked

    def open_orders(self, owner: int | None = None) -> list[Order]:
        """Open orders, oldest first."""
        found = [o for m in self.markets for o in m.resting if owner in (None, o.owner)]
        return sorted(found, key=lambda order: order.key)

    def held(self, owner: int, asset: str) -> int:
        return self.quotes.held(owner, asset) + sum(
            o.reserve() for o in self.open_orders(owner) if o.asset() == asset
        )

    def available(self, owner: int, asset: str) -> int:
        return self.owned.get((owner, asset), 0) - self.held(owner, asset)

    def queue(self, market: Market, side: int) -> list[Order]:
        """Resting orders of a side: best price first, first come first at a price."""
        sign = -1 if side == BUY else 1
        orders = [o for o in market.resting if o.side == side]
        return sorted(orders, key=lambda order: sign * order.price)

    def depth(self, market: Market, side: int) -> list[tuple[int, int]]:
        """Price and open lots of each level, best first."""
        levels: dict[int, int] = {}
        for order in self.queue(market, side):
            levels[order.price] = levels.get(order.price, 0) + order.remaining
        return list(levels.items())

    # --- signed commands

    def _do_revokekey(
        self,
        answer: Answer,
        account_key: int,
        nonce: int,
        expire_time_ns: int,
        digest: bytes,
        public_key: bytes,
        revoked_public_key: bytes,
        cancel_all: int,
    ) -> Answer | None:
        signer = self.keys.of(account_key, public_key)
        first = self._first(account_key, nonce, digest, expire_time_ns, answer, signer, MANAGE)
        if first:
            return first
        self.keys.revoke(signer, revoked_public_key)
        if cancel_all:
            answer.items += [self._cancel(each) for each in self._cancellable(account_key)]
        answer.key = account_key
        self.answered[(account_key, nonce)] = (digest, expire_time_ns, answer)
        return None

    def _first(
        self,
        space: Any,
        nonce: int,
        digest: bytes,
        expire_ns: int,
        answer: Answer,
        signer: AKey | None,
        right: int,
    ) -> Answer | None:
        """The first answer to a payload; to a new one None, if its signer may do this now."""
        if expire_ns <= self.time_ns:
            raise No("PAYLOAD_EXPIRED", "expire_time")
        if expire_ns > self.time_ns + 300 * 10**9:
            raise No("EXPIRY_TOO_FAR", "expire_time")
        known_digest, known_expire_ns, first = self.answered.get((space, nonce), (b"", 0, answer))
        if known_expire_ns > self.time_ns:
            if known_digest != digest:
                raise No("NONCE_REUSED", "nonce")
            return Answer(
                first.sequence,
                first.time_ns,
                first.reason,
                first.where,
                repeated=True,
                key=first.key,
                items=first.items,
            )
        if signer:
            self.keys.judge(signer, right, self.time_ns)
        return None

    def _do_ordercommand(
        self,
        answer: Answer,
        account_key: int,
        nonce: int,
        expire_time_ns: int,
        digest: bytes,
        public_key: bytes,
        items: list[Item],
    ) -> Answer | None:
        signer = self.keys.of(account_key, public_key)
        first = self._first(account_key, nonce, digest, expire_time_ns, answer, signer, TRADE)
        if first:
            return first
        if len(items) > 1000:
            raise No("BATCH_SIZE", "items")
        for index, item in enumerate(items):
            try:
                key = answer.sequence * 4096 + index
                answer.items += self._item(account_key, key, item, answer.trades)
            except No as no:
                client_id = item[8] if item[0] == PLACE else 0
                refused = Result(0, client_id, "REJECTED", 0, 0, (), no.reason, no.where)
                answer.items.append(refused)
        self.answered[(account_key, nonce)] = (digest, expire_time_ns, answer)
        return None

    def _do_registerkey(
        self,
        answer: Answer,
        account_key: int,
        nonce: int,
        expire_time_ns: int,
        digest: bytes,
        public_key: bytes,
        new_public_key: bytes,
        **limits: Any,
    ) -> Answer | None:
        space: Any = account_key or public_key
        signer = self.keys.of(account_key, public_key) if account_key else None
        first = self._first(space, nonce, digest, expire_time_ns, answer, signer, MANAGE)
        if first:
            return first
        of_signer = new_public_key == public_key
        rights, ends_ns = self.keys.grant(signer, self.time_ns, of_signer, **limits)
        account_key = account_key or answer.sequence * 4096
        self.keys.add(new_public_key, AKey(account_key, rights, ends_ns))
        if signer is None:
            self.accounts.append(account_key)
        answer.key = account_key
        self.answered[(space, nonce)] = (digest, expire_time_ns, answer)
        return None

    def _do_transfer(
        self,
        answer: Answer,
        account_key: int,
        nonce: int,
        expire_time_ns: int,
        digest: bytes,
        public_key: bytes,
        to_account_key: int,
        asset_id: str,
        amount_atoms: int,
    ) -> Answer | None:
        signer = self.keys.of(account_key, public_key)
        first = self._first(account_key, nonce, digest, expire_time_ns, answer, signer, MOVE)
        if first:
            return first
        try:
            if asset_id not in self.scales:
                raise No("UNKNOWN_ASSET", "asset_id")
            if to_account_key not in self.accounts:
                raise No("UNKNOWN_ACCOUNT", "to_account_id")
            if amount_atoms <= 0:
                raise No("FIELD_INVALID", "amount_atoms")
            if amount_atoms > self.available(account_key, asset_id):
                raise No("INSUFFICIENT_FUNDS", "amount_atoms")
            self._own(account_key, asset_id, -amount_atoms)
            self._own(to_account_key, asset_id, amount_atoms)
        except No as no:
            answer.reason, answer.where = no.reason, no.where
        self.answered[(account_key, nonce)] = (digest, expire_time_ns, answer)
        return None

    # --- orders

    def _item(self, owner: int, key: int, item: Item, trades: list[Trade]) -> list[Result]:
        action, _, _, _, _, market, price, size, client_id, named = item
        if action == PLACE:
            return [self._place(owner, key, item, trades)]
        if action == CANCEL:
            return [self._cancel(self._named(owner, named, client_id))]
        if action == AMEND:
            return [self._amend(self._named(owner, named, client_id), size, price, trades)]
        if action != CANCEL_ALL:
            raise No("FIELD_INVALID", "action")
        if market != ANY_MARKET:
            self._market(market)
        chosen = self._cancellable(owner)
        return [self._cancel(o) for o in chosen if market in (ANY_MARKET, o.market.index)]

    def _cancellable(self, owner: int) -> list[Order]:
        return [o for o in self.open_orders(owner) if o.market.status != "HALTED"]

    def _market(self, index: int) -> Market:
        if not 0 <= index < len(self.markets):
            raise No("UNKNOWN_MARKET", "market_id")
        return self.markets[index]

    def _named(self, owner: int, key: int, client_id: int) -> Order:
        for order in self.open_orders(owner):
            if key and order.key == key:
                return order
            if not key and client_id and order.client_id == client_id:
                return order
        raise No("UNKNOWN_ORDER", "order_id" if key else "client_order_id")

    def _place(self, owner: int, key: int, item: Item, trades: list[Trade]) -> Result:
        _, side, kind, tif, post_only, index, price, size, client_id, _ = item
        market = self._market(index)
        if market.spec["kind"] == 2:
            raise No("MARKET_IS_EXTERNAL", "market_id")
        if market.status != "OPEN":
            raise No("MARKET_NOT_OPEN", "market_id")
        for value, known, where in (
            (side, (BUY, SELL), "side"),
            (kind, (LIMIT, MARKET), "type"),
            (tif, (GTC, IOC, FOK), "time_in_force"),
        ):
            if value not in known:
                raise No("FIELD_INVALID", where)
        check_size(market.spec, size)
        check_kind(market.spec, kind, tif, bool(post_only), price)
        if client_id < 0:
            raise No("FIELD_INVALID", "client_order_id")
        if client_id and client_id in [o.client_id for o in self.open_orders(owner)]:
            raise No("CLIENT_ORDER_ID_IN_USE", "client_order_id")
        rates = (market.maker_ppm, market.taker_ppm)
        order = Order(key, owner, market, side, price, size, client_id, bool(post_only), *rates)
        others = self.queue(market, SELL if side == BUY else BUY)
        meets = [o for o in others if kind == MARKET or order.crosses(o.price)]
        if post_only and meets:
            raise No("POST_ONLY_WOULD_TAKE", "post_only")
        if kind == MARKET and not others:
            raise No("NO_LIQUIDITY")
        if tif == FOK and sum(o.remaining for o in meets) < size:
            raise No("FILL_OR_KILL_UNFILLABLE", "quantity_lots")
        notional = order.cost(size, price) if kind == LIMIT else _walk(order, meets)
        if order.worst(notional) > self.available(owner, order.asset()):
            raise No("INSUFFICIENT_FUNDS", "quantity_lots")
        fills = self._match(order, meets, trades)
        if order.remaining and tif == GTC:
            market.resting.append(order)
            return _result(order, "PARTIALLY_FILLED" if order.filled else "OPEN", fills)
        return _result(order, "EXPIRED" if order.remaining else "FILLED", fills)

    def _cancel(self, order: Order) -> Result:
        if order.market.status == "HALTED":
            raise No("MARKET_NOT_OPEN", "market_id")
        order.market.resting.remove(order)
        return _result(order, "CANCELLED")

    def _amend(self, order: Order, size: int, price: int, trades: list[Trade]) -> Result:
        market = order.market
        if market.status != "OPEN":
            raise No("MARKET_NOT_OPEN", "market_id")
        price = price or order.price
        check_price(market.spec, price)
        check_size(market.spec, size)
        if size <= order.filled:
            raise No("AMEND_BELOW_FILLED", "quantity_lots")
        if price == order.price and size <= order.size:
            order.size = size
            return _result(order, "PARTIALLY_FILLED" if order.filled else "OPEN")
        before = order.size, order.price
        available = self.available(order.owner, order.asset()) + order.reserve()
        order.size, order.price = size, price
        others = self.queue(market, SELL if order.side == BUY else BUY)
        meets = [o for o in others if order.crosses(o.price)]
        reason = None
        if order.post_only and meets:
            reason = No("POST_ONLY_WOULD_TAKE", "price_ticks")
        elif order.worst(order.cost(order.remaining, price)) > available:
            reason = No("INSUFFICIENT_FUNDS", "quantity_lots")
        if reason:
            order.size, order.price = before
            raise reason
        market.resting.remove(order)
        fills = self._match(order, meets, trades)
        if not order.remaining:
            return _result(order, "FILLED", fills)
        market.resting.append(order)
        return _result(order, "PARTIALLY_FILLED" if order.filled else "OPEN", fills)

    def _match(
        self, taker: Order, makers: list[Order], trades: list[Trade]
    ) -> tuple[tuple[int, int, int, int], ...]:
        fills = []
        market = taker.market
        for maker in makers:
            lots = min(taker.remaining, maker.remaining)
            if not lots:
                break
            notional = taker.cost(lots, maker.price)
            fee_of = {}
            for order, rate in ((maker, maker.maker_ppm), (taker, taker.taker_ppm)):
                before = order.fee()
                order.charges.append((notional, rate))
                order.filled += lots
                fee_of[order] = order.fee() - before
                sign = 1 if order.side == BUY else -1
                base = lots * market.spec["base_atoms_per_lot"]
                self._own(order.owner, market.spec["base_asset_id"], sign * base)
                paid = -sign * notional - fee_of[order]
                self._own(order.owner, market.spec["quote_asset_id"], paid)
            quote = market.spec["quote_asset_id"]
            self.fees[quote] = self.fees.get(quote, 0) + sum(fee_of.values())
            market.trade_sequence += 1
            place = (market.trade_sequence, maker.price, lots)
            fills.append((*place, fee_of[taker]))
            who = (maker.key, taker.key, maker.owner, taker.owner, fee_of[maker], fee_of[taker])
            trades.append((market.index, *place, taker.side, *who))
            if not maker.remaining:
                market.resting.remove(maker)
        return tuple(fills)

    def _own(self, owner: int, asset: str, change: int) -> None:
        self.owned[(owner, asset)] = self.owned.get((owner, asset), 0) + change

    # --- operators

    def _do_createmarket(self, answer: Answer, operator: str, spec: dict[str, Any]) -> None:
        for market in self.markets:
            if market.spec["market_id"] == spec["market_id"]:
                if market.spec != spec:
                    raise No("MARKET_EXISTS", "market.market_id")
                answer.repeated, answer.key = True, market.index
                return
        check_spec(spec)
        for side in ("base", "quote"):
            asset, scale = spec[f"{side}_asset_id"], spec[f"{side}_scale"]
            if self.scales.get(asset, scale) != scale:
                raise No("ASSET_MISMATCH", f"market.{side}_asset")
        for side in ("base", "quote"):
            self.scales[spec[f"{side}_asset_id"]] = spec[f"{side}_scale"]
        answer.key = len(self.markets)
        rates = spec["maker_fee_ppm"], spec["taker_fee_ppm"]
        self.markets.append(Market(answer.key, spec, *rates))

    def _do_setmarketstatus(
        self, answer: Answer, operator: str, market_index: int, status: int
    ) -> None:
        market = self._market(market_index)
        if status not in STATUSES:
            raise No("FIELD_INVALID", "status")
        market.status = STATUSES[status]
        answer.key = market_index

    def _do_setfees(
        self,
        answer: Answer,
        operator: str,
        market_index: int,
        maker_fee_ppm: int,
        taker_fee_ppm: int,
    ) -> None:
        market = self._market(market_index)
        for fee, where in ((maker_fee_ppm, "maker_fee_ppm"), (taker_fee_ppm, "taker_fee_ppm")):
            if not 0 <= fee <= 100_000:
                raise No("FIELD_INVALID", where)
        market.maker_ppm, market.taker_ppm = maker_fee_ppm, taker_fee_ppm
        answer.key = market_index

    def _do_deposit(self, answer: Answer, operator: str, **booking: Any) -> None:
        if self._fresh("deposit", booking, answer):
            asset, amount = booking["asset_id"], booking["amount_atoms"]
            if self.supply.get(asset, 0) + amount > INT64_MAX:
                raise No("AMOUNT_OUT_OF_RANGE", "amount_atoms")
            self._book("deposit", booking, answer, amount)

    def _do_withdraw(self, answer: Answer, operator: str, **booking: Any) -> None:
        if self._fresh("withdrawal", booking, answer):
            asset, amount = booking["asset_id"], booking["amount_atoms"]
            if amount > self.available(booking["account_key"], asset):
                raise No("INSUFFICIENT_FUNDS", "amount_atoms")
            self._book("withdrawal", booking, answer, -amount)

    def _fresh(self, kind: str, booking: dict[str, Any], answer: Answer) -> bool:
        if booking["asset_id"] not in self.scales:
            raise No("UNKNOWN_ASSET", "asset_id")
        if booking["account_key"] not in self.accounts:
            raise No("UNKNOWN_ACCOUNT", "account_id")
        if not 0 < booking["amount_atoms"] <= INT64_MAX:
            raise No("AMOUNT_OUT_OF_RANGE", "amount_atoms")
        known = self.booked.get((kind, booking["reference"]))
        if known is None:
            return True
        if known[0] != booking:
            raise No("REFERENCE_REUSED", "reference")
        answer.repeated = True
        answer.sequence, answer.time_ns = known[1:]
        return False

    def _book(self, kind: str, booking: dict[str, Any], answer: Answer, change: int) -> None:
        asset = booking["asset_id"]
        self._own(booking["account_key"], asset, change)
        self.supply[asset] = self.supply.get(asset, 0) + change
        self.booked[(kind, booking["reference"])] = (booking, answer.sequence, answer.time_ns)

    def _do_recordtrades(
        self,
        answer: Answer,
        operator: str,
        market_index: int,
        watermark_ns: int,
        trades: list[tuple[int, int, int, int, int]],
    ) -> None:
        market = self._market(market_index)
        if market.spec["kind"] != 2:
            raise No("FIELD_INVALID", "market_id")
        if market.status == "HALTED":
            raise No("MARKET_NOT_OPEN", "market_id")
        if watermark_ns > self.time_ns:
            raise No("TRADE_OUT_OF_ORDER", "watermark_time")
        last = 0
        for number, time_ns, price, lots, side in trades:
            if number <= last:
                raise No("TRADE_OUT_OF_ORDER", "trades.external_id")
            if not 0 <= time_ns <= self.time_ns:
                raise No("TRADE_OUT_OF_ORDER", "trades.time")
            if not 0 < price <= market.spec["price_ticks_max"]:
                raise No("PRICE_OUT_OF_RANGE", "trades.price_ticks")
            if not 0 < lots <= market.spec["quantity_lots_max"]:
                raise No("QUANTITY_OUT_OF_RANGE", "trades.quantity_lots")
            if side not in (BUY, SELL):
                raise No("FIELD_INVALID", "trades.taker_side")
            last = number
        fresh = [trade for trade in trades if trade[0] > market.last_external]
        market.trade_sequence += len(fresh)
        market.last_external = max([market.last_external, *[trade[0] for trade in fresh]])
        market.watermark_ns = max(market.watermark_ns, watermark_ns)
        answer.key = market_index
        answer.counts = (len(fresh), len(trades) - len(fresh))


def _walk(order: Order, makers: list[Order]) -> int:
    """What the order's size costs at the prices of these makers."""
    left, notional = order.size, 0
    for maker in makers:
        lots = min(left, maker.remaining)
        notional += order.cost(lots, maker.price)
        left -= lots
    return notional


def _result(order: Order, status: str, fills: tuple[tuple[int, int, int, int], ...] = ()) -> Result:
    return Result(
        order.key, order.client_id, status, order.filled, order.remaining, fills, "NONE", ""
    )
