"""Feeds: numbered items in a window, cursors of readers, and what happens to the slow."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from dexruntime.feed import Feed, SequenceGone
from tests.unit.core.exchanges import seed_of


def filled(capacity: int, count: int) -> Feed[int]:
    """A feed that was given 1 to `count`."""
    feed: Feed[int] = Feed(capacity)
    for item in range(1, count + 1):
        feed.append(item)
    return feed


async def test_items_come_in_order_from_the_cursor_on() -> None:
    feed = filled(8, 5)
    assert await feed.read_after(0, 100) == [1, 2, 3, 4, 5]
    assert await feed.read_after(2, 2) == [3, 4]
    assert await feed.read_after(4, 1) == [5]


async def test_what_left_the_window_is_gone() -> None:
    feed = filled(8, 20)
    assert (feed.oldest_sequence, feed.last_sequence) == (13, 20)
    assert await feed.read_after(12, 100) == list(range(13, 21))
    with pytest.raises(SequenceGone) as gone:
        await feed.read_after(11, 100)
    assert (gone.value.asked_sequence, gone.value.oldest_sequence) == (11, 13)
    assert gone.value.last_sequence == 20


async def test_what_was_never_there_is_gone_too() -> None:
    feed = filled(8, 3)
    feed.check_resumable(3)
    with pytest.raises(SequenceGone):
        feed.check_resumable(4)
    with pytest.raises(SequenceGone):
        await feed.read_after(4, 1)
    empty: Feed[int] = Feed(4)
    empty.check_resumable(0)
    with pytest.raises(SequenceGone):
        empty.check_resumable(1)


async def test_a_restored_feed_goes_on_with_its_numbers() -> None:
    feed: Feed[int] = Feed(4, last_sequence=100)
    feed.check_resumable(100)
    with pytest.raises(SequenceGone):
        feed.check_resumable(99)
    feed.append(101)
    assert await feed.read_after(100, 10) == [101]


async def test_readers_sleep_until_woken() -> None:
    feed = filled(8, 1)
    got: list[list[int]] = []

    async def read(after: int) -> None:
        got.append(await feed.read_after(after, 10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, 1)
        nursery.start_soon(read, 1)
        await trio.testing.wait_all_tasks_blocked()
        feed.append(2)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [], "woken before the batch was complete"
        feed.append(3)
        feed.wake()
    assert got == [[2, 3], [2, 3]]


async def test_a_slow_reader_is_told_and_harms_nobody() -> None:
    feed = filled(4, 0)
    fast: list[int] = []

    async def read_all() -> None:
        while len(fast) < 40:
            fast.extend(await feed.read_after(len(fast), 100))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all)
        for batch in range(20):
            await trio.testing.wait_all_tasks_blocked()
            feed.append(2 * batch + 1)
            feed.append(2 * batch + 2)
            feed.wake()
    assert fast == list(range(1, 41))
    with pytest.raises(SequenceGone):
        await feed.read_after(0, 1)


async def test_random_appends_and_reads_against_a_list() -> None:
    seed = seed_of("tests/unit/runtime/test_feed.py -k random_appends")
    chance = random.Random(seed)
    feed: Feed[int] = Feed(16)
    log: list[int] = []
    for _ in range(2_000):
        if chance.random() < 0.5:
            log.append(chance.randrange(10**6))
            feed.append(log[-1])
            continue
        after, limit = chance.randint(max(0, len(log) - 20), len(log) + 1), chance.randint(1, 20)
        if not max(0, len(log) - 16) <= after <= len(log):
            with pytest.raises(SequenceGone):
                feed.check_resumable(after)
        elif after < len(log):
            assert await feed.read_after(after, limit) == log[after : after + limit]


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Feed(0)
