"""Promises: a value or an error, there already or later."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dexruntime.promise import Promise


async def test_a_kept_promise_needs_no_waiting() -> None:
    promise: Promise[int] = Promise()
    promise.set(7)
    assert promise.done
    assert promise.result() == 7
    assert await promise.wait() == 7


async def test_a_waiter_gets_the_value_later() -> None:
    promise: Promise[int] = Promise()
    async with trio.open_nursery() as nursery:
        got: list[int] = []

        async def wait() -> None:
            got.append(await promise.wait())

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
        promise.set(8)
    assert got == [8]


async def test_a_failed_promise_raises_its_error() -> None:
    promise: Promise[int] = Promise()
    promise.fail(KeyError("why"))
    assert promise.done
    await promise.wait_done()
    for _ in range(2):
        with pytest.raises(KeyError):
            await promise.wait()


async def test_a_cancelled_waiter_may_come_back() -> None:
    promise: Promise[int] = Promise()
    with trio.CancelScope() as scope:
        scope.cancel()
        await promise.wait()
    assert not promise.done
    promise.set(9)
    assert await promise.wait() == 9


async def test_none_is_a_value() -> None:
    promise: Promise[None] = Promise()
    promise.set(None)
    await promise.wait()
    assert promise.result() is None
