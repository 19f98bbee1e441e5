"""Clock ticks: windows of quiet markets close on time, once, and nothing else ticks."""

from __future__ import annotations

import random
from pathlib import Path

import trio
import trio.testing
from trio.testing import MockClock

from dexcore.commands import (
    EXTERNAL_TRADE,
    ClockTick,
    Command,
    CreateMarket,
    Deposit,
    RecordTrades,
    SetDeadMansSwitch,
    decode_command,
)
from dexcore.items import GTD, TYPE_STOP_LIMIT
from dexcore.limits import STOPS_PER_COMMAND_MAX
from dexcore.quote_commands import GiveQuote, RequestQuote
from dexcore.results import Outcome
from dexkline import Interval
from dexruntime.journal import JournalFull, read_journal
from dexruntime.shard import Shard
from dexruntime.storage import PosixStorage, Storage
from dexruntime.views import Views
from tests.sim.disk import SimulatedDisk
from tests.unit.core.exchanges import (
    ASSETS,
    BUY,
    MARKETS,
    OPERATOR,
    SECOND_NS,
    SELL,
    START_NS,
    Trader,
    World,
    orders,
    place,
    public_key,
    register,
    with_terms,
)
from tests.unit.runtime.shards import (
    crossing,
    do,
    fingerprint,
    open_market,
    running,
    trio_clock_ns,
    until,
)

# START_NS lies 20 s into its minute; a day later all five intervals have ended.
DAY_S = 86_400


def ticks(storage: Storage) -> list[int]:
    """Times of all journaled ticks, in nanoseconds after the start."""
    return [
        record.time_ns - START_NS
        for record in read_journal(storage)
        if isinstance(decode_command(record.command), ClockTick)
    ]


def closed(shard: Shard, market: int = 0) -> list[str]:
    """Intervals whose newest window is closed."""
    book = shard.views.markets[market].klines
    return [
        interval.label
        for interval in Interval
        if any(row.closed for row in book.rows(interval, 0, 2**63 - 1, 1_000))
    ]


async def settle(shard: Shard) -> None:
    """Let the sequencer do what is due, to the end of its sync."""
    await trio.testing.wait_all_tasks_blocked(0.005)
    await until(lambda: shard.sequencer.durable_sequence == shard.exchange.sequence)
    await trio.testing.wait_all_tasks_blocked(0.005)


