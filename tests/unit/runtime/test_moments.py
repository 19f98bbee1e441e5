"""Commands of one batch are one change of book and K-lines, live and in a replay."""

from __future__ import annotations

from pathlib import Path

from dexkline import Interval
from dexruntime.recovery import recover
from dexruntime.storage import PosixStorage
from dexruntime.views import MarketView
from tests.unit.runtime.shards import (
    IDENTITY,
    GatedStorage,
    crossing,
    do,
    open_market,
    running,
    until,
)


def feeds(view: MarketView) -> tuple[int, int, list[int]]:
    klines = [feed.last_sequence for feed in view.kline_feeds.values()]
    return view.book_feed.last_sequence, view.trade_feed.last_sequence, klines


async def test_a_batch_is_one_change_and_a_replay_groups_alike(tmp_path: Path) -> None:
    storage = GatedStorage(PosixStorage(tmp_path))
    async with running(storage) as shard:
        traders = await open_market(shard)
        for command in crossing(traders, 1):
            await do(shard, command)
        view = shard.views.markets[0]
        book, trades, klines = feeds(view)
        # While the first syncs, the others wait and become one batch, at one time.
        storage.gate.shut()
        first, *_ = commands = [c for nonce in (2, 3, 4) for c in crossing(traders, nonce)]
        promises = [shard.sequencer.submit(first)]
        await until(lambda: storage.gate.waiting == 1)
        promises += [shard.sequencer.submit(command) for command in commands[1:]]
        await until(lambda: shard.sequencer.queue_depth == 0)
        storage.gate.open()
        outcomes = [await promise.wait() for promise in promises]
        times = [outcome.time_ns for outcome in outcomes]
        assert times[0] < times[1]
        assert len(set(times[1:])) == 1
        # The first alone, then five together with three trades.
        assert feeds(view) == (book + 2, trades + 3, [sequence + 1 for sequence in klines])
        last = view.klines.last(Interval.SECOND_1)
        assert last is not None
        assert last.sequence == outcomes[-1].sequence
        assert last.trade_count == 4
        live = feeds(view), shard.views.checkpoint()
    recovered = recover(PosixStorage(tmp_path), IDENTITY)
    assert (feeds(recovered.views.markets[0]), recovered.views.checkpoint()) == live
