"""A feed: numbered items, a bounded window of them kept, any number of readers.

Readers hold a cursor, not a queue: an item is stored once however many read it,
and a reader that falls out of the window is told so (:class:`SequenceGone`)
instead of making the node hold more. Sequences start at 1 and have no gaps. The
window takes room as it fills, and is a ring once it is full.
"""

from __future__ import annotations

from typing import Generic, TypeVar, final

import trio

Item = TypeVar("Item")


class SequenceGone(Exception):
    """The feed does not hold the asked sequence any more, or not yet.

    ``oldest_sequence`` is the first one it holds, ``last_sequence`` the newest.
    """

    def __init__(self, asked_sequence: int, oldest_sequence: int, last_sequence: int) -> None:
        super().__init__(f"sequence {asked_sequence} is outside {oldest_sequence}..{last_sequence}")
        self.asked_sequence = asked_sequence
        self.oldest_sequence = oldest_sequence
        self.last_sequence = last_sequence


@final
class Feed(Generic[Item]):
    """One feed. Everything happens on the Trio thread."""

    __slots__ = (
        "_capacity",
        "_first_sequence",
        "_items",
        "_waiting",
        "_waiting_count",
        "is_closed",
        "last_sequence",
        "oldest_sequence",
        "readers",
    )

    def __init__(self, capacity: int, last_sequence: int = 0) -> None:
        if capacity < 1:
            raise ValueError("a feed keeps at least one item")
        self._capacity = capacity
        self._items: list[Item] = []
        # Of the item that first stood at the ring's beginning.
        self._first_sequence = last_sequence + 1
        self._waiting = trio.Event()
        # Counted here: asking the event costs more than all else a wake-up of nobody does.
        self._waiting_count = 0
        self.last_sequence = last_sequence
        self.oldest_sequence = last_sequence + 1
        # Nothing will follow; set by whoever appends, before the last `wake`.
        self.is_closed = False
        # Subscribers at the moment; kept by them, shown as a metric.
        self.readers = 0

    def jump(self, last_sequence: int) -> None:
        """Go on after another number and keep nothing from before it: the history is another."""
        self._items = []
        self.last_sequence = last_sequence
        self._first_sequence = self.oldest_sequence = last_sequence + 1

    def append(self, item: Item) -> None:
        """Add the item with the next sequence; :meth:`wake` tells the readers."""
        self.last_sequence += 1
        capacity = self._capacity
        if len(self._items) < capacity:
            self._items.append(item)
            return
        self._items[(self.last_sequence - self._first_sequence) % capacity] = item
        self.oldest_sequence += 1

    def wake(self) -> None:
        """Let readers see what was appended; once per durable batch, not per item."""
        if self._waiting_count:
            self._waiting.set()
            self._waiting = trio.Event()

    def check_resumable(self, after_sequence: int) -> None:
        """Check that a reader can go on after this sequence.

        Raises:
            SequenceGone: it is too old or lies ahead of the feed.
        """
        if not self.oldest_sequence - 1 <= after_sequence <= self.last_sequence:
            raise SequenceGone(after_sequence, self.oldest_sequence, self.last_sequence)

    async def read_after(self, after_sequence: int, limit: int) -> list[Item]:
        """Wait for items after the sequence and return up to ``limit`` of them.

        A closed feed that has no more answers with no items.

        Raises:
            SequenceGone: the reader was too slow.
        """
        while after_sequence >= self.last_sequence and not self.is_closed:
            self.check_resumable(after_sequence)
            await self.wait_wake()
        self.check_resumable(after_sequence)
        last = min(self.last_sequence, after_sequence + limit)
        return self._between(after_sequence + 1, last)

    async def wait_wake(self) -> None:
        """Wait until readers are woken next: for those to whom only the newest item matters."""
        self._waiting_count += 1
        try:
            await self._waiting.wait()
        finally:
            self._waiting_count -= 1

    def held(self) -> list[Item]:
        """What the window holds, oldest first."""
        return self._between(self.oldest_sequence, self.last_sequence)

    def newest(self) -> Item:
        """The last item. Raises IndexError: the window holds none."""
        return self._items[(self.last_sequence - self._first_sequence) % self._capacity]

    def _between(self, first: int, last: int) -> list[Item]:
        items, capacity, before = self._items, self._capacity, self._first_sequence
        return [items[(n - before) % capacity] for n in range(first, last + 1)]
