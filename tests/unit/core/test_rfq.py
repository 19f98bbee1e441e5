"""Requests for quotes: who may quote and accept what, what is held, and how everything ends."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import (
    ClockTick,
    SetFees,
    SetMarketStatus,
    SetStpGroup,
    decode_command,
    encode_command,
)
from dexcore.events import CommandRefused, Event, Trade
from dexcore.invariant import InvariantError
from dexcore.ledger import FEE_ACCOUNT_KEY
from dexcore.limits import OPEN_QUOTES_PER_ACCOUNT_MAX, OPEN_REQUESTS_PER_ACCOUNT_MAX
from dexcore.quote_commands import (
    AcceptQuote,
    EndQuoteSession,
    GiveQuote,
    RequestQuote,
    WithdrawQuotes,
    WithdrawRequest,
)
from dexcore.quote_events import BlockTraded, QuoteClosed, QuoteRequestClosed
from dexcore.quotes import QuoteEnd, RequestEnd
from dexcore.reasons import Reason
from dexcore.results import Outcome
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SECOND_NS,
    SELL,
    Trader,
    World,
    place,
    small_world,
)
from tests.unit.core.quote_maker import pack

FUNDS = 10**9
LOTS = 50
# Of market 0: atoms of the base per lot, of the quote per tick and lot, and the rates.
BASE_LOT, TICK_LOT = 1_000, 7
MAKER_PPM, TAKER_PPM = 1_234, 56_789


def fee(price_ticks: int, ppm: int) -> int:
    return -(-LOTS * price_ticks * TICK_LOT * ppm // 10**6)


class Money(NamedTuple):
    """Available and held, base then quote."""

    base: int
    base_held: int
    quote: int
    quote_held: int


class Room:
    """A taker and two makers."""

    def __init__(self, **changes: Any) -> None:
        self.world: World = small_world(atoms=FUNDS, **changes)
        self.taker, self.maker, self.other = self.world.traders

    def head(self, trader: Trader, nonce: int = 0) -> tuple[int, int, int, bytes, bytes]:
        self.world.nonce += 1
        number = nonce or self.world.nonce
        expire_ns = self.world.time_ns + 60 * SECOND_NS
        return trader.account_key, number, expire_ns, bytes(16), trader.public_key

    def ask(self, side: int = 0, *, market: int = 0, seconds: int = 30, makers: bytes = b"") -> int:
        """Open a request; its key."""
        outcome = self.world.do(self.request(side, market=market, seconds=seconds, makers=makers))
        assert outcome.reason == Reason.NONE, outcome.field
        return outcome.key

    def request(
        self, side: int = 0, *, market: int = 0, seconds: int = 30, makers: bytes = b""
    ) -> RequestQuote:
        close_ns = self.world.time_ns + seconds * SECOND_NS
        return RequestQuote(*self.head(self.taker), market, side, LOTS, close_ns, makers)

    def quote(
        self,
        request_key: int,
        bid: int = 99,
        ask: int = 101,
        *,
        by: Trader | None = None,
        seconds: int = 10,
        client_id: int = 0,
    ) -> Outcome:
        end_ns = self.world.time_ns + seconds * SECOND_NS
        head = self.head(by or self.maker)
        return self.world.do(GiveQuote(*head, request_key, bid, ask, end_ns, client_id))

    def accept(
        self, quote_key: int, side: int = BUY, price: int = 101, *, by: Trader | None = None
    ) -> Outcome:
        return self.world.do(AcceptQuote(*self.head(by or self.taker), quote_key, side, price))

    def tick(self, seconds: int) -> Outcome:
        self.world.time_ns += seconds * SECOND_NS
        return self.world.do(ClockTick())

    def money(self, trader: Trader) -> Money:
        ledger = self.world.exchange.ledger
        base = ledger.cell(trader.account_key, ledger.assets_by_id["AAA"])
        quote = ledger.cell(trader.account_key, ledger.assets_by_id["QQQ"])
        return Money(base.available, base.held, quote.available, quote.held)


@pytest.fixture
def room() -> Room:
    return Room()


def ends(outcome: Outcome) -> list[tuple[int, str]]:
    """Keys and names of what an outcome ended, in its order."""
    found = []
    event: Event
    for event in outcome.events:
        if isinstance(event, QuoteClosed):
            found.append((event.quote_key, QuoteEnd(event.end).name))
        elif isinstance(event, QuoteRequestClosed):
            found.append((event.request_key, RequestEnd(event.end).name))
    return found


def refused(outcome: Outcome) -> tuple[str, str]:
    assert [type(event) for event in outcome.events] == [CommandRefused]
    return Reason(outcome.reason).name, outcome.field


UNTOUCHED = Money(FUNDS, 0, FUNDS, 0)


def test_an_open_quote_holds_the_worst_case_of_both_sides(room: Room) -> None:
    room.quote(room.ask())
    bid = 99 * LOTS * TICK_LOT + fee(99, MAKER_PPM)
    ask = LOTS * BASE_LOT
    assert room.money(room.maker) == (FUNDS - ask, ask, FUNDS - bid, bid)
    assert room.money(room.taker) == UNTOUCHED


def test_an_acceptance_trades_the_whole_size_at_the_price_and_frees_the_rest(room: Room) -> None:
    quote = room.quote(room.ask()).key
    outcome = room.accept(quote, BUY, 101)
    value, base = 101 * LOTS * TICK_LOT, LOTS * BASE_LOT
    taker_fee, maker_fee = fee(101, TAKER_PPM), fee(101, MAKER_PPM)
    assert room.money(room.taker) == (FUNDS + base, 0, FUNDS - value - taker_fee, 0)
    assert room.money(room.maker) == (FUNDS - base, 0, FUNDS + value - maker_fee, 0)
    [item] = outcome.items
    assert item.fills == ((0, 101, LOTS, taker_fee),)
    ledger = room.world.exchange.ledger
    fees = ledger.cell(FEE_ACCOUNT_KEY, ledger.assets_by_id["QQQ"])
    assert fees.available == taker_fee + maker_fee


def test_a_bid_is_paid_from_what_was_held(room: Room) -> None:
    quote = room.quote(room.ask(SELL), 99, 0).key
    room.accept(quote, SELL, 99)
    value, base = 99 * LOTS * TICK_LOT, LOTS * BASE_LOT
    spent = value + fee(99, MAKER_PPM)
    assert room.money(room.maker) == (FUNDS + base, 0, FUNDS - spent, 0)
    assert room.money(room.taker) == (FUNDS - base, 0, FUNDS + value - fee(99, TAKER_PPM), 0)


def test_the_maker_pays_the_rate_of_its_quote_and_the_taker_that_of_now(room: Room) -> None:
    quote = room.quote(room.ask()).key
    room.world.do(SetFees(OPERATOR, 0, 100_000, 0))
    [block] = [e for e in room.accept(quote).events if isinstance(e, BlockTraded)]
    assert (block.maker_fee_atoms, block.taker_fee_atoms) == (fee(101, MAKER_PPM), 0)


def test_a_block_is_no_trade_of_the_market(room: Room) -> None:
    room.world.order(room.maker, place(SELL, 100, 1))
    room.world.order(room.taker, place(BUY, 100, 1))
    market = room.world.exchange.markets[0]
    before = (market.trade_sequence, market.last_price_ticks)
    outcome = room.accept(room.quote(room.ask()).key)
    assert not [event for event in outcome.events if isinstance(event, Trade)]
    assert (market.trade_sequence, market.last_price_ticks) == before == (1, 100)


def test_the_first_acceptance_closes_the_request_and_a_second_trades_nothing(room: Room) -> None:
    request = room.ask()
    first = room.quote(request).key
    second = room.quote(request, 98, 102, by=room.other).key
    assert ends(room.accept(first)) == [
        (first, "FILLED"),
        (second, "REQUEST_CLOSED"),
        (request, "FILLED"),
    ]
    after = room.money(room.taker), room.money(room.maker)
    assert room.money(room.other) == UNTOUCHED
    for quote in (first, second):
        assert refused(room.accept(quote)) == ("UNKNOWN_QUOTE", "quote_acceptance.quote_id")
    assert refused(room.quote(request))[0] == "UNKNOWN_QUOTE_REQUEST"
    assert (room.money(room.taker), room.money(room.maker)) == after


def test_the_same_payload_is_answered_and_trades_once(room: Room) -> None:
    quote = room.quote(room.ask()).key
    command = AcceptQuote(*room.head(room.taker), quote, BUY, 101)
    first = room.world.do(command)
    after = room.money(room.taker)
    again = room.world.do(command)
    assert again.repeated
    assert (again.key, again.items, again.sequence) == (first.key, first.items, first.sequence)
    assert room.money(room.taker) == after
    assert not again.events


def test_a_refusal_is_remembered_too(room: Room) -> None:
    command = AcceptQuote(*room.head(room.taker), 4096, BUY, 101)
    assert refused(room.world.do(command)) == ("UNKNOWN_QUOTE", "quote_acceptance.quote_id")
    again = room.world.do(command)
    assert (again.repeated, again.reason) == (True, Reason.UNKNOWN_QUOTE)


def test_a_quote_is_worth_nothing_from_its_time_on_even_before_the_tick(room: Room) -> None:
    quote = room.quote(room.ask(), seconds=10).key
    room.world.time_ns += 10 * SECOND_NS
    assert refused(room.accept(quote)) == ("UNKNOWN_QUOTE", "quote_acceptance.quote_id")
    # Its end is the tick's alone: until then it holds what it held.
    assert room.money(room.maker) != UNTOUCHED
    assert ends(room.tick(0)) == [(quote, "EXPIRED")]
    assert room.money(room.maker) == UNTOUCHED


def test_a_request_takes_no_quotes_and_no_acceptance_from_its_time_on(room: Room) -> None:
    request = room.ask(seconds=5)
    quote = room.quote(request, seconds=60).key
    room.world.time_ns += 5 * SECOND_NS
    assert refused(room.quote(request))[0] == "UNKNOWN_QUOTE_REQUEST"
    assert refused(room.accept(quote))[0] == "UNKNOWN_QUOTE"
    assert ends(room.tick(0)) == [(quote, "REQUEST_CLOSED"), (request, "TIME_PASSED")]
    assert room.money(room.maker) == UNTOUCHED


def test_what_is_due_ends_in_order_of_time_and_key(room: Room) -> None:
    late, soon = room.ask(seconds=20), room.ask(seconds=10)
    second = room.quote(late, seconds=9).key
    first = room.quote(late, seconds=8, by=room.other).key
    last = room.quote(late, seconds=10).key
    exchange = room.world.exchange
    assert exchange.next_due_ns == room.world.time_ns + 8 * SECOND_NS
    assert [key for key, _ in ends(room.tick(10))] == [first, second, soon, last]
    assert exchange.next_due_ns == room.world.time_ns + 10 * SECOND_NS
    room.tick(10)
    assert exchange.next_due_ns is None


def test_a_maker_withdraws_one_or_all(room: Room) -> None:
    request = room.ask()
    keys = [room.quote(request, 90 + n, 110).key for n in range(3)]
    other = room.quote(request, by=room.other).key
    command = WithdrawQuotes(*room.head(room.maker), other)
    assert refused(room.world.do(command)) == ("UNKNOWN_QUOTE", "quote_cancel.quote_id")
    outcome = room.world.do(WithdrawQuotes(*room.head(room.maker), keys[1]))
    assert ends(outcome) == [(keys[1], "WITHDRAWN")]
    outcome = room.world.do(WithdrawQuotes(*room.head(room.maker), 0))
    assert ends(outcome) == [(keys[0], "WITHDRAWN"), (keys[2], "WITHDRAWN")]
    assert room.money(room.maker) == UNTOUCHED
    assert list(room.world.exchange.quotes.quotes) == [other]


def test_a_session_ends_with_what_it_gave(room: Room) -> None:
    request = room.ask()
    first, second = room.quote(request).key, room.quote(request).key
    other = room.quote(request, by=room.other).key
    account_key = room.maker.account_key
    outcome = room.world.do(EndQuoteSession(account_key, pack(other, second, 77)))
    assert ends(outcome) == [(second, "SESSION_ENDED")]
    assert list(room.world.exchange.quotes.quotes) == [first, other]


def test_a_request_is_withdrawn_by_its_taker_alone(room: Room) -> None:
    request = room.ask()
    quote = room.quote(request).key
    outcome = room.world.do(WithdrawRequest(room.maker.account_key, request))
    assert refused(outcome) == ("UNKNOWN_QUOTE_REQUEST", "quote_request_id")
    outcome = room.world.do(WithdrawRequest(room.taker.account_key, request))
    assert ends(outcome) == [(quote, "REQUEST_CLOSED"), (request, "WITHDRAWN")]
    assert room.money(room.maker) == UNTOUCHED


def test_for_whom_a_request_is_not_it_does_not_exist(room: Room) -> None:
    request = room.ask(makers=pack(room.maker.account_key))
    found = refused(room.quote(request, by=room.other))
    assert found == refused(room.quote(4096, by=room.other))
    assert found == ("UNKNOWN_QUOTE_REQUEST", "quote.quote_request_id")
    assert room.quote(request).reason == Reason.NONE


def test_an_owner_does_not_trade_with_itself(room: Room) -> None:
    request = room.ask()
    outcome = room.quote(request, by=room.taker)
    assert refused(outcome) == ("SELF_TRADE", "quote.quote_request_id")


def test_accounts_of_one_group_are_one_owner(room: Room) -> None:
    request = room.ask()
    quote = room.quote(request).key
    for trader in (room.taker, room.maker):
        room.world.do(SetStpGroup(OPERATOR, trader.account_key, 5))
    assert refused(room.quote(request)) == ("SELF_TRADE", "quote.quote_request_id")
    assert refused(room.accept(quote)) == ("SELF_TRADE", "quote_acceptance.quote_id")
    assert room.quote(request, by=room.other).reason == Reason.NONE


def test_another_accepts_nothing(room: Room) -> None:
    quote = room.quote(room.ask()).key
    outcome = room.accept(quote, by=room.other)
    assert refused(outcome) == ("UNKNOWN_QUOTE", "quote_acceptance.quote_id")


@pytest.mark.parametrize(
    ("side", "price", "field"),
    [(BUY, 100, "price_ticks"), (BUY, 99, "price_ticks"), (SELL, 99, "side")],
)
def test_what_was_not_quoted_is_not_traded(room: Room, side: int, price: int, field: str) -> None:
    quote = room.quote(room.ask(), 0, 101).key
    before = room.money(room.maker)
    assert refused(room.accept(quote, side, price)) == (
        "QUOTE_MISMATCH",
        f"quote_acceptance.{field}",
    )
    assert room.money(room.maker) == before


@pytest.mark.parametrize(
    ("side", "bid", "ask", "reason", "field"),
    [
        (0, 0, 0, "QUOTE_PRICES_INVALID", "bid_price_ticks"),
        (0, 100, 100, "QUOTE_PRICES_INVALID", "bid_price_ticks"),
        (BUY, 99, 101, "QUOTE_PRICES_INVALID", "bid_price_ticks"),
        (SELL, 99, 101, "QUOTE_PRICES_INVALID", "ask_price_ticks"),
        (0, 99, 1_001, "PRICE_OUT_OF_RANGE", "ask_price_ticks"),
        (0, -1, 101, "PRICE_OUT_OF_RANGE", "bid_price_ticks"),
    ],
)
def test_a_quote_has_prices_of_the_market_for_what_is_asked(
    room: Room, side: int, bid: int, ask: int, reason: str, field: str
) -> None:
    assert refused(room.quote(room.ask(side), bid, ask)) == (reason, f"quote.{field}")
    assert room.money(room.maker) == UNTOUCHED


def test_times_are_ahead_and_not_too_far(room: Room) -> None:
    for seconds, reason in ((0, "FIELD_INVALID"), (301, "EXPIRY_TOO_FAR")):
        outcome = room.world.do(room.request(seconds=seconds))
        assert refused(outcome) == (reason, "quote_request.close_time")
        request = room.ask()
        outcome = room.quote(request, seconds=seconds)
        assert refused(outcome) == (reason, "quote.expire_time")


def test_there_is_an_end_to_requests_and_quotes(room: Room) -> None:
    requests = [room.ask() for _ in range(OPEN_REQUESTS_PER_ACCOUNT_MAX)]
    assert refused(room.world.do(room.request())) == ("TOO_MANY_QUOTE_REQUESTS", "")
    for n in range(20):
        assert room.quote(requests[0], client_id=n + 1).reason == Reason.NONE
    assert refused(room.quote(requests[0])) == ("TOO_MANY_QUOTES", "")
    # What ended counts on: nobody fills a request with what it takes back.
    room.world.do(WithdrawQuotes(*room.head(room.maker), 0))
    assert refused(room.quote(requests[0])) == ("TOO_MANY_QUOTES", "")
    for n in range(OPEN_QUOTES_PER_ACCOUNT_MAX):
        assert room.quote(requests[1 + n // 20]).reason == Reason.NONE
    assert refused(room.quote(requests[9])) == ("TOO_MANY_QUOTES", "")


def test_a_client_quote_id_is_unique_among_the_open(room: Room) -> None:
    request = room.ask()
    quote = room.quote(request, client_id=7).key
    outcome = room.quote(request, client_id=7)
    assert refused(outcome) == ("CLIENT_QUOTE_ID_IN_USE", "quote.client_quote_id")
    room.world.do(WithdrawQuotes(*room.head(room.maker), quote))
    assert room.quote(request, client_id=7).reason == Reason.NONE


def test_a_market_that_is_not_open_does_nothing_but_end_them(room: Room) -> None:
    request = room.ask()
    quote = room.quote(request).key
    room.world.do(SetMarketStatus(OPERATOR, 0, 3))
    assert refused(room.world.do(room.request()))[0] == "MARKET_NOT_OPEN"
    assert refused(room.quote(request))[0] == "MARKET_NOT_OPEN"
    assert refused(room.accept(quote))[0] == "MARKET_NOT_OPEN"
    assert ends(room.world.do(WithdrawQuotes(*room.head(room.maker), 0))) == [(quote, "WITHDRAWN")]
    assert ends(room.tick(30)) == [(request, "TIME_PASSED")]
    outcome = room.world.do(room.request(market=3))
    assert refused(outcome) == ("MARKET_IS_EXTERNAL", "quote_request.market_id")


def test_a_snapshot_has_open_requests_and_quotes(room: Room) -> None:
    request = room.ask(makers=pack(room.maker.account_key, room.other.account_key))
    quote = room.quote(request, client_id=3).key
    room.quote(request, by=room.other)
    state = encode_state(room.world.exchange)
    again = decode_state(state)
    assert encode_state(again) == state
    room.world.exchange = again
    assert room.accept(quote).reason == Reason.NONE
    assert room.money(room.other) == UNTOUCHED


def test_a_state_in_which_a_quote_holds_nothing_is_refused(room: Room) -> None:
    room.quote(room.ask())
    exchange = room.world.exchange
    cell = exchange.ledger.cell(room.maker.account_key, exchange.ledger.assets_by_id["AAA"])
    cell.release(1)
    with pytest.raises(InvariantError, match="holds less than its quotes"):
        decode_state(encode_state(exchange))


def test_a_quote_that_does_not_hold_its_worst_case_stops_the_shard(room: Room) -> None:
    quote = room.quote(room.ask()).key
    room.world.exchange.quotes.quotes[quote].held_base_atoms -= 1
    with pytest.raises(InvariantError, match="does not hold its worst case"):
        room.accept(quote)


def test_commands_are_read_as_they_were_written(room: Room) -> None:
    head = room.head(room.maker)
    for command in (
        room.request(BUY, makers=pack(1, 2)),
        GiveQuote(*head, 4096, 1, 2, 3, 4),
        WithdrawQuotes(*head, 5),
        AcceptQuote(*head, 6, SELL, 7),
        EndQuoteSession(8, pack(9)),
        WithdrawRequest(10, 11),
    ):
        assert decode_command(encode_command(command)) == command
