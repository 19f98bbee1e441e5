"""Following a feed: what every streaming method shares."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

from dex.errors.v1 import errors_pb2
from dexnode.errors import refuse
from dexrpc import RpcError
from dexruntime.feed import Feed, SequenceGone

Item = TypeVar("Item")


class follow(AsyncIterator[list[Item]]):  # noqa: N801 - used like a function: async for ... in follow(...)
    """Batches of a feed's items after a sequence, for ever.

    Iteration raises RpcError: OUT_OF_RANGE when the feed cannot resume there,
    RESOURCE_EXHAUSTED with the last sequence read when the reader was too slow.
    """

    def __init__(self, feed: Feed[Item], after_sequence: int, limit: int) -> None:
        try:
            feed.check_resumable(after_sequence)
        except SequenceGone as error:
            raise gone(error) from None
        self._feed = feed
        self._after = after_sequence
        self._limit = limit
        feed.readers += 1

    def __del__(self) -> None:
        self._feed.readers -= 1

    async def __anext__(self) -> list[Item]:
        try:
            items = await self._feed.read_after(self._after, self._limit)
        except SequenceGone as error:
            raise refuse(
                errors_pb2.ERROR_REASON_SLOW_CONSUMER,
                metadata={
                    "last_sequence": str(self._after),
                    "oldest_sequence": str(error.oldest_sequence),
                },
            ) from None
        self._after += len(items)
        return items


def gone(error: SequenceGone) -> RpcError:
    """The refusal of a resume that the feed cannot serve."""
    return refuse(
        errors_pb2.ERROR_REASON_SEQUENCE_GONE,
        field="after_sequence",
        metadata={
            "oldest_sequence": str(error.oldest_sequence),
            "last_sequence": str(error.last_sequence),
        },
    )
