"""The order in which Trio runs what is ready, out of the seed; and the points where a crash may be.

Trio shuffles the tasks that are ready, with dice of its own. It has two private doors for whoever
must repeat a run, `_r` and `_ALLOW_DETERMINISTIC_SCHEDULING`, which pytest-trio uses for
Hypothesis; a test holds that they are there (ADR 0010).
"""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import trio
from trio._core import _run

PRODUCT: tuple[str, ...] = ("dexruntime", "dexnode")


@contextmanager
def repeatable(seed: object) -> Iterator[None]:
    """Trio's order and the operating system's randomness come from the seed in here."""
    salt = random.Random(f"{seed} salt")
    dice, sorts = _run._r.getstate(), _run._ALLOW_DETERMINISTIC_SCHEDULING
    collects = gc.isenabled()
    gc.disable()
    _run._r.seed(f"{seed} order")
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    try:
        with mock.patch.object(os, "urandom", salt.randbytes):
            yield
    finally:
        _run._r.setstate(dice)
        _run._ALLOW_DETERMINISTIC_SCHEDULING = sorts  # type: ignore[misc]
        if collects:
            gc.enable()


class Points(trio.abc.Instrument):
    """Counts the scheduling points of the product's tasks, and stops the machine at one of them."""

    def __init__(self, stop: Callable[[str], None], log: Callable[[str], None] | None) -> None:
        self.passed = 0
        self.stop_at = 0
        self._stop = stop
        self._log = log

    def before_task_step(self, task: Any) -> None:
        """A task of the product goes on: what it awaited is over."""
        if not task.name.startswith(PRODUCT):
            return
        self.passed += 1
        if self._log is not None:
            self._log(f"step {self.passed} {task.name.rpartition('.')[2]}")
        if self.passed == self.stop_at:
            self._stop(f"power fails at scheduling point {self.passed}")
