"""One history: a market opens, a storm breaks loose, all is mended, and everything must be right.

Safety first: whatever happens, nothing acknowledged is lost, nothing counts twice and nobody sees
what recovery denies. Then liveness: from a moment on nothing fails any more, and each client must
get an answer to everything it ever sent, in bounded virtual time. At last the power goes for good,
and the disk alone has to tell the same story.
"""

from __future__ import annotations

import errno
import random
from collections import Counter
from functools import partial
from typing import Final, NamedTuple

import trio

from dexsdk.market_operations import get_book, list_klines, list_trades
from dexsdk.order_operations import get_account
from dexsdk.times import time_ns_of
from dexsdk.types import Interval
from tests.sim.audit import Lived, audit, check_owned
from tests.sim.client import (
    MARKET_ID,
    Client,
    OperatorClient,
    Reader,
    check_book,
    fill_of,
    levels_of,
)
from tests.sim.events import MILLISECOND_NS, SECOND_NS, Events, Sink
from tests.sim.network import Network
from tests.sim.node import Node
from tests.sim.order import Points, repeatable
from tests.sim.witness import Fill, Finding, Witness

# Virtual time: what clients may take to come to rest once nothing fails any more.
REST_NS: Final = 60 * SECOND_NS
STORM_NS: Final = 1_500 * MILLISECOND_NS
# Misfortunes strike while clients are at work, which is not for long.
STRIKE_NS: Final = 200 * MILLISECOND_NS
MISFORTUNES: Final = (
    *("power", "power", "kill", "disk step", "disk step", "point", "point", "point"),
    *("sync fails", "write fails", "read fails", "disk full", "clock", "cut off"),
)


class Plan(NamedTuple):
    """What one history is made of."""

    clients: int
    commands: int
    misfortunes: int
    snapshots: int
    lost: float
    broken: float
    doubled: float
    # Stop the machine at this scheduling point of the storm, or step of the disk; 0 for neither.
    stop_at_point: int = 0
    stop_at_step: int = 0

    @classmethod
    def of(cls, seed: object) -> Plan:
        """The plan of a seed: some are calm, some are wild, each in its own way."""
        chance = random.Random(f"{seed} plan")
        return cls(
            clients=chance.choice((2, 3, 3, 4)),
            commands=chance.choice((4, 8, 12)),
            misfortunes=chance.choice((0, 1, 1, 2, 3, 5)),
            snapshots=chance.choice((0, 1, 2, 4)),
            lost=chance.choice((0.0, 0.0, 0.02, 0.1)),
            broken=chance.choice((0.0, 0.0, 0.03, 0.1)),
            doubled=chance.choice((0.0, 0.0, 0.1, 0.3)),
        )

    def alone(self, stop_at_point: int, stop_at_step: int) -> Plan:
        """The same clients, and one crash as the only misfortune."""
        return self._replace(
            misfortunes=0,
            snapshots=max(1, self.snapshots),
            lost=0.0,
            broken=0.0,
            doubled=0.0,
            stop_at_point=stop_at_point,
            stop_at_step=stop_at_step,
        )

    def on_a_bad_network(self) -> Plan:
        """Four busy clients and a quarter of all messages lost, cut off or doubled."""
        return self._replace(
            clients=4, commands=24, misfortunes=0, lost=0.08, broken=0.09, doubled=0.08
        )


class Report(NamedTuple):
    """How a history went."""

    seed: object
    digest: str
    events: int
    virtual_ns: int
    points: int
    steps: int
    counts: Counter[str]


