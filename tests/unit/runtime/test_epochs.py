"""After a restore nothing that was numbered in the lost part is ever numbered so again."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dexcore.commands import BeginEpoch, CreateMarket
from dexcore.reasons import Reason
from dexnode.ids import IdFormat
from dexnode.services.matching import past_trades
from dexruntime.feed import Feed, SequenceGone
from dexruntime.recovery import recover
from dexruntime.shard import Shard
from dexruntime.snapshotter import take_snapshot
from tests.sim.disk import SimulatedDisk
from tests.unit.core.exchanges import MARKETS, OPERATOR, Trader
from tests.unit.runtime.shards import IDENTITY, crossing, do, fingerprint, open_market, running

FIRST = 1 << 36
BEGIN = BeginEpoch(7, 8, FIRST)


async def trades(shard: Shard, traders: list[Trader], nonces: range) -> None:
    for nonce in nonces:
        for command in crossing(traders, nonce):
            await do(shard, command)


async def test_feeds_and_trades_jump_and_old_cursors_are_told() -> None:
    disk = SimulatedDisk(random.Random(0))
    async with running(disk) as shard:
        traders = await open_market(shard)
        await trades(shard, traders, range(1, 4))
        view = shard.views.markets[0]
        assert [trade.trade_sequence for trade in past_trades(view, 1, 10)] == [1, 2, 3]
        before = view.book_feed.last_sequence
        await do(shard, BEGIN)
        # Not one feed can be resumed where the old epoch was, nor ahead of it.
        feeds: list[Feed[Any]] = [view.book_feed, view.trade_feed, *view.kline_feeds.values()]
        for feed in feeds:
            for after in (1, before, before + 1, FIRST - 1):
                with pytest.raises(SequenceGone):
                    feed.check_resumable(after)
            feed.check_resumable(FIRST)
        await trades(shard, traders, range(11, 14))
        # A page ends before the gap, and the next one begins behind it.
        assert [trade.trade_sequence for trade in past_trades(view, 1, 10)] == [1, 2, 3]
        assert [trade.trade_sequence for trade in past_trades(view, 4, 2)] == [FIRST + 1, FIRST + 2]
        assert past_trades(view, FIRST + 4, 2) == []
        assert view.trade_feed.last_sequence == FIRST + 3
        await do(shard, CreateMarket(OPERATOR, MARKETS[0]._replace(market_id="NEW-QQQ")))
        assert shard.views.markets[-1].trade_feed.last_sequence == FIRST
        assert shard.exchange.markets[-1].trade_sequence == FIRST
        live = fingerprint(shard)
    assert fingerprint(recover(disk, IDENTITY)) == live
    take_snapshot(disk, IDENTITY)
    again = recover(disk, IDENTITY)
    assert again.replayed_count == 0
    assert fingerprint(again) == live
    assert again.exchange.epochs[0][1:] == (7, 0)
    assert again.exchange.epochs[1][1:] == (8, FIRST)


async def test_an_epoch_neither_comes_again_nor_reuses_numbers() -> None:
    disk = SimulatedDisk(random.Random(0))
    async with running(disk) as shard:
        traders = await open_market(shard)
        await trades(shard, traders, range(1, 3))
        for command in (
            BeginEpoch(7, 7, FIRST),
            BeginEpoch(7, 6, FIRST),
            BeginEpoch(7, 8, 1),
        ):
            assert (await do(shard, command)).reason == Reason.FIELD_INVALID, command
        assert (await do(shard, BEGIN)).reason == 0
        for command in (BEGIN, BeginEpoch(8, 9, FIRST - 1)):
            assert (await do(shard, command)).reason == Reason.FIELD_INVALID, command
        assert (await do(shard, BeginEpoch(8, 9, 2 * FIRST))).reason == 0


def test_an_id_keeps_its_epoch_and_one_of_the_lost_part_names_nothing() -> None:
    ids = IdFormat(3, 9, [(0, 7, 0), (100, 8, FIRST), (200, 9, 2 * FIRST)])
    for sequence, epoch in ((0, 7), (99, 7), (100, 8), (199, 8), (200, 9), (10**9, 9)):
        key = sequence << 12 | 5
        text = f"03{epoch:04x}{key:016x}"
        assert ids.format(key) == text
        assert ids.key_of(text) == key
        for other in {6, 7, 8, 9, 10} - {epoch}:
            assert ids.key_of(f"03{other:04x}{key:016x}") is None
    assert ids.prefixes == {0: "030007", 100 << 12: "030008", 200 << 12: "030009"}
