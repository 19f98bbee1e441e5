"""A value that comes later, for many tasks that hand work to one."""

from __future__ import annotations

from typing import Generic, TypeVar, final

import trio

Value = TypeVar("Value")


@final
class Promise(Generic[Value]):
    """Set once by the worker, awaited by one task.

    An Event is made only when somebody waits, so a value that is already there
    costs no trip through the scheduler.
    """

    __slots__ = ("_error", "_event", "_value", "abandoned", "done")

    def __init__(self) -> None:
        self.done = False
        # Its waiter was cancelled: nobody will look at the value.
        self.abandoned = False
        self._value: Value | None = None
        self._error: Exception | None = None
        self._event: trio.Event | None = None

    def set(self, value: Value) -> None:
        """Give the value and wake the waiter."""
        self._value = value
        self._finish()

    def fail(self, error: Exception) -> None:
        """Let the waiter get this error instead of a value."""
        self._error = error
        self._finish()

    async def wait(self) -> Value:
        """The value, as soon as it is there."""
        await self.wait_done()
        return self.result()

    async def wait_done(self) -> None:
        """Return as soon as :meth:`result` may be called."""
        if not self.done:
            event = self._event = trio.Event()
            try:
                await event.wait()
            except trio.Cancelled:
                self.abandoned = True
                raise

    def result(self) -> Value:
        """The value; only when ``done``."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def _finish(self) -> None:
        self.done = True
        if self._event is not None:
            self._event.set()
