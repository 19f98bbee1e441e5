"""A running shard: recovered state, journal, sequencer and verifier, as one thing to start."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import trio

from dexcore.exchange import Exchange
from dexruntime.clock import ClockNs, system_clock_ns
from dexruntime.cold_trades import ColdTrades
from dexruntime.journal import Identity, JournalError, JournalWriter, SyncSample
from dexruntime.journal.appender import SEGMENT_BYTES
from dexruntime.journal.segment import list_segments
from dexruntime.journal.worker import Worker
from dexruntime.journal.writer import end_process
from dexruntime.recovery import Progress, recover
from dexruntime.retention import DerivedStore, remove_covered
from dexruntime.sequencer import OutcomeObserver, Sequencer
from dexruntime.snapshot_file import list_snapshots
from dexruntime.storage import Storage
from dexruntime.verifier import SignatureVerifier
from dexruntime.views import Views

_log = logging.getLogger(__name__)
# An operator who asked for a snapshot waits for it.
UNHURRIED_SECONDS_MAX: Final = 300.0


class SnapshotReport(NamedTuple):
    """A snapshot that is on disk."""

    sequence: int
    state_hash: str
    size_bytes: int


class SnapshotFailed(Exception):
    """The snapshot process ended with an error; its output is the message."""


@final
class Shard:
    """One shard on its data directory. ``open`` recovers it, ``run`` serves it."""

    def __init__(
        self,
        storage: Storage,
        identity: Identity,
        *,
        clock_ns: ClockNs = system_clock_ns,
        observer: OutcomeObserver | None = None,
        on_sync: Callable[[SyncSample], None] | None = None,
        on_failure: Callable[[BaseException], object] = end_process,
        segment_bytes: int = SEGMENT_BYTES,
        remove_covered_segments: bool = False,
        progress: Progress | None = None,
        cold_trades: ColdTrades | None = None,
        worker: Worker[Any] | None = None,
    ) -> None:
        """Recover the shard and go on where its journal ends; blocks while it replays.

        A journal keeps its epoch; that of ``identity`` is for a new one.

        ``on_failure`` is called on the journal's thread when the disk fails; it ends the
        process. ``cold_trades`` takes what is old out of memory; without it all trades stay there.
        ``worker`` is the journal's thread, one of its own if none is given.

        Raises: what :func:`dexruntime.recovery.recover` raises, StorageInUse, OSError.
        """
        self._storage = storage
        self._remove_covered = remove_covered_segments
        # What follows the journal; retention waits for the slowest.
        self.derived_stores: list[DerivedStore] = []
        self.removed_segments = 0
        self._lock = storage.lock()
        try:
            on_full = None if cold_trades is None else cold_trades.take
            recovered = recover(storage, identity, progress=progress, on_full=on_full)
            header = recovered.end.header
            if header is not None and header.identity.epoch > identity.epoch:
                identity = header.identity
            self.identity = identity
            self._journal = JournalWriter(
                storage,
                recovered.end,
                identity,
                worker=worker,
                on_sync=on_sync,
                on_failure=on_failure,
                segment_bytes=segment_bytes,
            )
        except BaseException:
            self._lock.close()
            raise
        self.exchange: Exchange = recovered.exchange
        self.views: Views = recovered.views
        self.replayed_count = recovered.replayed_count
        self.sequencer = Sequencer(
            self.exchange,
            self.views,
            self._journal,
            clock_ns,
            observer,
        )
        self.verifier = SignatureVerifier()
        self._snapshotting = trio.Lock()
        self._snapshot_begun_at = 0.0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then make durable what was taken."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.verifier.run)
                await nursery.start(self.sequencer.run)
                self._snapshot_begun_at = trio.current_time()
                task_status.started()
        finally:
            try:
                await self._journal.close()
            finally:
                self._lock.close()

    @property
    def journal_disk_is_full(self) -> bool:
        """Whether commands are refused, or soon will be, until the disk has room."""
        return self._journal.disk_is_full

    @property
    def snapshot_sequence(self) -> int:
        """Journal position of the newest snapshot; zero without one."""
        return max(list_snapshots(self._storage), default=0)

    async def take_snapshot(self, directory: Path) -> SnapshotReport:
        """Let a second process replay the journal and write a snapshot.

        Raises:
            SnapshotFailed: it could not.
        """
        await self.sequencer.settled()
        command = [
            sys.executable,
            "-m",
            "dexruntime.snapshotter",
            str(directory),
            "--network-id",
            self.identity.network_id,
            "--shard",
            str(self.identity.shard),
            "--epoch",
            str(self.identity.epoch),
        ]
        async with self._snapshotting:
            now = trio.current_time()
            since, self._snapshot_begun_at = now - self._snapshot_begun_at, now
            # In no more time than it took to make what it replays, or it would fall behind.
            command += ["--unhurried-seconds", f"{min(since, UNHURRIED_SECONDS_MAX):.1f}"]
            command += ["--durable-sequence", str(self.sequencer.durable_sequence)]
            done = await trio.run_process(
                command, capture_stdout=True, capture_stderr=True, check=False
            )
            if done.returncode:
                raise SnapshotFailed(done.stderr.decode(errors="replace")[-2_000:])
            if self._remove_covered:
                await self._remove_covered_segments()
        return _report(done.stdout)

    async def _remove_covered_segments(self) -> None:
        stores = tuple(self.derived_stores)
        try:
            names = await trio.to_thread.run_sync(remove_covered, self._storage, stores)
        except (JournalError, OSError) as error:
            # The snapshot is there, and a segment too many harms nobody.
            _log.warning("no segment was removed: %s", error)
        else:
            self.removed_segments += len(names)

    @property
    def oldest_sequence(self) -> int:
        """Journal position of the oldest record that is kept."""
        segments = list_segments(self._storage)
        return segments[0].first_sequence if segments else 1


def _report(line: bytes) -> SnapshotReport:
    row = json.loads(line)
    return SnapshotReport(row["sequence"], row["state_hash"], row["size_bytes"])
