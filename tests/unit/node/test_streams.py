"""A reader that is cut is told where it was, and not an item further."""

from __future__ import annotations

import pytest

from dexnode.errors import error_info
from dexnode.services.streams import follow
from dexrpc import RpcError, SendStalled
from dexruntime.feed import Feed


def feed_of(items: int, capacity: int = 100) -> Feed[int]:
    feed: Feed[int] = Feed(capacity)
    for number in range(1, items + 1):
        feed.append(number)
    return feed


async def cut(feed: Feed[int], stalls_at: int) -> tuple[dict[str, str], list[int]]:
    """What a reader is told that stalls in its n-th batch, and what it was sent before."""
    sent: list[int] = []
    batches = 0

    async def send(items: list[int]) -> None:
        nonlocal batches
        batches += 1
        if batches == stalls_at:
            raise SendStalled
        sent.extend(items)
        if batches == 2 and stalls_at > 99:
            for number in range(200):
                feed.append(number)

    with pytest.raises(RpcError) as raised:
        await follow(feed, 0, 10, send)
    info = error_info(raised.value)
    assert info is not None
    assert info.reason == "SLOW_CONSUMER"
    return dict(info.metadata), sent


async def test_a_stalled_reader_resumes_after_what_it_was_sent_in_full() -> None:
    feed = feed_of(50)
    told, sent = await cut(feed, stalls_at=3)
    assert sent == list(range(1, 21))
    assert told["last_sequence"] == "20", "items that were not sent are skipped"
    assert feed.readers == 0


async def test_a_reader_out_of_the_window_is_told_the_same() -> None:
    feed = feed_of(50)
    told, sent = await cut(feed, stalls_at=100)
    assert told == {"last_sequence": str(sent[-1]), "oldest_sequence": "151"}
    assert feed.readers == 0
