"""The journal's one thread, behind a port: what hands it work, and how it tells the Trio thread.

The order of everything the journal does is decided here: when it takes what waits, and when the
Trio thread hears of it. A simulation puts its own order in this place (tests/sim).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, final

import trio

Work = TypeVar("Work")


class Worker(Protocol[Work]):
    """One thread that does the journal's blocking work, one piece after the other."""

    def start(self, run: Callable[[], None]) -> None:
        """Begin; ``run`` is what the thread does from its first moment to its last."""

    def put(self, work: Work) -> None:
        """Put a piece of work in line. Called on the Trio thread, never blocks."""

    def get(self) -> Work:
        """Wait for the next piece of work. Called by ``run``."""

    def get_waiting(self) -> Work | None:
        """The next piece of work, or None when none waits. Called by ``run``."""

    def tell(self, notice: Callable[[], None]) -> None:
        """Call ``notice`` on the Trio thread soon; once for several calls. Called by ``run``."""

    async def join(self) -> None:
        """Wait until ``run`` has returned."""


@final
class ThreadWorker(Generic[Work]):
    """A daemon thread, for the Trio run that makes it."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._queue: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, run: Callable[[], None]) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=run, name="journal", daemon=True)
        self._thread.start()

    def put(self, work: Work) -> None:
        """Put a piece of work in line."""
        self._queue.put(work)

    def get(self) -> Work:
        """Wait for the next piece of work."""
        return self._queue.get()

    def get_waiting(self) -> Work | None:
        """The next piece of work, or None when none waits."""
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return None

    def tell(self, notice: Callable[[], None]) -> None:
        """Call ``notice`` on the Trio thread soon; nobody hears it after the run."""
        try:
            self._token.run_sync_soon(notice, idempotent=True)
        except trio.RunFinishedError:
            pass

    async def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread is not None:
            await trio.to_thread.run_sync(self._thread.join)
