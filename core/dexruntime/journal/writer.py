"""Group commit: the Trio thread encodes, one journal thread makes durable.

Theory of operation. ``append`` runs on the Trio thread: it encodes, extends the chain hash, checks
that the disk has room, and hands one blob over. The journal thread takes all blobs that wait, makes
one block of them, and returns from one datasync; so the block grows with the load, and its price
per record falls. Then one wake-up on the Trio thread tells ``on_durable`` and the waiters.

Room is promised before a record is taken. Each blob is charged as if it became a block of its own.
What was taken and is not written yet must fit into the present segment, or else whole into the
spare one: then it fits however the thread groups it. The counters have one writer each, and the
thread publishes its side as one tuple, so no lock is held on the Trio thread.

A write or datasync that fails is never repeated and ends the process: ``on_failure`` is called
once, on the journal thread, and nothing is reported durable after it.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

import trio

from dexruntime.journal.appender import SEGMENT_BYTES, BlockAppender
from dexruntime.journal.errors import JournalFailed, JournalFull
from dexruntime.journal.format import (
    BLOCK_OVERHEAD_BYTES_MAX,
    Identity,
    encode_records,
)
from dexruntime.journal.reader import JournalEnd
from dexruntime.journal.worker import ThreadWorker, Worker
from dexruntime.storage import Storage

_log = logging.getLogger(__name__)

EXIT_JOURNAL_FAILED = 70
BACKLOG_BYTES_MAX = 32 << 20


class _Blob(NamedTuple):
    data: bytes
    record_count: int
    sequence: int
    time_ns: int
    chain: bytes


_STOP = _Blob(b"", 0, 0, 0, b"stop")
_PREPARE = _Blob(b"", 0, 0, 0, b"prepare")


class _Room(NamedTuple):
    """What the journal thread knows: bytes it is done with, and where more would fit."""

    written_bytes: int
    free_bytes: int
    spare_bytes: int


class SyncSample(NamedTuple):
    """One block made durable: time in write and datasync, and what was in it."""

    latency_ns: int
    record_count: int
    body_bytes: int


def end_process(error: BaseException, what: str = "journal") -> NoReturn:
    """Default ``on_failure``: say why and end at once, without running any handler."""
    print(f"{what} failed, ending the process: {error!r}", file=sys.stderr, flush=True)
    os._exit(EXIT_JOURNAL_FAILED)


class JournalWriter:
    """Appends records after ``end``, the end a JournalReader found, with group commit.

    The constructor blocks on the disk (repair, preallocation) and starts the journal thread.
    ``append`` and ``wait_durable`` belong to the Trio run that made it.

    Args:
        storage: The data directory; the caller holds its lock.
        end: ``JournalReader.end()`` after all records were read.
        identity: Network, shard and epoch; an epoch newer than the journal's begins a segment.
        worker: What the journal's thread is; one of its own if none is given.
        on_durable: Called on the Trio thread with the last durable sequence, once per wake-up.
        on_sync: Called on the journal thread after each datasync, for a latency histogram.
        on_failure: Called once, on the journal thread, with what broke the journal.
        segment_bytes: Size of new segments, a multiple of 512.
        backlog_bytes_max: Most bytes taken and not yet written.

    Raises:
        JournalMismatch: The directory is of another network or shard, or of a later epoch.
        OSError: The disk failed; a full disk is no failure, ``append`` refuses until there is room.
    """

    def __init__(
        self,
        storage: Storage,
        end: JournalEnd,
        identity: Identity,
        *,
        worker: Worker[_Blob] | None = None,
        on_durable: Callable[[int], None] | None = None,
        on_sync: Callable[[SyncSample], None] | None = None,
        on_failure: Callable[[BaseException], object] = end_process,
        segment_bytes: int = SEGMENT_BYTES,
        backlog_bytes_max: int = BACKLOG_BYTES_MAX,
    ) -> None:
        self._appender = BlockAppender(storage, end, identity, segment_bytes=segment_bytes)
        self._on_durable = on_durable
        self._on_sync = on_sync
        self._on_failure = on_failure
        self._backlog_bytes_max = backlog_bytes_max
        self._worker: Worker[_Blob] = ThreadWorker() if worker is None else worker
        self._held: _Blob | None = None
        self._taken_bytes = 0
        self._spare_asked = False
        self._disk_is_full = False
        self._closing = False
        self._failure: BaseException | None = None
        self._appended_sequence = self._announced_sequence = self._appender.sequence
        self._durable_sequence = self._appender.sequence
        self._time_ns = self._appender.time_ns
        self._chain = self._appender.chain
        self._durable_changed = trio.Event()
        self._written_bytes = 0
        self._room = self._measure_room()
        self._worker.start(self._run)

    @property
    def appended_sequence(self) -> int:
        """Sequence of the last record taken."""
        return self._appended_sequence

    @property
    def durable_sequence(self) -> int:
        """Sequence of the last record that no crash can lose."""
        return self._durable_sequence

    @property
    def disk_is_full(self) -> bool:
        """Whether the disk had no room for the next segment when it was last asked."""
        return self._disk_is_full

    @property
    def chain_hash(self) -> bytes:
        """Chain hash (16 bytes) after the last record taken."""
        return self._chain

    @property
    def backlog_bytes(self) -> int:
        """Bytes taken and not yet durable, with their worst-case framing."""
        return self._taken_bytes - self._room.written_bytes

    def append(self, records: Sequence[tuple[int, int, bytes, bytes]]) -> int:
        """Take (sequence, time_ns, command, envelope) records; returns the last sequence.

        All of them or none are taken. They become durable in order, later.

        Raises:
            JournalFull: No room on the disk, or too much is waiting; try again later.
            JournalFailed: The journal is broken or closed.
            ValueError: A sequence leaves a gap, a time runs backwards, or the batch is longer
                than ``body_bytes_max``.
        """
        if self._failure is not None or self._closing:
            raise JournalFailed("the journal takes no more records")
        encoded, sequence, time_ns, chain = encode_records(
            records, sequence=self._appended_sequence, time_ns=self._time_ns, chain=self._chain
        )
        if not encoded:
            return sequence
        data = b"".join(encoded)
        self._reserve(len(data))
        self._appended_sequence, self._time_ns, self._chain = sequence, time_ns, chain
        self._worker.put(_Blob(data, len(encoded), sequence, time_ns, chain))
        return sequence

    async def wait_durable(self, sequence: int) -> None:
        """Return once no crash can lose the record; raises JournalFailed if that never comes."""
        while self._announced_sequence < sequence:
            if self._failure is not None:
                raise JournalFailed("the journal failed before this record was durable")
            await self._durable_changed.wait()

    async def close(self) -> None:
        """Make durable what was taken and end the thread; raises JournalFailed if it could not."""
        if not self._closing:
            self._closing = True
            self._worker.put(_STOP)
        with trio.CancelScope(shield=True):
            await self._worker.join()
        self._announce()
        if self._failure is not None:
            raise JournalFailed("the journal failed before all records were durable")

    def _reserve(self, data_bytes: int) -> None:
        """Charge a blob to the room that is left, or raise."""
        if data_bytes > self._appender.body_bytes_max:
            raise ValueError(
                f"a batch of {data_bytes} bytes is longer than {self._appender.body_bytes_max}"
            )
        room = self._room
        waiting = self._taken_bytes - room.written_bytes + data_bytes + BLOCK_OVERHEAD_BYTES_MAX
        if waiting > max(room.free_bytes, room.spare_bytes):
            if not room.spare_bytes:
                self._ask_for_spare()
                raise JournalFull("no space")
            raise JournalFull("backlog")
        if waiting > self._backlog_bytes_max:
            raise JournalFull("backlog")
        self._taken_bytes += data_bytes + BLOCK_OVERHEAD_BYTES_MAX

    def _ask_for_spare(self) -> None:
        if not self._spare_asked:
            self._spare_asked = True
            self._worker.put(_PREPARE)

    def _announce(self) -> None:
        """On the Trio thread: tell what has become durable since the last time."""
        durable = self._durable_sequence
        if durable > self._announced_sequence:
            self._announced_sequence = durable
            if self._on_durable is not None:
                self._on_durable(durable)
        changed, self._durable_changed = self._durable_changed, trio.Event()
        changed.set()

    def _run(self) -> None:
        """The journal thread."""
        try:
            while (blobs := self._take())[0] is not _STOP:
                self._write([blob for blob in blobs if blob is not _PREPARE])
            self._appender.close()
        except BaseException as error:  # noqa: BLE001  whatever broke the journal ends the process
            self._failure = error
            try:
                self._on_failure(error)
            finally:
                self._worker.tell(self._announce)

    def _take(self) -> list[_Blob]:
        """Wait for blobs and take what fits one block; ``_STOP`` always comes alone."""
        blobs = [self._held if self._held is not None else self._worker.get()]
        self._held = None
        body_bytes = len(blobs[0].data)
        while blobs[0] is not _STOP:
            blob = self._worker.get_waiting()
            if blob is None:
                break
            body_bytes += len(blob.data)
            if blob is _STOP or body_bytes > self._appender.body_bytes_max:
                self._held = blob
                break
            blobs.append(blob)
        return blobs

    def _write(self, blobs: list[_Blob]) -> None:
        """Make one block durable, say so, and see that a spare segment stands ready."""
        if blobs:
            last = blobs[-1]
            body = b"".join([blob.data for blob in blobs])
            record_count = sum([blob.record_count for blob in blobs])
            started_ns = time.perf_counter_ns()
            self._appender.append(
                body,
                record_count=record_count,
                sequence=last.sequence,
                time_ns=last.time_ns,
                chain=last.chain,
            )
            latency_ns = time.perf_counter_ns() - started_ns
            self._written_bytes += len(body) + len(blobs) * BLOCK_OVERHEAD_BYTES_MAX
            self._durable_sequence = last.sequence
            self._room = self._measure_room()
            self._worker.tell(self._announce)
            if self._on_sync is not None:
                self._on_sync(SyncSample(latency_ns, record_count, len(body)))
        # After each block, until there is one: a disk that was full is found free before the
        # present segment ends, and nobody is refused for it.
        if not self._appender.spare_bytes:
            self._say_full(not self._appender.prepare_spare())
            self._spare_asked = False
            self._room = self._measure_room()

    def _say_full(self, is_full: bool) -> None:
        """Tell the operator once that the disk is full, and once that it no longer is."""
        if is_full is self._disk_is_full:
            return
        self._disk_is_full = is_full
        if is_full:
            _log.warning(
                "the disk has no room for the journal's next segment: "
                "commands are refused when the present one is full"
            )
        else:
            _log.warning("the disk has room for the journal's next segment again")

    def _measure_room(self) -> _Room:
        appender = self._appender
        return _Room(self._written_bytes, appender.free_bytes, appender.spare_bytes)
