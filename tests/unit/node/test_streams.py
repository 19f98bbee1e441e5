"""A reader that is cut is told where it was, and not an item further."""

from __future__ import annotations

import pytest

from dexnode.errors import error_info
from dexnode.services.streams import SharedMessages, follow
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

    async def send(_after: int, items: list[int]) -> None:
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


async def test_readers_at_one_place_get_messages_made_once() -> None:
    feed = feed_of(50)
    made: list[list[int]] = []

    def make(items: list[int]) -> list[str]:
        made.append(items)
        return [str(item) for item in items]

    shared: SharedMessages[int, str] = SharedMessages()

    async def read(after: int, limit: int = 20) -> list[str]:
        got: list[str] = []

        async def send(after: int, items: list[int]) -> None:
            got.extend(shared.of(feed, after, items, make))
            if after + len(items) == feed.last_sequence:
                raise SendStalled

        with pytest.raises(RpcError):
            await follow(feed, after, limit, send)
        return got

    for _ in range(3):
        assert await read(30) == [str(number) for number in range(31, 51)], "a reader got another's"
    assert made == [list(range(31, 51))], "each reader's are made anew"
    for after in (25, 30, 10):
        expected = [str(number) for number in range(after + 1, 51)]
        assert await read(after, 5) == expected, "a reader got another's"
