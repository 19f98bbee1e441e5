"""The node under simulation: the product's shard and services, without sockets, threads, processes.

Real: recovery, journal, sequencer, exchange, views, feeds, intake, services, validation, tokens and
authorization, the interceptors. In the place of what the machine gives there is: a simulated disk
under the storage port, a greenlet for the journal's thread and for the snapshot process, an event
for the verdict of a verifying process, messages for gRPC's transport.
"""

from __future__ import annotations

import errno
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import trio
from google.protobuf.descriptor import ServiceDescriptor

from dexnode.admission import Admission
from dexnode.audit.log import AuditLog
from dexnode.authz import Authorizer, KnownKey, PermissionTable
from dexnode.disconnects import Disconnects
from dexnode.errors import ErrorInterceptor
from dexnode.ids import IdFormat
from dexnode.intake import Intake
from dexnode.pagination import PageTokens
from dexnode.services import binding
from dexnode.services.accounts import AccountsService
from dexnode.services.admin import AdminService
from dexnode.services.klines import KlineQueryService
from dexnode.services.matching import MatchingService
from dexnode.services.orders import OrderIntakeService
from dexnode.services.pools import PoolsService
from dexnode.settings import LimitSettings, OperatorSettings
from dexnode.tokens import TokenVerifier
from dexnode.validation import Validator
from dexrpc import Interceptor, Method, Peer
from dexrpc.method import method_table
from dexruntime.journal import Identity, JournalFailed
from dexruntime.promise import Promise
from dexruntime.shard import Shard
from dexruntime.snapshotter import take_snapshot
from dexruntime.verifier import verify_one
from dexsdk import Key
from tests.sim.disk import SimulatedCrash, SimulatedDisk
from tests.sim.events import MICROSECOND_NS, MILLISECOND_NS, SECOND_NS, Events, Process
from tests.sim.events import current_process as process_of

NETWORK_ID: Final = "triodex-sim"
IDENTITY: Final = Identity(NETWORK_ID, 0, 1)
START_NS: Final = 1_700_000_000 * SECOND_NS
SEGMENT_BYTES: Final = 16 << 10
# Most that a verb of the disk takes; now and then it takes eight times as long.
DISK_NS: Final = {
    "write": 60 * MICROSECOND_NS,
    "datasync": 900 * MICROSECOND_NS,
    "sync_directory": 900 * MICROSECOND_NS,
    "preallocate": 300 * MICROSECOND_NS,
    "rename": 60 * MICROSECOND_NS,
}
VERDICT_NS: Final = 150 * MICROSECOND_NS
WORKER_NS: Final = 60 * MICROSECOND_NS
_VALIDATOR: Final = Validator([service.file for service in binding.SERVED])
_PERMISSIONS: Final = PermissionTable.from_services(binding.SERVED)
NO_AUDIT: Final = cast("AuditLog", None)
_PAGE_KEY: Final = bytes(32)


class SimulatedWorker:
    """The journal's thread as a process: see dexruntime.journal.worker."""

    def __init__(self, events: Events, adopt: Callable[[Process], None]) -> None:
        self._events = events
        self._adopt = adopt
        self._queue: deque[Any] = deque()
        self._waiting = False
        self._told = False
        self._process: Process | None = None

    def start(self, run: Callable[[], None]) -> None:
        """Begin as a process."""
        self._process = Process(self._events, "journal", run)
        self._adopt(self._process)
        self._process.start()

    def put(self, work: Any) -> None:
        """Put work in line; a waiting thread wakes some time later."""
        self._queue.append(work)
        if self._waiting and self._process is not None:
            self._waiting = False
            self._events.soon(WORKER_NS, "journal wakes", self._process.resume)

    def get(self) -> Any:
        """Wait for work."""
        while not self._queue:
            assert self._process is not None
            self._waiting = True
            self._process.wait()
        return self._queue.popleft()

    def get_waiting(self) -> Any:
        """Work, if some waits."""
        return self._queue.popleft() if self._queue else None

    def tell(self, notice: Callable[[], None]) -> None:
        """Call on the Trio thread some time later, once for several calls."""

        def hear() -> None:
            self._told = False
            notice()

        if not self._told:
            self._told = True
            self._events.soon(WORKER_NS, "journal is heard", hear)

    async def join(self) -> None:
        """Wait for the end."""
        if self._process is not None:
            await self._process.join()


