"""The one writer of a shard: order, journal, apply, publish.

Theory of operation. Commands wait in a bounded queue. The sequencer takes what
waits, gives each its sequence and the batch its time, hands the records to the
journal's thread and, while that syncs, applies the commands. Outcomes queue up
behind their batch; when the journal says a sequence is durable, and not before,
views take them in, readers wake and senders get their answers. Batches grow with
the load: whatever arrived during one sync shares the next.

Time is an input: ``time_ns = max(last + 1, clock)``, one for a whole batch, so that
the journal shows which commands were one batch. When a window, the end of an order or a
quote, or a switch is due, a ClockTick is journaled like any other command.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, final

import trio

from dexcore.commands import (
    ClockTick,
    Command,
    OrderCommand,
    encode_command,
)
from dexcore.exchange import Exchange
from dexcore.items import ITEM
from dexcore.results import Outcome
from dexcore.session_commands import SessionOrders
from dexruntime.clock import ClockNs
from dexruntime.drain_rate import DrainRate
from dexruntime.journal import JournalFull, JournalWriter
from dexruntime.promise import Promise
from dexruntime.views import Views

QUEUE_COMMANDS_MAX: Final = 4_096
# Order items in those commands: a second or two of work. One command always fits an empty queue.
QUEUE_ITEMS_MAX: Final = 65_536
# A batch ends after this many order items, so that one batch holds the loop for
# about ten milliseconds at most.
BATCH_ITEMS: Final = 512
# A journal block holds 8 MiB; the largest command (hashes of 65,536 orders of a session) and the
# largest envelope together stay under 3 MiB.
BATCH_BYTES: Final = 4 << 20
# How long the sequencer sleeps when nothing is due; a command wakes it anyway.
IDLE_NS: Final = 3_600 * 10**9
# How long a clock tick waits after the journal had no room for anything.
FULL_PAUSE_NS: Final = 10**9
# Batches in front of the disk; more would only add latency.
BATCHES_IN_FLIGHT_MAX: Final = 4


class QueueFull(Exception):
    """The sequencer takes no more commands at the moment; nothing was changed."""


class DrainingError(Exception):
    """The node is stopping and takes no more commands."""


class DurablePoint(NamedTuple):
    """A record that ended a batch, on disk, and the exchange's event hash after it."""

    sequence: int
    time_ns: int
    event_hash: bytes


class Submission:
    """A command on its way, and the promise of its outcome."""

    __slots__ = ("command", "data", "envelope", "items", "promise")

    def __init__(self, command: Command, envelope: bytes) -> None:
        self.command = command
        if type(command) is OrderCommand:
            self.items = len(command.items) // ITEM.size
        elif type(command) is SessionOrders:
            self.items = len(command.orders.items) // ITEM.size
        else:
            self.items = 1
        # Encoded here, so that what cannot be journaled fails its sender and nobody else.
        self.data = encode_command(command)
        self.envelope = envelope
        self.promise: Promise[Outcome] = Promise()


OutcomeObserver = Callable[[Command, Outcome], None]


