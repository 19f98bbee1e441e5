"""Hypothesis chooses commands for the exchange and its naive twin, and shrinks what differs."""

from __future__ import annotations

import typing
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import (
    EXTERNAL_TRADE,
    BeginEpoch,
    ClockTick,
    Command,
    CreateMarket,
    Deposit,
    MassCancel,
    RecordOperation,
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
from dexcore.events import Deposited, Withdrawn
from dexcore.items import (
    ACTION_PLACE,
    AT_CLOSE,
    AT_OPEN,
    DAY,
    FOK,
    GTC,
    GTD,
    IOC,
    NO_MARKET,
    NO_TERMS,
    OCO,
    POST_ONLY,
    SLIDE,
    TYPE_LIMIT,
    TYPE_MARKET,
    TYPE_PEGGED,
    TYPE_STOP,
    TYPE_STOP_LIMIT,
    TYPE_TRAILING_STOP,
    Terms,
)
from dexcore.ledger import EXTERNAL_ACCOUNT_KEY
from dexcore.market import MarketSpec
from dexcore.pool_commands import (
    EXACT_IN,
    EXACT_OUT,
    AddLiquidity,
    CreatePool,
    PoolSwap,
    RemoveLiquidity,
)
from dexcore.quote_commands import (
    AcceptQuote,
    EndQuoteSession,
    GiveQuote,
    RequestQuote,
    WithdrawQuotes,
    WithdrawRequest,
)
from dexcore.session_commands import CountersignSession, EndSession, OpenSession, SessionOrders
from tests.reference.pool_curves import Ranges
from tests.unit.core.beside_twin import Pair
from tests.unit.core.command_maker import batch
from tests.unit.core.exchanges import (
    ASSETS,
    BUY,
    MARKETS,
    OPERATOR,
    SECOND_NS,
    START_NS,
    amend,
    cancel,
    cancel_all,
    public_key,
)
from tests.unit.core.order_maker import Said
from tests.unit.core.pool_maker import CONCENTRATED, CONSTANT_PRODUCT, MIDDLE_TICK, MIDDLE_TICKS
from tests.unit.core.quote_maker import pack

# Types of commands that the machine has applied.
sent: set[type] = set()

traders = st.integers(0, 2)
prices = st.sampled_from((90, 95, 99, 100, 101, 105, 110))
sizes = st.sampled_from((1, 2, 3, 10, 20, 50))


class Placing(NamedTuple):
    """What every order says, whatever its kind."""

    side: int
    lots: int
    tif: int
    market: int
    client_id: int
    ends_s: int
    stp: int


def placings(*tifs: int) -> st.SearchStrategy[Placing]:
    return st.builds(
        Placing,
        side=st.sampled_from((1, 2)),
        lots=sizes,
        tif=st.sampled_from(tifs),
        market=st.sampled_from((0, 0, 1, 2)),
        client_id=st.integers(0, 4),
        ends_s=st.sampled_from((1, 300)),
        stp=st.integers(0, 4),
    )


pool_atoms = st.sampled_from((1, 1_000, 10_000, 100_000))
# Halves of a position, or more than it.
pool_parts = st.integers(0, 3)
fee_rates = st.sampled_from((0, 1, 333, 99_999, 100_000))


class Beside(RuleBasedStateMachine):
    """Hypothesis chooses the commands and shrinks what fails to the shortest run."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(traders=3)
        self.time_ns = START_NS
        self.nonce = 0
        self.reference = 0
        self.external_id = 0
        # What the pair opened its accounts with.
        self.brought_in = Counter(
            {asset.index: asset.supply_atoms for asset in self.pair.exchange.ledger.assets}
        )

    def apply(self, command: Command) -> None:
        """Apply to both, and note what came in and went out."""
        outcome = self.pair.apply(self.time_ns, command)
        sent.add(type(command))
        for event in outcome.events:
            if isinstance(event, Deposited | Withdrawn):
                sign = 1 if isinstance(event, Deposited) else -1
                self.brought_in[event.asset_index] += sign * event.amount_atoms

    @invariant()
    def nothing_is_made_lost_or_owed(self) -> None:
        """Per asset, users and fees own what came in; nobody is below zero; no book is crossed."""
        owned: Counter[int] = Counter()
        for account_key, cells in self.pair.exchange.ledger.cells.items():
            for index, cell in cells.items():
                if account_key != EXTERNAL_ACCOUNT_KEY:
                    assert cell.available >= 0 <= cell.held, "somebody owes"
                    owned[index] += cell.available + cell.held
        assert owned == self.brought_in, "money was made or lost"
        for market in self.pair.exchange.markets:
            bids, asks = market.book.bids.depth(1), market.book.asks.depth(1)
            crossed = bids and asks and bids[0][0] >= asks[0][0]
            assert market.may_be_crossed or not crossed, "a book is crossed"

    @rule(who=traders, number=st.integers(0, 6))
    def register_key(self, who: int, number: int) -> None:
        self.nonce += 1
        trader = self.pair.traders[who]
        head = (trader.account_key, self.nonce, self.time_ns + SECOND_NS, bytes(16))
        self.apply(RegisterKey(*head, trader.public_key, public_key(number)))

    @rule(who=traders, number=st.integers(0, 6), cancel=st.integers(0, 1))
    def revoke_key(self, who: int, number: int, cancel: int) -> None:
        # Never the key it signs with, or the trader would be silent from here on.
        self.nonce += 1
        trader = self.pair.traders[who]
        revoked = public_key(number)
        if revoked != trader.public_key:
            head = (trader.account_key, self.nonce, self.time_ns + SECOND_NS, bytes(16))
            self.apply(RevokeKey(*head, trader.public_key, revoked, cancel))

    @rule(
        prices=st.lists(st.integers(0, 1_001), max_size=3),
        step=st.integers(0, 2),
        late=st.booleans(),
    )
    def record_trades(self, prices: list[int], step: int, late: bool) -> None:
        time_ns = self.time_ns - late * SECOND_NS
        rows = []
        for price in prices:
            self.external_id += step
            rows.append(EXTERNAL_TRADE.pack(self.external_id, time_ns, price, 5, 1))
        self.apply(RecordTrades(OPERATOR, 3, self.time_ns - 1, b"".join(rows)))

    @rule(spec=st.sampled_from(MARKETS), fee=fee_rates)
    def create_market(self, spec: MarketSpec, fee: int) -> None:
        self.apply(CreateMarket(OPERATOR, spec._replace(maker_fee_ppm=fee)))

    @rule()
    def tick(self) -> None:
        self.apply(ClockTick())

    @rule()
    def record_operation(self) -> None:
        # It changes nothing, so the twin does not know it.
        exchange = self.pair.exchange
        exchange.apply(exchange.sequence + 1, self.time_ns, RecordOperation(OPERATOR, "Drain"))
        sent.add(RecordOperation)

    @rule(who=traders, side=st.integers(0, 2), lots=sizes, secret=st.booleans())
    def request_quote(self, who: int, side: int, lots: int, secret: bool) -> None:
        makers = pack(self.pair.traders[0].account_key) if secret else b""
        close_ns = self.time_ns + SECOND_NS
        self.apply(RequestQuote(*self._head(who), 0, side, lots, close_ns, makers))

    @rule(who=traders, bid=st.sampled_from((0, 95, 100)), ask=st.sampled_from((0, 100, 105)))
    def give_quote(self, who: int, bid: int, ask: int) -> None:
        keys = [asked.key for asked in self.pair.twin.quotes.open_requests()]
        if keys:
            self.apply(GiveQuote(*self._head(who), keys[-1], bid, ask, self.time_ns + SECOND_NS, 0))

    @rule(draw=st.data(), side=st.sampled_from((1, 2)), off=st.sampled_from((0, 0, 0, 1)))
    def accept_quote(self, draw: st.DataObject, side: int, off: int) -> None:
        offers = self.pair.twin.quotes.open_quotes()
        if not offers:
            self.apply(AcceptQuote(*self._head(0), 1, side, 100))
            return
        offer = draw.draw(st.sampled_from(offers))
        owners = [trader.account_key for trader in self.pair.traders]
        head = self._head(owners.index(offer.asked.taker))
        price = (offer.ask if side == 1 else offer.bid) + off
        self.apply(AcceptQuote(*head, offer.key, side, price))

    @rule(who=traders)
    def withdraw_quotes(self, who: int) -> None:
        self.apply(WithdrawQuotes(*self._head(who), 0))

    @rule(who=traders)
    def end_quote_session(self, who: int) -> None:
        keys = [offer.key for offer in self.pair.twin.quotes.open_quotes()]
        self.apply(EndQuoteSession(self.pair.traders[who].account_key, pack(*keys[:1])))

    @rule(who=traders)
    def withdraw_request(self, who: int) -> None:
        owner = self.pair.traders[who].account_key
        keys = [asked.key for asked in self.pair.twin.quotes.open_requests(owner)]
        self.apply(WithdrawRequest(owner, keys[0] if keys else 1))

    @rule(
        market=st.sampled_from((0, 0, 0, 1, 2)),
        kind=st.sampled_from((CONSTANT_PRODUCT, CONCENTRATED)),
        fee_ppm=st.sampled_from((3_000, 10_000)),
    )
    def create_pool(self, market: int, kind: int, fee_ppm: int) -> None:
        price = MIDDLE_TICKS if kind == CONCENTRATED else 0
        self.apply(CreatePool(OPERATOR, market, kind, fee_ppm, price))

    @rule(
        who=traders,
        market=st.sampled_from((0, 0, 0, 1, 2)),
        lower=st.integers(-5, 5),
        width=st.integers(1, 4),
        most=st.tuples(pool_atoms, pool_atoms),
    )
    def add_liquidity(
        self, who: int, market: int, lower: int, width: int, most: tuple[int, int]
    ) -> None:
        place = self._range(market, lower, width)
        self.apply(AddLiquidity(*self._head(who), market, *place, *most, 0, 0))

    @rule(who=traders, market=st.sampled_from((0, 0, 0, 1, 2)), draw=st.data(), part=pool_parts)
    def remove_liquidity(self, who: int, market: int, draw: st.DataObject, part: int) -> None:
        """Of a position that there is, or of none."""
        places = [(0, 0, 0)]
        pool = self.pair.twin.books.markets[market].pool
        if pool is not None and isinstance(pool.curve, Ranges):
            places = [*pool.curve.positions] or places
        place = draw.draw(st.sampled_from(places))
        owner = self.pair.traders[who].account_key
        owned = pool.curve.owned((owner, *place[1:])) if pool is not None else 0
        liquidity = (owned or 0) * part // 2
        self.apply(RemoveLiquidity(*self._head(who), market, *place[1:], liquidity, 0, 0))

    @rule(
        who=traders,
        market=st.sampled_from((0, 0, 0, 1, 2)),
        side=st.sampled_from((1, 2)),
        exact=st.sampled_from((EXACT_IN, EXACT_OUT)),
        atoms=pool_atoms,
    )
    def swap_with_pool(self, who: int, market: int, side: int, exact: int, atoms: int) -> None:
        limit = 10**9 if exact == EXACT_OUT else 0
        self.apply(PoolSwap(*self._head(who), market, side, exact, atoms, limit))

    def _range(self, market: int, lower: int, width: int) -> tuple[int, int]:
        pool = self.pair.twin.books.markets[market].pool
        if pool is None or not isinstance(pool.curve, Ranges):
            return 0, 0
        spacing = 200 if pool.curve.fee_ppm == 10_000 else 60
        start = MIDDLE_TICK // spacing + lower
        return start * spacing, (start + width) * spacing

    def _head(self, who: int) -> tuple[int, int, int, bytes, bytes]:
        self.nonce += 1
        trader = self.pair.traders[who]
        expire_ns = self.time_ns + SECOND_NS
        return trader.account_key, self.nonce, expire_ns, bytes(16), trader.public_key

    @rule()
    def restart(self) -> None:
        """Go on from a snapshot."""
        self.pair.exchange = decode_state(encode_state(self.pair.exchange))

    def _send(self, who: int, *said: Said, phased: int = 0) -> None:
        self.nonce += 1
        expire_ns = self.time_ns + SECOND_NS
        self.apply(batch(self.pair.traders[who], self.nonce, expire_ns, said, phased))

    def _order(self, draw: st.DataObject, who: int) -> dict[str, int]:
        """Names one open order of the trader, or none that exists."""
        owner = self.pair.traders[who].account_key
        keys = [order.key for order in self.pair.twin.books.open_orders(owner)]
        return {"order_key": draw.draw(st.sampled_from([*keys, 1]))}

    def _place(self, who: int, kind: int, order: Placing, price: int, terms: Terms) -> Said:
        side, lots, tif, market, client_id, ends_s, stp = order
        ends_ns = self.time_ns + ends_s * SECOND_NS if tif == GTD else 0
        item = (ACTION_PLACE, side, kind, tif, 0, market, price, lots, client_id, 0)
        return item, (*terms[:5], ends_ns, stp, terms[7])

    @rule(
        who=traders,
        order=placings(GTC, GTC, IOC, FOK, DAY, GTD, AT_OPEN, AT_CLOSE),
        price=prices,
        flags=st.sampled_from((0, 0, 0, POST_ONLY, POST_ONLY | SLIDE)),
        shown=st.sampled_from((0, 0, 1, 2, 10)),
        least=st.sampled_from((0, 0, 0, 1, 10)),
    )
    def place_limit(
        self, who: int, order: Placing, price: int, flags: int, shown: int, least: int
    ) -> None:
        said = (shown, least, 0, 0, 0, 0, 0, 0)
        item, terms = self._place(who, TYPE_LIMIT, order, price, said)
        self._send(who, ((*item[:4], flags, *item[5:]), terms))

    @rule(who=traders, order=placings(IOC, FOK, AT_OPEN, AT_CLOSE))
    def place_market(self, who: int, order: Placing) -> None:
        self._send(who, self._place(who, TYPE_MARKET, order, 0, NO_TERMS))

    @rule(
        who=traders,
        order=placings(GTC, GTC, DAY, GTD, IOC, FOK),
        kind=st.sampled_from((TYPE_STOP, TYPE_STOP_LIMIT, TYPE_TRAILING_STOP)),
        price=prices,
        trigger=prices,
        trail=st.sampled_from((1, 5, 10)),
        limit=st.one_of(st.none(), prices),
    )
    def place_stop(
        self,
        who: int,
        order: Placing,
        kind: int,
        price: int,
        trigger: int,
        trail: int,
        limit: int | None,
    ) -> None:
        """By itself, or as a pair with a limit order."""
        trigger, trail = (0, trail) if kind == TYPE_TRAILING_STOP else (trigger, 0)
        price = price if kind == TYPE_STOP_LIMIT else 0
        stop, terms = self._place(who, kind, order, price, (0, 0, trigger, trail, 0, 0, 0, 0))
        if limit is None:
            self._send(who, (stop, terms))
            return
        first = self._place(who, TYPE_LIMIT, order._replace(client_id=0), limit, NO_TERMS)
        self._send(who, first, ((*stop[:4], OCO, *stop[5:]), terms))

    @rule(
        who=traders,
        order=placings(GTC, GTC, DAY),
        peg=st.integers(1, 3),
        away=st.sampled_from((0, 1, 5)),
        limit=prices,
    )
    def place_pegged(self, who: int, order: Placing, peg: int, away: int, limit: int) -> None:
        offset = -away if order.side == BUY else away
        terms = (0, 0, 0, 0, offset, 0, 0, peg)
        self._send(who, self._place(who, TYPE_PEGGED, order, limit, terms))

    @rule(
        who=traders,
        draw=st.data(),
        lots=sizes,
        price=st.one_of(st.just(0), prices),
        trigger=st.one_of(st.just(0), prices),
    )
    def amend(self, who: int, draw: st.DataObject, lots: int, price: int, trigger: int) -> None:
        named = self._order(draw, who)
        self._send(who, (amend(lots, price, **named), (0, 0, trigger, 0, 0, 0, 0, 0)))

    @rule(
        who=traders, draw=st.data(), orders=st.lists(placings(GTC, IOC), max_size=2), price=prices
    )
    def batch_in_phases(
        self, who: int, draw: st.DataObject, orders: list[Placing], price: int
    ) -> None:
        """What is sent last is done first."""
        said = [self._place(who, TYPE_LIMIT, order, price, NO_TERMS) for order in orders]
        changed = amend(1, price, **self._order(draw, who))
        ended = cancel(**self._order(draw, who))
        self._send(who, *said, (changed, NO_TERMS), (ended, NO_TERMS), phased=1)

    @rule(who=traders, draw=st.data())
    def cancel(self, who: int, draw: st.DataObject) -> None:
        self._send(who, (cancel(**self._order(draw, who)), NO_TERMS))

    @rule(who=traders, market=st.sampled_from((0, 1, NO_MARKET)), side=st.sampled_from((0, 1, 2)))
    def cancel_all(self, who: int, market: int, side: int) -> None:
        item = cancel_all(market)
        self._send(who, ((item[0], side, *item[2:]), NO_TERMS))

    @rule(
        who=st.one_of(st.none(), traders),
        market=st.sampled_from((0, 1, NO_MARKET)),
        side=st.sampled_from((0, 1, 2)),
        cause=st.sampled_from((1, 2)),
    )
    def mass_cancel(self, who: int | None, market: int, side: int, cause: int) -> None:
        account_key = 0 if who is None else self.pair.traders[who].account_key
        self.apply(MassCancel(OPERATOR, account_key, market, side, cause))

    @rule(who=traders, timeout_s=st.sampled_from((0, 1, 60)))
    def set_dead_mans_switch(self, who: int, timeout_s: int) -> None:
        self.nonce += 1
        trader = self.pair.traders[who]
        head = (trader.account_key, self.nonce, self.time_ns + SECOND_NS, bytes(16))
        fields = (*head, trader.public_key, timeout_s * SECOND_NS)
        self.apply(SetDeadMansSwitch(*fields))

    @rule(who=traders, group=st.integers(0, 1))
    def set_group(self, who: int, group: int) -> None:
        self.apply(SetStpGroup(OPERATOR, self.pair.traders[who].account_key, group))

    @rule(
        market=st.integers(0, 2),
        protection=st.sampled_from((5, 20, 0)),
        band_ppm=st.sampled_from((0, 50_000)),
        least=st.sampled_from((0, 1_400)),
        most=st.sampled_from((0, 14_000)),
    )
    def set_limits(
        self, market: int, protection: int, band_ppm: int, least: int, most: int
    ) -> None:
        self.apply(SetMarketLimits(OPERATOR, market, protection, band_ppm, least, most))

    @rule(who=traders, whom=traders, asset_id=st.sampled_from(ASSETS), atoms=st.integers(0, 10**5))
    def transfer(self, who: int, whom: int, asset_id: str, atoms: int) -> None:
        self.nonce += 1
        trader, other = self.pair.traders[who], self.pair.traders[whom]
        head = (trader.account_key, self.nonce, self.time_ns + SECOND_NS, bytes(16))
        self.apply(Transfer(*head, trader.public_key, other.account_key, asset_id, atoms))

    @rule(kind=st.sampled_from((Deposit, Withdraw)), who=traders, atoms=st.integers(1, 10**6))
    def book(self, kind: type[Deposit | Withdraw], who: int, atoms: int) -> None:
        self.reference += 1
        owner = self.pair.traders[who].account_key
        self.apply(kind(OPERATOR, owner, "QQQ", atoms, str(self.reference)))

    @rule(market=st.integers(0, 2), fees=st.tuples(fee_rates, fee_rates))
    def set_fees(self, market: int, fees: tuple[int, int]) -> None:
        self.apply(SetFees(OPERATOR, market, *fees))

    @rule(market=st.integers(0, 2), status=st.sampled_from((1, 1, 1, 4, 5, 6, 2, 3)))
    def set_status(self, market: int, status: int) -> None:
        self.apply(SetMarketStatus(OPERATOR, market, status))

    @rule(step_ns=st.sampled_from((1, SECOND_NS, 301 * SECOND_NS, 7_200 * SECOND_NS)))
    def wait(self, step_ns: int) -> None:
        self.time_ns += step_ns


Beside.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBeside = Beside.TestCase


def test_the_machine_has_every_command() -> None:
    """Of the runs above, whichever of them chose it."""
    if not sent:
        pytest.skip("the machine did not run before")
    # An epoch numbers trades anew, which the twin does not; test_equality has it. Sessions have
    # tests of their own: what they carry are orders.
    others = {BeginEpoch, OpenSession, SessionOrders, CountersignSession, EndSession}
    assert sent == {*typing.get_args(Command)} - others
