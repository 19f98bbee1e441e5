"""The collector's threshold moves with the calls in flight."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from dexnode.collector import LOOK_SECONDS, keep_thresholds


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


async def test_more_calls_in_flight_put_a_look_off(autojump_clock: trio.testing.MockClock) -> None:
    calls = 0
    seen = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_thresholds, lambda: calls)
        for calls in (0, 128, 1_024, 0):  # noqa: B007 (the lambda reads it)
            await trio.sleep(2 * LOOK_SECONDS)
            seen.append(gc.get_threshold()[0])
        nursery.cancel_scope.cancel()
    idle, some, many, idle_again = seen
    assert idle < some < many
    # A call holds a hundred objects; more than twice of them would put off what stays.
    assert 80 * 1_024 < many - idle < 200 * 1_024
    assert idle_again == idle, "few objects must bring a look when nothing is in flight"
