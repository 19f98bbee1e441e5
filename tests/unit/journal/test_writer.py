"""The live writer: group commit, room, failure, rotation, identity."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import AsyncIterator, Callable

import pytest
import trio

from dexruntime.journal import (
    Identity,
    JournalFailed,
    JournalFull,
    JournalMismatch,
    JournalReader,
    JournalWriter,
    Record,
    SyncSample,
    read_journal,
    verify,
)
from dexruntime.journal.segment import SPARE_NAME, list_segments
from dexruntime.storage import Storage
from tests.sim.disk import SimulatedDisk, SimulatedFile
from tests.unit.journal.journals import IDENTITY, make_records

Opener = Callable[..., JournalWriter]


@pytest.fixture
async def open_writer() -> AsyncIterator[Opener]:
    """Opens writers after recovery, as a node does, and closes what a test left open."""
    writers: list[JournalWriter] = []

    def opener(storage: Storage, identity: Identity = IDENTITY, **options: object) -> JournalWriter:
        reader = JournalReader(storage)
        for _ in reader:
            pass
        options.setdefault("segment_bytes", 1 << 18)
        writer = JournalWriter(storage, reader.end(), identity, **options)  # type: ignore[arg-type]
        writers.append(writer)
        return writer

    yield opener
    for writer in writers:
        try:
            await writer.close()
        except JournalFailed:
            pass


async def append_each(writer: JournalWriter, records: list[Record], *, wait: bool = True) -> None:
    """Append records one at a time, until one is refused or the journal fails."""
    for record in records:
        sequence = writer.append([record])
        if wait:
            await writer.wait_durable(sequence)


class HeldDisk(SimulatedDisk):
    """A disk whose datasync waits for the test while ``held``."""

    def __init__(self) -> None:
        super().__init__(random.Random(0))
        self.entered_sync = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.held = False

    def open(self, name: str, access: str = "read") -> SimulatedFile:
        file = super().open(name, access)  # type: ignore[arg-type]
        real = file.datasync

        def datasync() -> None:
            if self.held:
                self.entered_sync.release()
                self.go.acquire()
            real()

        file.datasync = datasync  # type: ignore[method-assign]
        return file


async def test_what_waits_during_a_sync_becomes_one_block(open_writer: Opener) -> None:
    disk = HeldDisk()
    durable: list[int] = []
    samples: list[SyncSample] = []
    writer = open_writer(disk, on_durable=durable.append, on_sync=samples.append)
    records = make_records(random.Random(1), 41)
    writer.append(records[:1])
    await writer.wait_durable(1)
    disk.held = True
    writer.append(records[1:2])
    await trio.to_thread.run_sync(disk.entered_sync.acquire)
    for start in range(2, 40):
        assert writer.append(records[start : start + 1]) == start + 1
    assert (writer.appended_sequence, writer.durable_sequence) == (40, 1)
    disk.held = False
    disk.go.release()
    await writer.wait_durable(40)
    await writer.close()
    assert [sample.record_count for sample in samples] == [1, 1, 38]
    assert durable[-1] == 40
    assert durable == sorted(set(durable))
    assert list(read_journal(disk)) == records[:40]


async def test_nothing_is_reported_while_its_sync_has_not_returned(open_writer: Opener) -> None:
    disk = HeldDisk()
    writer = open_writer(disk)
    first, second = make_records(random.Random(2), 2)
    writer.append([first])
    await writer.wait_durable(1)
    disk.held = True
    writer.append([second])
    await trio.to_thread.run_sync(disk.entered_sync.acquire)
    await trio.testing.wait_all_tasks_blocked()
    assert writer.durable_sequence == 1
    disk.held = False
    disk.go.release()
    await writer.wait_durable(2)


async def test_journals_reopen_where_they_ended_across_many_segments(open_writer: Opener) -> None:
    chance = random.Random(3)
    disk = SimulatedDisk(chance)
    written: list[Record] = []
    for _ in range(6):
        writer = open_writer(disk, segment_bytes=16384)
        for _ in range(12):
            time_ns = written[-1].time_ns if written else 0
            records = make_records(chance, 4, after=len(written), time_ns=time_ns)
            written += records
            await writer.wait_durable(writer.append(records))
        await writer.close()
        assert verify(disk).chain == writer.chain_hash
    assert list(read_journal(disk)) == written
    assert len(list_segments(disk)) > 5
    for start in (1, 2, 100, len(written)):
        assert list(read_journal(disk, start)) == written[start - 1 :]


async def test_the_chain_hash_does_not_depend_on_batches_or_segments(open_writer: Opener) -> None:
    records = make_records(random.Random(4), 60)
    chains = set()
    for batch, segment_bytes in ((1, 1 << 15), (7, 1 << 16), (60, 1 << 20)):
        disk = SimulatedDisk(random.Random(0))
        writer = open_writer(disk, segment_bytes=segment_bytes)
        for start in range(0, 60, batch):
            await writer.wait_durable(writer.append(records[start : start + batch]))
        chains.add(writer.chain_hash)
    assert len(chains) == 1


async def test_a_full_disk_refuses_before_it_takes_and_goes_on_when_there_is_room(
    open_writer: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    disk = SimulatedDisk(random.Random(5), capacity_bytes=3 * 16384 - 1)
    writer = open_writer(disk, segment_bytes=16384)
    records = make_records(random.Random(6), 400)
    with pytest.raises(JournalFull) as caught:
        await append_each(writer, records)
    assert caught.value.reason == "no space"
    was_full = writer.disk_is_full
    assert was_full
    (said,) = caplog.messages
    assert said.startswith("the disk has no room for the journal's next segment:")
    taken = writer.appended_sequence
    assert 10 < taken < 400
    assert (writer.appended_sequence, writer.durable_sequence) == (taken, taken)
    assert list(read_journal(disk)) == records[:taken]
    disk.capacity_bytes = 1 << 20
    with trio.fail_after(10):
        while writer.appended_sequence == taken:
            try:
                writer.append(records[taken : taken + 1])
            except JournalFull:
                await trio.lowlevel.checkpoint()
        await writer.wait_durable(taken + 1)
    assert list(read_journal(disk)) == records[: taken + 1]
    assert not writer.disk_is_full
    assert caplog.messages[1:] == ["the disk has room for the journal's next segment again"]


async def test_a_node_opens_on_a_full_disk_and_refuses(open_writer: Opener) -> None:
    writer = open_writer(SimulatedDisk(random.Random(0), capacity_bytes=1000))
    with pytest.raises(JournalFull, match="no space"):
        writer.append(make_records(random.Random(0), 1))


async def test_a_backlog_is_bounded_and_every_accepted_record_finds_room(
    open_writer: Opener,
) -> None:
    disk = HeldDisk()
    writer = open_writer(disk, segment_bytes=32768, backlog_bytes_max=20000)
    records = make_records(random.Random(7), 200)
    disk.held = True
    with pytest.raises(JournalFull, match="backlog"):
        await append_each(writer, records, wait=False)
    taken = writer.appended_sequence
    assert 10 < taken < 200
    assert writer.backlog_bytes <= 20000
    disk.held = False
    disk.go.release()
    await writer.wait_durable(taken)
    assert writer.backlog_bytes == 0
    assert list(read_journal(disk)) == records[:taken]


@pytest.mark.parametrize("verb", ["write", "datasync", "rename", "sync_directory", "preallocate"])
async def test_a_failed_disk_ends_the_journal_once_and_is_never_asked_again(
    open_writer: Opener, verb: str
) -> None:
    disk = SimulatedDisk(random.Random(8))
    failures: list[BaseException] = []
    durable: list[int] = []
    writer = open_writer(
        disk, segment_bytes=8192, on_failure=failures.append, on_durable=durable.append
    )
    records = make_records(random.Random(9), 300)
    await writer.wait_durable(writer.append(records[:1]))
    disk.fail_once(verb, errno.EIO)
    with pytest.raises(JournalFailed):
        await append_each(writer, records[1:])
    reported, steps = writer.durable_sequence, disk.steps
    with pytest.raises(JournalFailed):
        await writer.wait_durable(reported + 1)
    with pytest.raises(JournalFailed):
        await append_each(writer, records[writer.appended_sequence :])
    with pytest.raises(JournalFailed):
        await writer.close()
    assert [type(failure) for failure in failures] == [OSError]
    assert disk.steps == steps
    assert writer.durable_sequence == reported == max(durable)
    disk.restart()
    assert [r.sequence for r in read_journal(disk)][:reported] == list(range(1, reported + 1))


async def test_gaps_times_running_back_and_batches_too_long_are_refused_whole(
    open_writer: Opener,
) -> None:
    disk = SimulatedDisk(random.Random(10))
    writer = open_writer(disk, segment_bytes=8192)
    writer.append([(1, 50, b"a", b"")])
    for bad in (
        [(3, 60, b"b", b"")],
        [(2, 60, b"b", b""), (2, 60, b"b", b"")],
        [(2, 49, b"b", b"")],
        [(2, 50, bytes(9000), b"")],
    ):
        with pytest.raises(ValueError):
            writer.append(bad)
    assert writer.append([]) == 1
    assert writer.append([(2, 50, b"b", b"e")]) == 2
    await writer.close()
    assert list(read_journal(disk)) == [Record(1, 50, b"a", b""), Record(2, 50, b"b", b"e")]


async def test_another_network_shard_or_an_earlier_epoch_is_refused(open_writer: Opener) -> None:
    disk = SimulatedDisk(random.Random(11))
    writer = open_writer(disk)
    writer.append([(1, 1, b"a", b"")])
    await writer.close()
    for identity in (
        IDENTITY._replace(network_id="other"),
        IDENTITY._replace(shard=4),
        IDENTITY._replace(epoch=IDENTITY.epoch - 1),
    ):
        with pytest.raises(JournalMismatch):
            open_writer(disk, identity)


async def test_a_new_epoch_begins_a_segment_even_after_an_empty_one(open_writer: Opener) -> None:
    disk = SimulatedDisk(random.Random(12))
    for epoch in (7, 8, 9):
        writer = open_writer(disk, IDENTITY._replace(epoch=epoch))
        sequence = writer.appended_sequence + 1
        writer.append([(sequence, 1, b"a", b"")])
        await writer.close()
    assert [segment.first_sequence for segment in list_segments(disk)] == [1, 2, 3]
    assert len(list(read_journal(disk))) == 3


async def test_a_reader_follows_a_live_writer_through_rotations(open_writer: Opener) -> None:
    disk = SimulatedDisk(random.Random(13))
    writer = open_writer(disk, segment_bytes=8192)
    reader = JournalReader(disk)
    records = make_records(random.Random(14), 120)
    seen: list[Record] = []
    for start in range(0, 120, 3):
        await writer.wait_durable(writer.append(records[start : start + 3]))
        seen += reader
        assert seen == records[: start + 3]
    assert len(list_segments(disk)) > 2


async def test_a_spare_left_by_a_crash_is_made_anew(open_writer: Opener) -> None:
    disk = SimulatedDisk(random.Random(15))
    disk.put(SPARE_NAME, b"half a spare")
    writer = open_writer(disk)
    await writer.wait_durable(writer.append([(1, 1, b"a", b"")]))
    assert len(list(read_journal(disk))) == 1
