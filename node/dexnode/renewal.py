"""New operators and certificates without a restart: SIGHUP reads them again.

Theory of operation: the configuration is read again as a start would read it. If it cannot be used,
nothing changes and the log says why, and so with a TLS file that cannot. Else the operators count
from the next call on and the certificates from the next handshake on; open gRPC connections are
asked to come back (GOAWAY), which well-behaved clients do without losing a call, and closed after
RENEW_SECONDS. What else has changed in the configuration waits for a restart, and the log names it.

pyarrow cannot change the certificates of a running Flight server: it is stopped and started on the
same port when a TLS file has changed. Its open streams get their grace; a call in between finds
nobody, and the SDK asks again. Where it cannot start, another has taken the port or a file is bad,
it tries again every second with the files as they are then, and what is renewed meanwhile does not
wait for it.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

import structlog
import trio
from msgspec import structs

from dexflight.service import FlightService
from dexnode.authz import Authorizer
from dexnode.backend import RpcBackend
from dexnode.config import LIST_KEY, ConfigError
from dexnode.settings import NodeConfig, TlsSettings

RENEW_SECONDS: Final = 60.0
FLIGHT_RETRY_SECONDS: Final = 1.0
log = structlog.stdlib.get_logger(__name__)


@final
class Restartable:
    """A Flight service that can be stopped and started on the port it had."""

    def __init__(self, open_flight: Callable[[int | None], FlightService]) -> None:
        """Raises OSError when the port cannot be bound."""
        self._open = open_flight
        self._service = open_flight(None)
        self.port = self._service.port
        self._is_restarting = False
        self._is_over = False
        self._stopping = trio.Lock()

    async def restart(self) -> bool:
        """Stop, giving open streams their grace, and serve again on the same port as soon as that
        can be done; whether that is so now. One that already waits for that reads the files later
        than now, so another returns at once."""
        if self._is_restarting:
            return False
        self._is_restarting = True
        try:
            await self._stop_service()
            return await self._start()
        finally:
            self._is_restarting = False

    async def stop(self) -> None:
        """Stop taking calls for good, give open streams their grace, then cut them."""
        self._is_over = True
        await self._stop_service()

    async def _stop_service(self) -> None:
        # One who asks while another does waits for the grace too: a second shutdown of one server
        # returns at once.
        async with self._stopping:
            await trio.to_thread.run_sync(self._service.stop)

    async def _start(self) -> bool:
        told = ""
        while not self._is_over:
            try:
                self._service = self._open(self.port)
                return True
            except OSError as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("Flight is down until it can start again", error=told)
            await trio.sleep(FLIGHT_RETRY_SECONDS)
        return False


@final
class Renewal:
    """Takes new operators and certificates into a running node."""

    def __init__(
        self,
        config: NodeConfig,
        read_config: Callable[[], NodeConfig],
        authorizer: Authorizer,
        server: RpcBackend,
        flight: Restartable,
        renew_metrics: Callable[[], None],
    ) -> None:
        self._config = config
        self._read_config = read_config
        self._authorizer = authorizer
        self._server = server
        self._flight = flight
        self._renew_metrics = renew_metrics
        self._files = _digest(config.tls)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Renew at every SIGHUP."""
        with trio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async with trio.open_nursery() as nursery:
                async for _ in signals:
                    await self.renew(nursery)

    async def renew(self, nursery: trio.Nursery) -> None:
        """Read everything again, once."""
        try:
            config = self._read_config()
        except ConfigError as error:
            # A slip in a file is told as one, without a traceback.
            log.warning("nothing renewed: bad configuration", problems=error.problems)
            return
        self._authorizer.set_operators(config.operators)
        names = [operator.name for operator in config.operators]
        log.info("operators renewed", operators=names)
        waiting = [
            name
            for name in structs.asdict(config)
            if name != LIST_KEY and getattr(config, name) != getattr(self._config, name)
        ]
        if waiting:
            log.warning("changed settings wait for a restart", sections=waiting)
        try:
            files = _digest(self._config.tls)
            if files != self._files:
                await self._renew_tls(nursery)
                self._files = files
        except OSError as error:
            log.warning("certificates not renewed: bad file", error=str(error))

    async def _renew_tls(self, nursery: trio.Nursery) -> None:
        # The files are checked by whoever would refuse them first.
        self._renew_metrics()
        await self._server.renew(nursery, RENEW_SECONDS)
        nursery.start_soon(self._restart_flight)

    async def _restart_flight(self) -> None:
        if await self._flight.restart():
            log.info("certificates renewed")


def _digest(tls: TlsSettings) -> list[bytes]:
    """What the TLS files hold, to see whether they have changed."""
    paths: list[Path] = [path for path in structs.astuple(tls) if path is not None]
    return [hashlib.blake2b(path.read_bytes()).digest() for path in paths]
