"""The smallest way for one task to wait for another."""

from __future__ import annotations

from typing import final

import trio


@final
class Wakeup:
    """One waiter at most; `wake` without a waiter does nothing, so check the condition first.

    A trio.Event would do; this costs a third of it, and it sits on every message.
    """

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Sleep until `wake`. A cancel point."""
        if self._task is not None:
            raise trio.BusyResourceError("another task is already waiting here")
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def wake(self) -> None:
        """Let the waiter go on."""
        task = self._task
        if task is not None:
            self._task = None
            trio.lowlevel.reschedule(task)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
