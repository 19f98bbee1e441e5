"""Following a feed: what every streaming method shares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, final

from dex.errors.v1 import errors_pb2
from dexnode.errors import refuse
from dexrpc import RpcError, SendStalled
from dexruntime.feed import Feed, SequenceGone

Item = TypeVar("Item")
Message = TypeVar("Message")


@final
class SharedMessages(Generic[Item, Message]):
    """The last messages of each feed: readers that keep up are woken together and get the same."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[Feed[Item], tuple[int, int, list[Message]]] = {}

    def of(
        self,
        feed: Feed[Item],
        after_sequence: int,
        items: list[Item],
        make: Callable[[list[Item]], list[Message]],
    ) -> list[Message]:
        """The messages of the items that follow the sequence; nobody may change them."""
        last = self._last.get(feed)
        if last is None or last[:2] != (after_sequence, len(items)):
            last = self._last[feed] = after_sequence, len(items), make(items)
        return last[2]


async def follow(
    feed: Feed[Item],
    after_sequence: int,
    limit: int,
    send: Callable[[int, list[Item]], Awaitable[None]],
) -> None:
    """Send a feed's items after a sequence, up to ``limit`` at once, until call or feed ends.

    ``send`` is told the sequence before its items.

    Raises:
        RpcError: OUT_OF_RANGE when the feed cannot resume there; SLOW_CONSUMER, with the last
            sequence that was sent in full, when the reader fell out of the feed's window or took
            nothing for too long.
    """
    try:
        feed.check_resumable(after_sequence)
    except SequenceGone as error:
        raise gone(error) from None
    after = after_sequence
    feed.readers += 1
    try:
        while items := await feed.read_after(after, limit):
            await send(after, items)
            after += len(items)
    except (SequenceGone, SendStalled):
        raise refuse(
            errors_pb2.ERROR_REASON_SLOW_CONSUMER,
            metadata={
                "last_sequence": str(after),
                "oldest_sequence": str(feed.oldest_sequence),
            },
        ) from None
    finally:
        feed.readers -= 1


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
