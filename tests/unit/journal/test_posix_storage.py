"""The real file system: the same journal, a lock between processes, an end by exit."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from dexruntime.journal import JournalReader, JournalWriter, read_journal, verify
from dexruntime.journal.segment import list_segments
from dexruntime.journal.writer import EXIT_JOURNAL_FAILED
from dexruntime.snapshot_file import newest_good_snapshot, write_snapshot
from dexruntime.storage import PosixStorage, StorageInUse
from tests.unit.journal.journals import IDENTITY, make_records
from tests.unit.journal.test_snapshot_file import make_snapshot

HOLD_LOCK = """
import sys
from dexruntime.storage import PosixStorage
held = PosixStorage(sys.argv[1]).lock()
print("locked", flush=True)
sys.stdin.read()
"""

FAIL_SYNC = """
import errno, os, sys, trio
from dexruntime.journal import Identity, JournalReader, JournalWriter
from dexruntime.storage import PosixStorage
async def main():
    storage = PosixStorage(sys.argv[1])
    reader = JournalReader(storage)
    assert list(reader) == []
    writer = JournalWriter(storage, reader.end(), Identity("n", 0, 0))
    await writer.wait_durable(writer.append([(1, 1, b"first", b"")]))
    def datasync(_):
        raise OSError(errno.EIO, "the disk is gone")
    os.fdatasync = datasync
    await writer.wait_durable(writer.append([(2, 2, b"second", b"")]))
    print("reported durable")
trio.run(main)
"""


async def test_a_journal_on_a_real_disk_rotates_and_reads_back(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path / "made" / "data")
    records = make_records(random.Random(1), 200)
    for start in (0, 100):
        reader = JournalReader(storage)
        assert list(reader) == records[:start]
        reader.close()
        writer = JournalWriter(storage, reader.end(), IDENTITY, segment_bytes=1 << 15)
        for first in range(start, start + 100, 4):
            await writer.wait_durable(writer.append(records[first : first + 4]))
        await writer.close()
    assert list(read_journal(PosixStorage(storage.directory, read_only=True))) == records
    report = verify(storage)
    assert (report.damage, report.torn, report.records) == (None, None, 200)
    assert report.segments == len(list_segments(storage)) > 2
    sizes = {path.stat().st_size for path in storage.directory.glob("journal-*")}
    assert sizes == {1 << 15}


def test_snapshots_on_a_real_disk(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path)
    for sequence in (1, 2, 3):
        write_snapshot(storage, make_snapshot(sequence))
    assert newest_good_snapshot(storage) == make_snapshot(3)
    assert len(storage.list_names()) == 2


def test_two_processes_never_share_a_data_directory(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(StorageInUse, match=f"process {holder.pid}") as caught:
            PosixStorage(tmp_path).lock()
        assert caught.value.pid == holder.pid
        holder.kill()
        holder.wait()
    held = PosixStorage(tmp_path).lock()
    with pytest.raises(StorageInUse):
        PosixStorage(tmp_path).lock()
    held.close()
    PosixStorage(tmp_path).lock().close()


def test_a_failed_datasync_ends_the_process_and_reports_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAIL_SYNC, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == EXIT_JOURNAL_FAILED
    assert "the disk is gone" in done.stderr
    assert done.stdout == ""
    assert [r.command for r in read_journal(PosixStorage(tmp_path))][:1] == [b"first"]


def test_a_read_only_storage_makes_no_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PosixStorage(tmp_path / "absent", read_only=True)
    assert not (tmp_path / "absent").exists()