@final
class Sequencer:
    """Single writer of one shard; everything runs on the Trio thread."""

    def __init__(
        self,
        exchange: Exchange,
        views: Views,
        journal: JournalWriter,
        clock_ns: ClockNs,
        observer: OutcomeObserver | None = None,
    ) -> None:
        self._exchange = exchange
        self._views = views
        self._journal = journal
        self._clock_ns = clock_ns
        self._observer = observer
        self._queue: deque[Submission] = deque()
        self._queue_items = 0
        self._drain_rate = DrainRate()
        self._work = trio.Event()
        self._room = trio.Event()
        # (sequence, submission or None for a tick, outcome), oldest first.
        self._undurable: deque[tuple[int, Submission | None, Outcome]] = deque()
        self._tick_sequence = 0
        self._tick_after_ns = 0
        self._durable = trio.Event()
        # The end of each batch that is not durable yet.
        self._in_flight: deque[DurablePoint] = deque()
        # Recovery read what is there from the disk.
        self.durable_point = DurablePoint(exchange.sequence, exchange.time_ns, exchange.event_hash)
        self._draining = False
        self.batch_commands_last = 0

    @property
    def queue_depth(self) -> int:
        """Commands that wait for the sequencer."""
        return len(self._queue)

    @property
    def queue_items(self) -> int:
        """Order items in the commands that wait."""
        return self._queue_items

    @property
    def is_full(self) -> bool:
        """Whether :meth:`submit` would refuse."""
        return len(self._queue) >= QUEUE_COMMANDS_MAX or self._queue_items >= QUEUE_ITEMS_MAX

    @property
    def is_half_full(self) -> bool:
        """Whether streams should hold their senders back."""
        return (
            len(self._queue) >= QUEUE_COMMANDS_MAX // 2 or self._queue_items >= QUEUE_ITEMS_MAX // 2
        )

    @property
    def retry_delay_ns(self) -> int:
        """How long what waits will take, as fast as it went lately."""
        return self._drain_rate.delay_ns(self._queue_items)

    @property
    def durable_sequence(self) -> int:
        """Everything up to here is on disk and visible."""
        return self._views.applied_sequence

    # --- for intake

    def submit(self, command: Command, envelope: bytes = b"") -> Promise[Outcome]:
        """Queue a command; the promise is kept once its outcome is durable.

        Raises:
            QueueFull: too many wait; nothing was changed.
            DrainingError: the node is stopping.
            CodecError: a value of the command does not fit its field.
        """
        if self._draining:
            raise DrainingError
        if self.is_full:
            raise QueueFull
        submission = Submission(command, envelope)
        self._queue.append(submission)
        self._queue_items += submission.items
        self._work.set()
        return submission.promise

    async def wait_room(self) -> None:
        """Wait until the queue has room: how a stream slows its sender down."""
        while self.is_half_full:
            await self._room.wait()

    async def settled(self) -> int:
        """Wait until what is applied now is durable; returns that sequence.

        A reader that looked at the live state calls this before it answers, so that
        nobody sees what a crash could take back.
        """
        sequence = self._exchange.sequence
        while self._views.applied_sequence < sequence:
            await self._durable.wait()
        return sequence

    async def drain(self) -> None:
        """Take no more commands and wait until every queued one is durable."""
        self._draining = True
        while self._queue or self._undurable:
            await self._durable.wait()

    # --- the actor

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._publish_loop)
            task_status.started()
            while True:
                await self._wait_for_work()
                try:
                    self._sequence_batch()
                except JournalFull as full:
                    self._refuse_queue(full)
                # Let connections read and write between two batches.
                await trio.lowlevel.checkpoint()
                while len(self._in_flight) >= BATCHES_IN_FLIGHT_MAX:
                    await self._durable.wait()

    async def _wait_for_work(self) -> None:
        """Return when a command waits or a tick is due."""
        while not self._queue:
            self._work = trio.Event()
            due_ns = self._tick_due_ns()
            ahead_ns = IDLE_NS if due_ns is None else due_ns - self._now_ns()
            if ahead_ns <= 0:
                return
            with trio.move_on_after(ahead_ns / 1e9):
                await self._work.wait()

    def _now_ns(self) -> int:
        return max(self._exchange.time_ns + 1, self._clock_ns())

    def _tick_due_ns(self) -> int | None:
        due_ns = self._exchange.next_due_ns
        # Views lag behind the last tick until it is durable; do not tick twice for it.
        if self._tick_sequence <= self._views.applied_sequence:
            views_ns = self._views.due_ns()
            if due_ns is None or (views_ns is not None and views_ns < due_ns):
                due_ns = views_ns
        return None if due_ns is None else max(due_ns, self._tick_after_ns)

    def _sequence_batch(self) -> None:
        """Journal and apply what waits.

        Raises:
            JournalFull: the disk has no room; nothing was applied.
        """
        now_ns = self._now_ns()
        sequence = first = self._exchange.sequence + 1
        batch: list[Submission | None] = []
        records: list[tuple[int, int, bytes, bytes]] = []
        due_ns = self._tick_due_ns()
        if due_ns is not None and due_ns <= now_ns:
            batch.append(None)
            records.append((sequence, now_ns, _TICK_BYTES, b""))
            sequence += 1
        items = size_bytes = taken = 0
        queue = self._queue
        while taken < len(queue) and items < BATCH_ITEMS and size_bytes < BATCH_BYTES:
            submission = queue[taken]
            records.append((sequence, now_ns, submission.data, submission.envelope))
            batch.append(submission)
            items += submission.items
            size_bytes += len(submission.data) + len(submission.envelope)
            sequence += 1
            taken += 1
        if not batch:
            return
        self._journal.append(records)
        for _ in range(taken):
            self._queue_items -= queue.popleft().items
        self._drain_rate.drained(items, now_ns, is_busy=bool(queue))
        self.batch_commands_last = len(batch)
        self._apply_batch(batch, first, now_ns)
        self._in_flight.append(DurablePoint(sequence - 1, now_ns, self._exchange.event_hash))
        self._tell_room()

    def _apply_batch(self, batch: list[Submission | None], first: int, now_ns: int) -> None:
        apply = self._exchange.apply
        undurable = self._undurable
        for sequence, entry in enumerate(batch, first):
            if entry is None:
                self._tick_sequence = sequence
                outcome = apply(sequence, now_ns, ClockTick())
            else:
                outcome = apply(sequence, now_ns, entry.command)
            undurable.append((sequence, entry, outcome))

    def _refuse_queue(self, full: JournalFull) -> None:
        """Give everything that waits back to its senders: the journal takes nothing."""
        while self._queue:
            self._queue.popleft().promise.fail(full)
        self._queue_items = 0
        self._tick_after_ns = self._now_ns() + FULL_PAUSE_NS
        self._tell_room()
        self._signal()

    def _tell_room(self) -> None:
        if not self.is_half_full and self._room.statistics().tasks_waiting:
            self._room.set()
            self._room = trio.Event()

    # --- publishing

    async def _publish_loop(self) -> None:
        while True:
            await self._journal.wait_durable(self._views.applied_sequence + 1)
            self._publish(self._journal.durable_sequence)

    def _publish(self, durable_sequence: int) -> None:
        """Make everything up to the durable sequence visible, in order."""
        undurable = self._undurable
        in_flight = self._in_flight
        while in_flight and in_flight[0].sequence <= durable_sequence:
            self.durable_point = in_flight.popleft()
        views = self._views
        observer = self._observer
        answered: list[tuple[Submission, Outcome]] = []
        while undurable and undurable[0][0] <= durable_sequence:
            sequence, submission, outcome = undurable.popleft()
            views.consume(sequence, outcome)
            if submission is not None:
                answered.append((submission, outcome))
        views.wake()
        for submission, outcome in answered:
            submission.promise.set(outcome)
            if observer is not None:
                observer(submission.command, outcome)
        self._signal()
        self._work.set()

    def _signal(self) -> None:
        if self._durable.statistics().tasks_waiting:
            self._durable.set()
            self._durable = trio.Event()


_TICK_BYTES: Final = encode_command(ClockTick())
