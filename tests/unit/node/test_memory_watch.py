"""Garbage that grew old is collected once memory comes near its ceiling."""

from __future__ import annotations

import gc

import pytest
import trio
import trio.testing

from dexnode import memory_watch
from dexnode.memory_watch import LOOK_SECONDS, MemoryWatch


async def test_old_garbage_is_no_reason_to_refuse(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    garbage_bytes, looks = 600, 0

    def collect() -> int:
        nonlocal garbage_bytes, looks
        looks += 1
        garbage_bytes = 0
        return 0

    monkeypatch.setattr(gc, "collect", collect)
    monkeypatch.setattr(memory_watch, "resident_bytes", lambda: 500 + garbage_bytes)
    watch = MemoryWatch(1_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        await trio.sleep(LOOK_SECONDS / 2)
        assert (looks, watch.is_high) == (1, False)
        garbage_bytes = 600
        await trio.sleep(10)
        assert (looks, watch.is_high) == (1, True), "a node near its ceiling stops again and again"
        await trio.sleep(60)
        assert (looks, watch.is_high) == (2, False)
        nursery.cancel_scope.cancel()