class Simulation:
    """Runs one history."""

    def __init__(
        self,
        seed: object,
        plan: Plan | None = None,
        sink: Sink | None = None,
        *,
        steps: bool = False,
        lie: str = "",
    ) -> None:
        """``steps`` logs the product's scheduling points too; ``lie`` is a verb of the disk that
        does nothing, to prove that it is noticed.
        """
        self.seed = seed
        self.plan = plan or Plan.of(seed)
        self.chance = random.Random(f"{seed} misfortunes")
        self.events = Events(seed, sink)
        self.witness = Witness()
        self.node = Node(self.events, seed, lie)
        self.network = Network(self.events, self.node, seed)
        self.operator = OperatorClient(self.events, self.network, self.witness, seed)
        self.node.allow(self.operator.key.public_bytes)
        self.clients = [
            Client(f"client{n}", self.events, self.network, self.witness, seed)
            for n in range(self.plan.clients)
        ]
        for client in self.clients:
            client.others = [other for other in self.clients if other is not client]
        self.reader = Reader("reader", self.events, self.network, self.witness, seed)
        log = self.events.log if steps else None
        self.points = Points(lambda how: self.node.fail(how, power=True), log)
        self._storm_points = self._storm_steps = 0
        self._lived: Lived | None = None

    def run(self) -> Report:
        """Run it; raises Finding, or whatever else went wrong."""
        with repeatable(self.seed):
            trio.run(self._main, clock=self.events.clock, instruments=[self.points])
            assert self._lived is not None
            counts = audit(self.node.disk, self.witness, self._lived, self.seed)
        event_hash = self._lived.event_hash.hex()
        self.events.log(f"the disk tells {counts['records']} records, event hash {event_hash}")
        counts.update(self.witness.counts)
        counts.update(self.node.counts)
        return Report(
            self.seed,
            self.events.digest,
            self.events.happened,
            self.events.now_ns,
            self._storm_points,
            self._storm_steps,
            counts,
        )

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.events.run, name="sim events")
            nursery.start_soon(self.node.run, name="sim node")
            await self.node.wait_serving()
            await self.operator.open(self.clients)
            nursery.start_soon(self.reader.follow, name="sim reader")
            await self._storm()
            await self._calm()
            self.node.fail("the power goes for good", power=True)
            self.node.bury()
            nursery.cancel_scope.cancel()

    # --- the storm

    async def _storm(self) -> None:
        plan, events, chance = self.plan, self.events, self.chance
        faults = self.network.faults
        faults.lost, faults.broken, faults.doubled = plan.lost, plan.broken, plan.doubled
        first_point, first_step = self.points.passed, self.node.disk.steps
        if plan.stop_at_point:
            self.points.stop_at = first_point + plan.stop_at_point
        if plan.stop_at_step:
            self.node.disk.crash_at = first_step + plan.stop_at_step
        for _ in range(plan.misfortunes):
            kind = chance.choice(MISFORTUNES)
            events.after(chance.randint(0, STRIKE_NS), "", partial(self._strike, kind))
        for _ in range(plan.snapshots):
            events.after(chance.randint(0, STRIKE_NS), "", self.node.begin_snapshot)
        events.after(STORM_NS, "", self._heal)
        with trio.move_on_after((STORM_NS + REST_NS) / SECOND_NS):
            async with trio.open_nursery() as nursery:
                for client in self.clients:
                    nursery.start_soon(client.trade, plan.commands, name=f"sim {client.name}")
        late = [client.name for client in self.clients if client.done < plan.commands]
        if late:
            raise Finding(f"{', '.join(late)} did not come to an end after all was mended")
        self._storm_points = self.points.passed - first_point
        self._storm_steps = self.node.disk.steps - first_step
        self._heal()

    def _strike(self, kind: str) -> None:
        """Let one misfortune happen."""
        node, chance = self.node, self.chance
        self.events.log(f"misfortune: {kind}")
        self.node.counts[f"misfortune {kind}"] += 1
        if kind == "power":
            node.fail("the power fails", power=True)
        elif kind == "kill":
            node.fail("killed")
        elif kind == "disk step":
            node.disk.crash_at = node.disk.steps + chance.randint(1, 12)
        elif kind == "point":
            self.points.stop_at = self.points.passed + chance.randint(1, 60)
        elif kind.endswith("fails"):
            verb = {"sync fails": "datasync", "write fails": "write", "read fails": "read"}[kind]
            node.disk.fail_once(verb, errno.EIO)
        elif kind == "disk full":
            node.disk.capacity_bytes = node.disk.used_bytes() + chance.randint(0, 2_000)
        elif kind == "clock":
            node.clock_ahead_ns = chance.randint(-15, 15) * SECOND_NS
        else:
            faults = self.network.faults
            before = faults.lost
            faults.lost = 1.0
            again = chance.randint(1, 300) * MILLISECOND_NS
            self.events.after(again, "", lambda: setattr(faults, "lost", before))

    def _heal(self) -> None:
        """From here on nothing fails any more."""
        self.events.log("all is mended")
        self.network.faults.clear()
        self.plan = self.plan._replace(lost=0.0)
        disk = self.node.disk
        disk.forget_faults()
        disk.capacity_bytes = 1 << 30
        disk.crash_at = self.points.stop_at = 0

    # --- the calm

    async def _calm(self) -> None:
        """Everybody asks again for everything, and everything must be answered and right."""
        await self.events.sleep(4 * SECOND_NS)
        await self.node.wait_serving()
        with trio.move_on_after(REST_NS / SECOND_NS) as scope:
            await self.clients[0].warm_up()
            async with trio.open_nursery() as nursery:
                for client in self.clients:
                    client.driver.calm = True
                    nursery.start_soon(client.settle, name=f"sim {client.name}")
            await self._compare()
        if scope.cancelled_caught:
            raise Finding(
                f"nobody fails and nobody comes to an end: trades {self.reader.trade_sequence}, "
                f"book {self.reader.book_sequence}"
            )

    async def _compare(self) -> None:
        """What the node tells now, beside what everybody has seen."""
        if self.witness.unanswered():
            raise Finding(f"{len(self.witness.unanswered())} payloads have no answer")
        client, reader = self.clients[0], self.reader
        run, session = client.driver.run, client.session
        trades = [fill_of(row) for row in await run(list_trades(session, MARKET_ID))]
        self.witness.check_trades(trades)
        book = await run(get_book(session, MARKET_ID, 1_000))
        check_book(book)
        await self._wait(
            lambda: reader.trade_sequence == len(trades) and reader.book_sequence == book.sequence
        )
        if reader.book != levels_of(book):
            raise Finding("the book made of its changes is not the book")
        owned = {
            (each.name, row.asset_id): row.available_atoms + row.held_atoms
            for each in self.clients
            for row in (await each.driver.run(get_account(each.session))).balances
        }
        await self._compare_klines(trades)
        shard = self.node.shard
        assert shard is not None
        while await shard.sequencer.settled() != shard.exchange.sequence:
            pass
        exchange = shard.exchange
        self._lived = Lived(exchange.event_hash, exchange.sequence, trades, owned)
        check_owned(self.witness, self.clients, self._lived)

    async def _compare_klines(self, trades: list[Fill]) -> None:
        client = self.clients[0]
        rows = await client.driver.run(list_klines(client.session, MARKET_ID, Interval.S1))
        klines: list[tuple[int, ...]] = [
            (
                time_ns_of(row.open_time),
                row.open_ticks,
                row.high_ticks,
                row.low_ticks,
                row.close_ticks,
                row.volume_lots,
                row.trade_count,
            )
            for row in rows
        ]
        self.witness.check_klines(trades, klines, SECOND_NS)
        stamps = {time_ns_of(row.open_time): (row.version, row.sequence) for row in rows}
        seen = self.reader.klines

        def reader_has_all() -> bool:
            # A stream that breaks before its first K-line begins anew, with the current one if
            # there is one.
            current = [open_ns for open_ns, (version, _) in stamps.items() if not version]
            first = min(seen or current, default=2**63)
            return seen == {open_ns: row for open_ns, row in stamps.items() if open_ns >= first}

        await self._wait(reader_has_all)

    async def _wait(self, condition: object) -> None:
        """Wait for something that events bring about; whoever calls bounds it."""
        assert callable(condition)
        while not condition():
            await self.events.sleep(100 * MILLISECOND_NS)
