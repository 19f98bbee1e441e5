"""Waiting without sleeping blindly: ask again until it holds or a deadline passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WAIT_SECONDS = 20.0
PAUSE_SECONDS = 0.02
_NEVER_SET = threading.Event()


def wait_until(ask: Callable[[], T], what: str, seconds: float = WAIT_SECONDS) -> T:
    """The first true answer of `ask`; AssertionError naming `what` after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds} s: {answer!r}"
        _NEVER_SET.wait(PAUSE_SECONDS)
