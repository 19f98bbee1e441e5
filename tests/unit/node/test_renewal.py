"""Flight's restart, as its certificates are renewed, where its port is taken for a while."""

from __future__ import annotations

import threading
from typing import cast

import trio
import trio.testing

from dexflight.service import FlightService
from dexnode.renewal import FLIGHT_RETRY_SECONDS, Restartable

PORT = 7401
THREAD_SECONDS = 30


class Service:
    """What Restartable uses of a FlightService."""

    port = PORT

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.grace_is_over = threading.Event()
        self.grace_is_over.set()
        self.stopped = False

    def stop(self) -> None:
        """The first waits for open streams, and another for nobody."""
        if not self.stopping.is_set():
            self.stopping.set()
            assert self.grace_is_over.wait(THREAD_SECONDS)
            self.stopped = True


class Opening:
    """Opens a service, then is refused so many times before it opens another."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.ports: list[int | None] = []
        self.opened: list[Service] = []

    def __call__(self, port: int | None) -> FlightService:
        self.ports.append(port)
        if self.opened and self.refusals:
            self.refusals -= 1
            raise OSError("the port is taken")
        self.opened.append(Service())
        return cast("FlightService", self.opened[-1])


async def test_flight_comes_back_on_its_port_once_it_is_free(
    autojump_clock: trio.testing.MockClock,
) -> None:
    opening = Opening(refusals=3)
    flight = Restartable(opening)
    began = trio.current_time()
    await flight.restart()
    assert opening.ports == [None, PORT, PORT, PORT, PORT]
    assert trio.current_time() - began == 3 * FLIGHT_RETRY_SECONDS
    first, second = opening.opened
    assert first.stopped
    assert not second.stopped
    await flight.stop()
    assert second.stopped


async def test_a_second_restart_joins_the_one_that_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    opening = Opening(refusals=3)
    flight = Restartable(opening)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flight.restart)
        await trio.sleep(1.5 * FLIGHT_RETRY_SECONDS)
        with trio.fail_after(FLIGHT_RETRY_SECONDS / 2):
            assert not await flight.restart(), "said to be renewed while it is down"
    assert len(opening.opened) == 2
    assert await flight.restart()
    assert len(opening.opened) == 3
    assert [service.stopped for service in opening.opened] == [True, True, False]


async def test_a_node_that_stops_opens_no_flight_any_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    opening = Opening(refusals=3)
    flight = Restartable(opening)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flight.restart)
        await trio.sleep(1.5 * FLIGHT_RETRY_SECONDS)
        await flight.stop()
    assert [service.stopped for service in opening.opened] == [True]


async def test_a_node_that_stops_waits_for_the_grace_of_a_restart() -> None:
    opening = Opening(refusals=0)
    flight = Restartable(opening)
    (service,) = opening.opened
    service.grace_is_over.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flight.restart)
        assert await trio.to_thread.run_sync(service.stopping.wait, THREAD_SECONDS)
        is_stopped = trio.Event()

        async def stop() -> None:
            await flight.stop()
            is_stopped.set()

        nursery.start_soon(stop)
        with trio.move_on_after(0.05):
            await is_stopped.wait()
        assert not is_stopped.is_set(), "open streams are left in the middle"
        service.grace_is_over.set()
    assert service.stopped
    assert opening.opened == [service], "opened again by a node that stops"