class SimulatedVerifier:
    """Real signatures, checked when the event comes that brings the verdict."""

    queue_depth = 0

    def __init__(self, events: Events) -> None:
        self._events = events

    def enqueue(self, message: bytes, signature: bytes, public_key: bytes) -> Promise[bool]:
        """Ask for a verdict."""
        promise: Promise[bool] = Promise()
        verdict = verify_one(message, signature, public_key)
        self._events.soon(VERDICT_NS, "", lambda: promise.set(verdict))
        return promise

    async def wait_room(self) -> None:
        """There always is."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Nothing runs of its own."""
        task_status.started()
        await trio.sleep_forever()


class NodeControl:
    """What the admin service sees of the node around it."""

    version = "simulation"
    demo = False
    data_dir = Path("/")
    ready_time_ns = START_NS

    def request_drain(self) -> None:
        """Nobody asks."""


class Node:
    """A node that is started again whenever it ends, as a supervisor does."""

    def __init__(self, events: Events, seed: object, lie: str = "") -> None:
        self.events = events
        self.chance = random.Random(f"{seed} node")
        self.disk = SimulatedDisk(
            random.Random(f"{seed} disk"), pace=self._pace, lies=[lie] if lie else []
        )
        self.operators: list[OperatorSettings] = []
        self.counts: Counter[str] = Counter()
        self._counted: set[tuple[int, str]] = set()
        self.life = 0
        self.dead = True
        self.clock_ahead_ns = 0
        self.shard: Shard | None = None
        self.methods: dict[str, Method] = {}
        self.interceptors: tuple[Interceptor, ...] = ()
        self.calls: trio.Nursery | None = None
        self.peer = Peer("sim", is_tls=False)
        self._died = trio.Event()
        self._served = trio.Event()
        self._processes: list[Process] = []
        self._power_failed = False

    @property
    def serving(self) -> bool:
        """Whether it takes calls."""
        return self.calls is not None and not self.dead

    def clock_ns(self) -> int:
        """The node's clock, which may be wrong."""
        return START_NS + self.events.now_ns + self.clock_ahead_ns

    def allow(self, operator_key: bytes) -> None:
        """Configure an operator."""
        self.operators.append(OperatorSettings(name="sim", public_key=operator_key.hex()))

    # --- what happens to it

    def fail(self, how: str, *, power: bool = False) -> None:
        """The process ends here and now, or the machine does; nothing it does later counts."""
        if self.dead:
            return
        self.dead = True
        self._power_failed = power
        self.counts["power failures" if power else "process ends"] += 1
        for process in self._processes:
            if not process.ended and process.name != "journal":
                self._count_end_during(process.name)
        self.events.log(f"node life {self.life} ends: {how}")
        if power:
            self.disk.crash()
        else:
            self.disk.kill()
        self._died.set()

    def begin_snapshot(self) -> None:
        """Start a snapshot process, unless one runs or the node does not."""
        if not self.serving or any(p.name == "snapshot" and not p.ended for p in self._processes):
            return
        assert self.shard is not None
        durable = self.shard.sequencer.durable_sequence
        process = Process(
            self.events, "snapshot", lambda: take_snapshot(self.disk, IDENTITY, durable)
        )
        self._adopt(process)
        process.start()
        assert self.calls is not None
        self.calls.start_soon(self._await_snapshot, process, name="sim snapshot")

    def bury(self) -> None:
        """End what still runs of the last life."""
        for process in self._processes:
            process.kill(SimulatedCrash())

    async def wait_serving(self) -> None:
        """Wait until it takes calls."""
        while not self.serving:
            await self._served.wait()

    # --- its lives

    async def run(self) -> None:
        """Live, end, come back, until cancelled."""
        while True:
            self.life += 1
            self.dead = False
            self._died = trio.Event()
            self._processes = []
            self.events.log(f"node life {self.life} begins")
            with _the_end_of_a_life():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._live, nursery, name="sim node life")
                    try:
                        await self._died.wait()
                    finally:
                        # Also when the simulation is over: nobody lets a process go on then.
                        self.dead = True
                        self.bury()
                    nursery.cancel_scope.cancel()
            self.shard = self.calls = None
            if self._power_failed:
                self.disk.restart()
            self.disk.kill()
            await self.events.sleep(self.chance.randint(1, 60) * MILLISECOND_NS)

    async def _live(self, nursery: trio.Nursery) -> None:
        worker = SimulatedWorker(self.events, self._adopt)
        process = Process(self.events, "recovery", lambda: self._open(worker))
        self._adopt(process)
        process.start()
        try:
            shard: Shard = await process.result()
        except SimulatedCrash:
            self._count_end_during("recovery")
            self.fail("the machine stopped during recovery", power=True)
            return
        except OSError as error:
            if error.errno not in {errno.EIO, errno.ENOSPC}:
                raise
            self.counts["starts refused by the disk"] += 1
            self.fail(f"start failed: {error}")
            return
        shard.verifier = SimulatedVerifier(self.events)  # type: ignore[assignment]
        disconnects = Disconnects(shard.sequencer)
        self._bind(shard, disconnects)
        await nursery.start(shard.run, name="dexruntime shard")
        nursery.start_soon(disconnects.run, name="dexnode disconnects")
        self.shard, self.calls = shard, nursery
        self.events.log(
            f"node serves from {shard.exchange.sequence}, replayed {shard.replayed_count}"
        )
        self._served.set()
        self._served = trio.Event()

    def _open(self, worker: SimulatedWorker) -> Shard:
        return Shard(
            self.disk,
            IDENTITY,
            clock_ns=self.clock_ns,
            on_failure=self._journal_failed,
            segment_bytes=SEGMENT_BYTES,
            worker=worker,
        )

    def _bind(self, shard: Shard, disconnects: Disconnects) -> None:
        """The services on this shard, as dexnode.node binds them."""
        ids = IdFormat(shard.identity.shard, shard.identity.epoch, shard.exchange.epochs)
        # Connections end with the life, and what they asked for is counted in its time.
        self.peer = Peer("sim", is_tls=False)
        admission = Admission(LimitSettings(), lambda: self.events.now_ns)
        intake = Intake(shard, ids, self.clock_ns, admission)
        pages = PageTokens(_PAGE_KEY)
        by_public_key = shard.exchange.accounts.by_public_key

        def find_key(public_key: bytes) -> KnownKey | None:
            # No key of a simulation is revoked or limited.
            key = by_public_key.get(public_key)
            return None if key is None else KnownKey(ids.format(key.account.key), may_read=True)

        servicers: dict[ServiceDescriptor, object] = {
            binding.ORDER_INTAKE: OrderIntakeService(
                shard, intake, ids, disconnects, Key(bytes(32))
            ),
            binding.MATCHING: MatchingService(shard, intake, ids, pages, lambda: False),
            binding.POOLS: PoolsService(shard, intake, ids, pages),
            binding.KLINE_QUERY: KlineQueryService(shard, pages),
            binding.ACCOUNTS: AccountsService(shard, intake, ids, pages),
            binding.ADMIN: AdminService(shard, intake, ids, NodeControl(), NO_AUDIT),
            # Not under simulation: its methods answer UNIMPLEMENTED.
            binding.AUDIT: object(),
        }
        by_name = {service.full_name: servicer for service, servicer in servicers.items()}
        self.methods = method_table(binding.bind_all(by_name, _VALIDATOR))
        self.interceptors = (
            ErrorInterceptor(lambda _: None),
            Authorizer(
                _PERMISSIONS,
                TokenVerifier(NETWORK_ID, self.clock_ns),
                self.operators,
                find_key,
            ),
        )

    # --- inside

    def _adopt(self, process: Process) -> None:
        self._processes.append(process)

    def _pace(self, verb: str) -> None:
        """Let the time pass that a verb of the disk takes."""
        most_ns = DISK_NS.get(verb)
        process = process_of(self._processes)
        if process is not None and most_ns is not None:
            process.pause(most_ns, verb)

    def _journal_failed(self, error: BaseException) -> None:
        if isinstance(error, SimulatedCrash):
            self.fail("the machine stopped while the journal wrote", power=True)
        elif isinstance(error, OSError):
            self.counts["journal failures"] += 1
            self.fail(f"journal failed: {error}")
        else:
            raise error

    def _count_end_during(self, process: str) -> None:
        """Count the end of a life by what was under way, once for each."""
        if (self.life, process) not in self._counted:
            self._counted.add((self.life, process))
            self.counts[f"ends during {process}"] += 1

    async def _await_snapshot(self, process: Process) -> None:
        try:
            _, name = await process.result()
        except SimulatedCrash:
            self._count_end_during("snapshot")
            self.fail("the machine stopped while a snapshot was written", power=True)
        except OSError as error:
            self.counts["snapshots failed"] += 1
            self.events.log(f"snapshot failed: {error}")
        else:
            self.counts["snapshots"] += 1
            self.events.log(f"{name} is published")


@contextmanager
def _the_end_of_a_life() -> Iterator[None]:
    """What a shard whose disk stopped says on its way out; anything else is a finding."""
    try:
        yield
    except* (JournalFailed, SimulatedCrash):
        pass
