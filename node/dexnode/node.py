"""The composition root: one node from its configuration, started, served and drained.

Theory of operation: recover the shard, then open gRPC, Flight and metrics, then
say ready. SIGTERM, SIGINT and Admin.Drain end it the same way: health turns to
NOT_SERVING, calls end within the grace, the queue drains to disk, the process
exits 0. SIGHUP reads the operators and the TLS files again (dexnode.renewal).
A failed disk ends the process at once (see dexruntime.journal).
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, final

import structlog
import trio
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2

from dexcore.accounts import READ
from dexcore.reasons import Reason
from dexflight.service import FlightService, FlightTls
from dexnode.admission import Admission
from dexnode.admission_interceptor import ReadBudgetInterceptor, StrikeInterceptor
from dexnode.audit.log import AuditLog
from dexnode.authz import Authorizer, KnownKey, PermissionTable
from dexnode.backend import RpcBackend, make_backend
from dexnode.bulk import ShardFlightSource
from dexnode.collector import keep_thresholds, set_thresholds
from dexnode.disconnects import Disconnects
from dexnode.draining import FeedInterceptor
from dexnode.errors import ErrorInterceptor
from dexnode.gate import NodeGate
from dexnode.ids import IdFormat
from dexnode.intake import Intake
from dexnode.memory_watch import MemoryWatch
from dexnode.pagination import PageTokens
from dexnode.renewal import Renewal, Restartable
from dexnode.secret import derive_key, load_node_secret
from dexnode.services import binding
from dexnode.services.accounts import AccountsService
from dexnode.services.admin import AdminService
from dexnode.services.audit import AuditService
from dexnode.services.klines import KlineQueryService
from dexnode.services.matching import MatchingService
from dexnode.services.orders import OrderIntakeService
from dexnode.services.pools import PoolsService
from dexnode.settings import NodeConfig, TlsSettings
from dexnode.start import CannotStart
from dexnode.telemetry import Telemetry
from dexnode.tokens import TokenVerifier
from dexnode.validation import Validator
from dexrpc import HealthService, Method, reflection_methods
from dexruntime.audit import AuditError
from dexruntime.clock import system_clock_ns
from dexruntime.cold_trades import ColdTrades
from dexruntime.journal import Identity, JournalError
from dexruntime.shard import Shard, SnapshotFailed
from dexruntime.storage import PosixStorage, StorageInUse
from dexsdk import Key

EPOCH: Final = 1
DRAIN_SECONDS: Final = 10.0
SNAPSHOT_CHECK_SECONDS: Final = 5.0
HEALTH_SERVICE: Final = "grpc.health.v1.Health"

log = structlog.stdlib.get_logger(__name__)


@final
class Node:
    """One node of the exchange."""

    def __init__(
        self, config: NodeConfig, telemetry: Telemetry, read_config: Callable[[], NodeConfig]
    ) -> None:
        """`read_config` reads the configuration again, for SIGHUP; it raises ConfigError."""
        self._config = config
        self._read_config = read_config
        self._telemetry = telemetry
        self._drain_asked = trio.Event()
        self._feeds = FeedInterceptor()
        self._admission = Admission(config.limits)
        self._memory = MemoryWatch(config.limits.memory_bytes_max)
        self.version = node_version()
        self.demo = config.demo.enabled
        self.data_dir: Path = config.node.data_dir / "journal"
        self.ready_time_ns = 0
        self.grpc_address = ""
        self.flight_address = ""
        self.metrics_address = ""

    def request_drain(self) -> None:
        """Stop in an orderly way, soon."""
        self._drain_asked.set()

    async def run(self, ready: Callable[[Node], None]) -> None:
        """Serve until drained; ``ready`` is called once when everything listens.

        Raises:
            CannotStart: the folder or a port cannot be had; from within a nursery's group.
        """
        config = self._config
        with _starting("the journal"):
            shard = self._open_shard()
        with _starting("the audit log"):
            audit = self._open_audit(shard)
        ids = IdFormat(shard.identity.shard, shard.identity.epoch, shard.exchange.epochs)
        health = HealthService()
        disconnects = Disconnects(shard.sequencer)
        for session_key in shard.exchange.sessions.by_key:
            # Their streams ended with the process that had their keys.
            disconnects.end_session(session_key)
        async with trio.open_nursery() as nursery:
            await nursery.start(shard.run)
            permissions = PermissionTable.from_services(binding.SERVED)
            authorizer = self._authorizer(shard, ids, permissions)
            methods = self._methods(shard, audit, ids, health, disconnects)
            gate = self._gate(permissions)
            server = self._backend(methods, authorizer, permissions, gate)
            nursery.start_soon(disconnects.run)
            with _starting(f"gRPC on {config.grpc.host}:{config.grpc.port}"):
                self.grpc_address = await server.start(nursery)
            with _starting(f"Flight on {config.flight.host}:{config.flight.port}"):
                flight = Restartable(partial(self._open_flight, shard, ids, authorizer))
            self.flight_address = f"{config.flight.host}:{flight.port}"
            with _starting(f"metrics on {config.metrics.host}:{config.metrics.port}"):
                self.metrics_address = self._telemetry.serve_metrics(config.metrics)
            # Whoever is told that the node is ready may stop it at once.
            renewal = Renewal(
                config, self._read_config, authorizer, server, flight, self._telemetry.renew_tls
            )
            await nursery.start(self._watch_signals)
            await nursery.start(renewal.run)
            nursery.start_soon(self._telemetry.watch_loop)
            nursery.start_soon(self._memory.run)
            nursery.start_soon(keep_thresholds, lambda: gate.calls_in_flight)
            nursery.start_soon(self._snapshot_now_and_then, shard)
            nursery.start_soon(audit.run, config.audit.head_interval_ms)
            self._say_ready(health)
            ready(self)
            await self._drain_asked.wait()
            await self._stop(server, flight, disconnects, shard, health)
            await audit.finish()
            nursery.cancel_scope.cancel()

    # --- opening

    def _open_shard(self) -> Shard:
        config = self._config
        self.data_dir.mkdir(parents=True, exist_ok=True)
        set_thresholds(calls_in_flight=0)
        shard = Shard(
            PosixStorage(self.data_dir),
            Identity(config.node.network_id, config.node.shard, EPOCH),
            observer=self._telemetry.command_applied,
            on_sync=self._telemetry.journal_synced,
            segment_bytes=config.journal.segment_bytes,
            remove_covered_segments=config.journal.retention == "covered",
            progress=self._telemetry.replaying,
            cold_trades=ColdTrades(self.data_dir),
        )
        self._telemetry.replayed(shard.exchange.sequence, shard.replayed_count)
        self._telemetry.observe_shard(shard)
        # What recovery made lives as long as the process.
        gc.collect()
        gc.freeze()
        return shard

    def _open_audit(self, shard: Shard) -> AuditLog:
        data_dir = self._config.node.data_dir
        audit = AuditLog(
            PosixStorage(self.data_dir, read_only=True),
            PosixStorage(data_dir / "audit"),
            shard.identity,
            self._audit_key(),
            lambda: shard.sequencer.durable_point,
        )
        audit.check(self._telemetry.replaying)
        shard.derived_stores.append(audit.follower)
        return audit

    def _gate(self, permissions: PermissionTable) -> NodeGate:
        gate = NodeGate(
            self._config.limits,
            permissions,
            self._admission,
            self._memory,
            self._telemetry.gate_refused,
        )
        self._telemetry.observe_admission(self._admission, gate)
        return gate

    def _backend(
        self,
        methods: list[Method],
        authorizer: Authorizer,
        permissions: PermissionTable,
        gate: NodeGate,
    ) -> RpcBackend:
        return make_backend(
            methods,
            [
                self._telemetry.interceptor,
                ErrorInterceptor(self._telemetry.call_refused),
                StrikeInterceptor(self._admission, permissions),
                authorizer,
                ReadBudgetInterceptor(self._admission, permissions),
                self._feeds,
            ],
            self._telemetry.rpc,
            gate,
            self._config.grpc,
            self._config.tls,
        )

    def _methods(
        self,
        shard: Shard,
        audit: AuditLog,
        ids: IdFormat,
        health: HealthService,
        disconnects: Disconnects,
    ) -> list[Method]:
        intake = Intake(shard, ids, system_clock_ns, self._admission)
        pages = PageTokens(self._key("page tokens"))
        servicers: dict[str, object] = {
            binding.ORDER_INTAKE.full_name: OrderIntakeService(
                shard, intake, ids, disconnects, self._audit_key()
            ),
            binding.MATCHING.full_name: MatchingService(
                shard, intake, ids, pages, lambda: self._feeds.is_stopping
            ),
            binding.POOLS.full_name: PoolsService(shard, intake, ids, pages),
            binding.KLINE_QUERY.full_name: KlineQueryService(shard, pages),
            binding.ACCOUNTS.full_name: AccountsService(shard, intake, ids, pages),
            binding.ADMIN.full_name: AdminService(shard, intake, ids, self, audit),
            binding.AUDIT.full_name: AuditService(audit, ids, pages),
        }
        validator = Validator([service.file for service in binding.SERVED])
        names = [service.full_name for service in binding.SERVED]
        return [
            *binding.bind_all(servicers, validator),
            *health.methods,
            *reflection_methods([*names, HEALTH_SERVICE], descriptor_pool.Default()),
        ]

    def _authorizer(self, shard: Shard, ids: IdFormat, permissions: PermissionTable) -> Authorizer:
        by_public_key = shard.exchange.accounts.by_public_key

        def find_key(public_key: bytes) -> KnownKey | None:
            key = by_public_key.get(public_key)
            if key is None:
                return None
            refusal = key.refusal(system_clock_ns())
            if refusal == Reason.KEY_REVOKED:
                # Not said before it is durable, as everything else.
                durable = key.revoke_sequence <= shard.sequencer.durable_sequence
                refusal = refusal if durable else Reason.NONE
            return KnownKey(ids.format(key.account.key), bool(key.scopes & READ), refusal)

        return Authorizer(
            permissions,
            TokenVerifier(shard.identity.network_id, system_clock_ns),
            self._config.operators,
            find_key,
        )

    def _open_flight(
        self, shard: Shard, ids: IdFormat, authorizer: Authorizer, port: int | None
    ) -> FlightService:
        config = self._config
        source = ShardFlightSource(shard, ids)
        return FlightService(
            source,
            network_id=config.node.network_id,
            ticket_key=self._key("flight tickets"),
            host=config.flight.host,
            port=config.flight.port if port is None else port,
            tls=_flight_tls(config.tls),
            # pyarrow cannot check a revocation list: the certificate alone is not enough then.
            authenticate=(
                partial(source.check_token, authorizer)
                if config.tls.revocation_list is not None
                else None
            ),
        )

    def _audit_key(self) -> Key:
        return Key(self._key("audit heads"))

    def _key(self, purpose: str) -> bytes:
        """A key that outlives restarts: tokens and tickets given out before one stay good."""
        return derive_key(load_node_secret(self._config.node.data_dir), purpose)

    # --- living

    def _say_ready(self, health: HealthService) -> None:
        self.ready_time_ns = system_clock_ns()
        for name in ("", *(service.full_name for service in binding.SERVED)):
            health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def _watch_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                self.request_drain()

    async def _snapshot_now_and_then(self, shard: Shard) -> None:
        every = self._config.snapshot.interval_commands
        while every:
            await trio.sleep(SNAPSHOT_CHECK_SECONDS)
            # Without a snapshot the next start takes longer; that is no reason to end this one.
            try:
                if shard.exchange.sequence - shard.snapshot_sequence >= every:
                    await shard.take_snapshot(self.data_dir)
            except (SnapshotFailed, OSError):
                log.exception("the snapshot failed")

    # --- stopping

    async def _stop(
        self,
        server: RpcBackend,
        flight: Restartable,
        disconnects: Disconnects,
        shard: Shard,
        health: HealthService,
    ) -> None:
        self._telemetry.draining()
        for name in ("", *(service.full_name for service in binding.SERVED)):
            health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        self._feeds.stop()
        await server.drain(DRAIN_SECONDS)
        await flight.stop()
        await disconnects.finish()
        await shard.sequencer.drain()


@contextmanager
def _starting(what: str) -> Iterator[None]:
    try:
        yield
    # grpc.aio says with RuntimeError that it could not listen.
    except (OSError, RuntimeError, StorageInUse, JournalError, AuditError) as error:
        raise CannotStart(f"{what}: {error}") from error


def node_version() -> str:
    """Version of the installed software."""
    try:
        return version("triodex")
    except PackageNotFoundError:
        return "0.0.0"


def _flight_tls(tls: TlsSettings) -> FlightTls | None:
    if tls.certificate is None or tls.private_key is None:
        return None
    client_ca = tls.client_ca.read_bytes() if tls.client_ca is not None else None
    return FlightTls(tls.certificate.read_bytes(), tls.private_key.read_bytes(), client_ca)