async def test_windows_of_a_quiet_market_close_on_time(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(PosixStorage(tmp_path), clock_ns=trio_clock_ns) as shard:
        traders = await open_market(shard)
        await settle(shard)
        for command in crossing(traders, 1):
            await do(shard, command)
        steps = [(0.999_999, []), (0.000_001, ["1s"]), (38.5, ["1s"]), (0.5, ["1s", "1m"])]
        for seconds, expected in steps:
            mock_clock.jump(seconds)
            await settle(shard)
            assert closed(shard) == expected, seconds
        mock_clock.jump(DAY_S)
        await settle(shard)
        assert closed(shard) == ["1s", "1m", "5m", "1h", "1d"]
        assert shard.views.due_ns() is None
        mock_clock.jump(DAY_S)
        await settle(shard)
        live = fingerprint(shard)
    # One tick for each time something was due, and none for the quiet day after it.
    assert ticks(PosixStorage(tmp_path)) == [SECOND_NS, 40 * SECOND_NS, (DAY_S + 40) * SECOND_NS]
    async with running(PosixStorage(tmp_path), clock_ns=trio_clock_ns) as shard:
        assert fingerprint(shard) == live


async def test_orders_end_and_switches_cancel_on_time(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(PosixStorage(tmp_path), clock_ns=trio_clock_ns) as shard:
        traders = await open_market(shard)
        await settle(shard)
        trader = traders[0]
        end_ns = START_NS + 5 * SECOND_NS
        item = with_terms(place(BUY, 90, 5, tif=GTD), expire_time_ns=end_ns)
        await do(shard, orders(trader, 1, [item, place(BUY, 91, 5)]))
        head = (trader.account_key, 2, START_NS + SECOND_NS, bytes(16), trader.public_key)
        await do(shard, SetDeadMansSwitch(*head, 8 * SECOND_NS))
        open_orders = shard.exchange.accounts.by_key[trader.account_key].open_orders
        for seconds, left in ((4.999_999, 2), (0.000_001, 1), (2.9, 1), (0.2, 0), (DAY_S, 0)):
            mock_clock.jump(seconds)
            await settle(shard)
            assert len(open_orders) == left, seconds
        live = fingerprint(shard)
    times = ticks(PosixStorage(tmp_path))
    assert len(times) == 2
    assert times[0] == 5 * SECOND_NS
    async with running(PosixStorage(tmp_path), clock_ns=trio_clock_ns) as shard:
        assert fingerprint(shard) == live


async def test_a_recorded_market_closes_by_its_watermark(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(PosixStorage(tmp_path), clock_ns=trio_clock_ns) as shard:
        await open_market(shard, 0)
        mock_clock.jump(600)
        trade = EXTERNAL_TRADE.pack(1, START_NS + SECOND_NS, 100, 5, 1)
        await do(shard, RecordTrades(OPERATOR, 3, START_NS, trade))
        mock_clock.jump(DAY_S)
        await settle(shard)
        assert closed(shard, 3) == []
        await do(shard, RecordTrades(OPERATOR, 3, START_NS + 2 * SECOND_NS, b""))
        await settle(shard)
        assert closed(shard, 3) == ["1s"]
        await do(shard, RecordTrades(OPERATOR, 3, START_NS + 301 * SECOND_NS, b""))
        await settle(shard)
        assert closed(shard, 3) == ["1s", "1m", "5m"]
    assert len(ticks(PosixStorage(tmp_path))) == 2


async def test_quotes_end_by_a_tick_of_their_own(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(PosixStorage(tmp_path), clock_ns=trio_clock_ns) as shard:
        taker, maker = await open_market(shard)
        ends_ns = START_NS + 5 * SECOND_NS, START_NS + 3 * SECOND_NS
        asked = RequestQuote(*_head(taker), 0, 0, 5, ends_ns[0], b"")
        request_key = (await do(shard, asked)).key
        quote = GiveQuote(*_head(maker), request_key, 99, 101, ends_ns[1], 0)
        await do(shard, quote)
        quotes = shard.exchange.quotes
        for seconds, left in (
            (2.999_999, (1, 1)),
            (0.000_001, (1, 0)),
            (1.9, (1, 0)),
            (0.1, (0, 0)),
        ):
            mock_clock.jump(seconds)
            await settle(shard)
            assert (len(quotes.requests), len(quotes.quotes)) == left, seconds
        live = fingerprint(shard)
    assert ticks(PosixStorage(tmp_path)) == [3 * SECOND_NS, 5 * SECOND_NS]
    async with running(PosixStorage(tmp_path), clock_ns=trio_clock_ns) as shard:
        assert fingerprint(shard) == live


def _head(trader: Trader) -> tuple[int, int, int, bytes, bytes]:
    expire_ns = START_NS + 60 * SECOND_NS
    return trader.account_key, 1_000, expire_ns, bytes(16), trader.public_key


async def test_a_tick_that_finds_the_disk_full_waits_and_comes_later(
    mock_clock: MockClock,
) -> None:
    segment_bytes = 4096
    disk = SimulatedDisk(random.Random(1), capacity_bytes=1 << 20)
    async with running(disk, clock_ns=trio_clock_ns, segment_bytes=segment_bytes) as shard:
        traders = await open_market(shard)
        for command in crossing(traders, 1):
            await do(shard, command)
        await settle(shard)
        # Room for nothing: not for the spare segment either once the present one is full.
        disk.capacity_bytes = 0
        nonce = 1
        while True:
            nonce += 1
            promise = shard.sequencer.submit(crossing(traders, nonce)[0])
            await promise.wait_done()
            try:
                promise.result()
            except JournalFull:
                break
        sequence = shard.exchange.sequence
        before = len(disk.calls)
        mock_clock.jump(1.5)
        # A spinning sequencer would never let the other tasks be all that there is.
        for _ in range(300):
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked(0.005)
        assert shard.exchange.sequence == sequence
        assert len(disk.calls) - before < 10
        # The journal's thread has looked for room in vain. The next tick asks it again, and the one
        # after that is taken.
        await until(lambda: not shard._journal._spare_asked)
        disk.capacity_bytes = 1 << 20
        mock_clock.jump(1.5)
        await settle(shard)
        await until(lambda: bool(shard._journal._room.spare_bytes))
        mock_clock.jump(1.5)
        await settle(shard)
        assert closed(shard) == ["1s"]


async def test_stops_that_a_command_leaves_run_by_ticks_at_once(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with running(PosixStorage(tmp_path), clock_ns=trio_clock_ns) as shard:
        seller, buyer = await open_market(shard)
        for command in crossing([seller, buyer], 1):
            await do(shard, command)
        item = place(SELL, 95, 1, order_type=TYPE_STOP_LIMIT)
        stop = with_terms(item, trigger_price_ticks=99)
        count = 2 * STOPS_PER_COMMAND_MAX + 1
        await do(shard, orders(seller, 2, [stop] * count))
        await do(shard, orders(buyer, 2, [place(BUY, 99, 1), place(BUY, 95, count)]))
        mock_clock.jump(0.1)
        await settle(shard)
        await do(shard, orders(seller, 3, [place(SELL, 99, 1)]))
        await settle(shard)
        assert not shard.exchange.accounts.by_key[seller.account_key].open_orders
        live = fingerprint(shard)
    assert ticks(PosixStorage(tmp_path))[-2:] == [SECOND_NS // 10 + 1, SECOND_NS // 10 + 2]
    async with running(PosixStorage(tmp_path), clock_ns=trio_clock_ns) as shard:
        assert fingerprint(shard) == live


def test_what_goes_on_before_a_retry_has_a_time_of_its_own() -> None:
    world = World()
    views = Views(world.exchange)

    def do_at(time_ns: int, command: Command) -> Outcome:
        world.time_ns = time_ns
        outcome = world.do(command)
        views.consume(world.exchange.sequence, outcome)
        return outcome

    for market in MARKETS:
        do_at(START_NS, CreateMarket(OPERATOR, market))
    trader = Trader(do_at(START_NS, register(1)).key, public_key(1))
    for asset_id in ASSETS:
        do_at(START_NS, Deposit(OPERATOR, trader.account_key, asset_id, 10**8, asset_id))
    first = orders(trader, 1, [place(SELL, 100, 1), place(BUY, 100, 1)])
    do_at(START_NS, first)
    item = place(SELL, 95, 1, order_type=TYPE_STOP_LIMIT)
    stop = with_terms(item, trigger_price_ticks=99)
    do_at(START_NS, orders(trader, 2, [stop] * (STOPS_PER_COMMAND_MAX + 1)))
    do_at(START_NS, orders(trader, 3, [place(BUY, 99, 1), place(BUY, 95, 200)]))
    do_at(START_NS, orders(trader, 4, [place(SELL, 99, 1)]))
    again = do_at(START_NS + SECOND_NS, first)
    assert (again.repeated, again.time_ns) == (True, START_NS)
    views.settle()
    last = views.markets[0].trade_feed.held()[-1]
    assert last.time_ns == START_NS + SECOND_NS, "its trade is told as of the first time"
