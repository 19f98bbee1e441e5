"""Nothing is seen before it is durable: no answer, no refusal, no feed item, no read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
import trio.testing

from dexcore.commands import CreateMarket
from dexkline import Interval
from dexruntime.storage import PosixStorage
from tests.unit.core.exchanges import MARKETS, OPERATOR, cancel, orders, spec
from tests.unit.runtime.shards import GatedStorage, crossing, do, open_market, running, until


async def test_nothing_is_visible_before_it_is_durable(tmp_path: Path) -> None:
    storage = GatedStorage(PosixStorage(tmp_path))
    async with running(storage) as shard, trio.open_nursery() as nursery:
        traders = await open_market(shard)
        earlier = crossing(traders, 1)
        for command in earlier:
            await do(shard, command)
        view, sequencer = shard.views.markets[0], shard.sequencer
        before = shard.views.checkpoint()
        durable = sequencer.durable_sequence
        seen: dict[str, object] = {}

        async def watch(name: str, what: Callable[[], Awaitable[object]]) -> None:
            seen[name] = await what()

        def start(name: str, what: Callable[[], Awaitable[object]]) -> None:
            nursery.start_soon(watch, name, what)

        storage.gate.shut()
        trade_feed, book_feed = view.trade_feed, view.book_feed
        kline_feed = view.kline_feeds[Interval.SECOND_1]
        start("trade", lambda: trade_feed.read_after(trade_feed.last_sequence, 10))
        start("book", lambda: book_feed.read_after(book_feed.last_sequence, 10))
        start("kline", lambda: kline_feed.read_after(kline_feed.last_sequence, 10))
        sell, buy = crossing(traders, 2)
        refused = orders(traders[0], 3, [cancel(order_key=1)])
        start("answer", sequencer.submit(sell).wait)
        start("fill", sequencer.submit(buy).wait)
        start("refused item", sequencer.submit(refused).wait)
        start("refusal", sequencer.submit(CreateMarket(OPERATOR, MARKETS[0]._replace(kind=2))).wait)
        start("repeated", sequencer.submit(earlier[1]).wait)
        start("market", sequencer.submit(CreateMarket(OPERATOR, spec("CCC", "QQQ"))).wait)
        await until(lambda: shard.exchange.sequence == durable + 6 and storage.gate.waiting == 1)
        start("read of the live state", sequencer.settled)
        await trio.testing.wait_all_tasks_blocked(0.01)

        assert shard.exchange.markets[0].trade_sequence == 2
        assert seen == {}
        assert shard.views.checkpoint() == before
        assert sequencer.durable_sequence == durable

        storage.gate.open()
        await until(lambda: len(seen) == 10)
        assert shard.views.applied_sequence == durable + 6
        assert trade_feed.last_sequence == 2


async def test_a_stop_makes_durable_what_was_taken(tmp_path: Path) -> None:
    async with running(PosixStorage(tmp_path)) as shard:
        traders = await open_market(shard)
        for command in crossing(traders, 1):
            shard.sequencer.submit(command)
        applied = shard.exchange
        await until(lambda: shard.sequencer.queue_depth == 0)
    async with running(PosixStorage(tmp_path)) as again:
        assert again.exchange.event_hash == applied.event_hash
        assert again.exchange.markets[0].trade_sequence == 1
