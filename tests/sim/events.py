"""One queue of events for everything that takes time, and blocking code as processes of it.

Theory of operation. Whatever happens in a simulation at some time is an event in one heap, ordered
by virtual time and, where times are equal, by the seed: a message that arrives, a disk that has
finished, a timer of a client, a power failure. One Trio task takes them out one after the other,
on a clock that jumps from event to event. The product's own tasks run on Trio as they always do;
the order in which Trio runs those that are ready comes from the seed too (ADR 0010).

Blocking code of the product - the journal's thread, recovery, the snapshot process - runs on
greenlets: it stops where it would wait for a disk or for work, and an event lets it go on. So no
thread is ever started, and nothing but the seed decides what happens next.

Times of events lie on a coarse grid, so that many are equal: two things at the same time happen
with the product's tasks between them or not, in either order.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import random
from collections.abc import Callable
from typing import Any, Final

import trio
import trio.testing
from greenlet import getcurrent, greenlet

GRID_NS: Final = 50_000
NEVER_S: Final = 1e9
MICROSECOND_NS: Final = 1_000
MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000

Action = Callable[[], object]
Sink = Callable[[str], object]


class Clock(trio.abc.Clock):
    """Virtual time in whole nanoseconds; ``Events.run`` alone moves it."""

    def __init__(self) -> None:
        self.now_ns = 0

    def start_clock(self) -> None:
        """It stands until it is moved."""

    def current_time(self) -> float:
        """Seconds since the start."""
        return self.now_ns / SECOND_NS

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Trio need not wait for what is due, and for all else it is woken."""
        return 0 if deadline <= self.current_time() else NEVER_S


class Events:
    """The queue, its clock, its dice and the log of what happened."""

    def __init__(self, seed: object, sink: Sink | None = None) -> None:
        self.chance = random.Random(f"{seed} events")
        self.clock = Clock()
        self.happened = 0
        self._sink = sink
        self._hash = hashlib.blake2b(digest_size=16)
        self._heap: list[tuple[int, float, int, str, Action]] = []
        self._serial = 0
        self._home = getcurrent()

    @property
    def now_ns(self) -> int:
        """Virtual time since the start."""
        return self.clock.now_ns

    @property
    def digest(self) -> str:
        """Of all lines of the log so far."""
        return self._hash.hexdigest()

    def after(self, delay_ns: int, what: str, action: Action) -> None:
        """Let something happen later; ``what`` goes into the log when it does."""
        due_ns = -(-(self.now_ns + delay_ns) // GRID_NS) * GRID_NS
        self._serial += 1
        entry = (due_ns, self.chance.random(), self._serial, what, action)
        heapq.heappush(self._heap, entry)

    def soon(self, most_ns: int, what: str, action: Action) -> None:
        """Let something happen within ``most_ns``, now and then much later."""
        factor = self.chance.choice((1, 1, 1, 1, 1, 1, 1, 8))
        self.after(self.chance.randint(0, most_ns) * factor, what, action)

    def log(self, text: str) -> None:
        """Write a line of the log: what happened, in the order of events."""
        line = f"{self.now_ns / SECOND_NS:13.6f}  {text}\n"
        self._hash.update(line.encode())
        if self._sink is not None:
            self._sink(line)

    async def sleep(self, delay_ns: int) -> None:
        """Let a task wait for its own event."""
        woken = trio.Event()
        self.after(delay_ns, "", woken.set)
        await woken.wait()

    async def run(self) -> None:
        """Let one event after the other happen, until cancelled."""
        heap = self._heap
        while True:
            if not heap or heap[0][0] > self.now_ns:
                await self._move_clock()
                continue
            _, _, _, what, action = heapq.heappop(heap)
            self.happened += 1
            if what:
                self.log(what)
            action()
            # At equal times the product's tasks go on between two events, or they do not.
            if self.chance.random() < 0.5:
                await trio.lowlevel.checkpoint()

    async def _move_clock(self) -> None:
        """Once nobody has anything left to do now, go to when the next thing happens."""
        await trio.testing.wait_all_tasks_blocked()
        timer_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
        times_ns = [self._heap[0][0]] if self._heap else []
        if timer_s < NEVER_S:
            # Past the timer by a rounding error, never before it.
            times_ns.append(math.ceil((self.clock.current_time() + timer_s) * SECOND_NS) + 1)
        self.clock.now_ns = max(self.now_ns, min(times_ns))

    def switch_home(self) -> None:
        """From a process back to where events happen."""
        self._home.switch()

    def make_greenlet(self, run: Action) -> greenlet:
        """A greenlet that comes back to where events happen."""
        return greenlet(run, parent=self._home)


class Process:
    """Blocking code on a greenlet. ``result`` waits for its end from a Trio task."""

    def __init__(self, events: Events, name: str, work: Callable[[], Any]) -> None:
        self.name = name
        self.ended = False
        self._events = events
        self._work = work
        self._value: Any = None
        self._error: BaseException | None = None
        self._over = trio.Event()
        self._started = False
        self._greenlet = events.make_greenlet(self._run)

    def start(self) -> None:
        """Begin, as an event of its own."""
        self._events.soon(50 * MICROSECOND_NS, f"{self.name} starts", self.resume)

    def resume(self) -> None:
        """Go on. Called by events alone."""
        if not self.ended:
            self._started = True
            self._greenlet.switch()

    def pause(self, most_ns: int, what: str) -> None:
        """Let some time pass. Called by the process."""
        self._events.soon(most_ns, f"{self.name} {what}", self.resume)
        self._events.switch_home()

    def wait(self) -> None:
        """Wait until somebody calls ``resume``. Called by the process."""
        self._events.switch_home()

    def kill(self, error: BaseException) -> None:
        """Raise an error where the process waits, which ends it. Called by events alone."""
        if self.ended:
            return
        if self._started:
            self._greenlet.throw(error)
        else:
            self._error = error
        self.ended = True
        self._over.set()

    async def join(self) -> None:
        """Wait for the end."""
        await self._over.wait()

    async def result(self) -> Any:
        """What the work returned; raises what it raised."""
        await self._over.wait()
        if self._error is not None:
            raise self._error
        return self._value

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001  whoever waits for the result gets it
            self._error = error
        self.ended = True
        self._over.set()


def current_process(processes: list[Process]) -> Process | None:
    """The process that runs at this moment."""
    running = getcurrent()
    return next((one for one in processes if one._greenlet is running), None)
