"""The committed journal and snapshots of each release open here; we go on in our own segments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dexcore.commands import ClockTick, encode_command
from dexruntime.journal import Record, verify
from dexruntime.journal.format import FORMAT_VERSION, Identity, decode_segment_header
from dexruntime.journal.segment import list_segments
from dexruntime.recovery import recover
from dexruntime.snapshot_file import list_snapshots, newest_good_snapshot
from dexruntime.snapshotter import take_snapshot
from dexruntime.storage import SECTOR_BYTES, PosixStorage
from tests.unit.journal.journals import append_block, open_appender
from tests.upgrade.releases import FOLDER, releases

IDENTITY = Identity("triodex-test", 3, 7)
VERSIONS = [release.version for release in releases()]


@pytest.fixture(params=VERSIONS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[PosixStorage, dict[str, Any]]:
    """A copy of a release's files, and what must be found in them."""
    folder = tmp_path / "journal"
    shutil.copytree(FOLDER / request.param, folder)
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    return PosixStorage(folder), expected


def test_they_replay_to_what_the_release_saw(
    written: tuple[PosixStorage, dict[str, Any]],
) -> None:
    storage, expected = written
    report = verify(storage)
    assert (report.damage, report.torn) == (None, None)
    assert report.chain.hex() == expected["chain"]
    assert list_snapshots(storage) == expected["snapshots"]
    full = recover(storage, IDENTITY, use_snapshot=False)
    quick = recover(storage, IDENTITY)
    assert quick.snapshot_sequence == expected["snapshots"][-1]
    for found in (full, quick):
        assert found.exchange.sequence == expected["sequence"]
        assert found.exchange.event_hash.hex() == expected["event_hash"]


def test_going_on_begins_a_segment_and_leaves_theirs_alone(
    written: tuple[PosixStorage, dict[str, Any]],
) -> None:
    storage, expected = written
    theirs = {name: (storage.directory / name).read_bytes() for name in storage.list_names()}
    last = recover(storage, IDENTITY).exchange
    appender = open_appender(storage, segment_bytes=64 << 10)
    tick = Record(last.sequence + 1, last.time_ns + 1, encode_command(ClockTick()), b"")
    append_block(appender, [tick])
    appender.close()
    for name, data in theirs.items():
        assert (storage.directory / name).read_bytes() == data, "a file of the release was changed"
    newest = storage.directory / list_segments(storage)[-1].name
    assert newest.name not in theirs
    assert decode_segment_header(newest.read_bytes()[:SECTOR_BYTES]).version == FORMAT_VERSION
    full = recover(storage, IDENTITY, use_snapshot=False)
    assert full.exchange.sequence == expected["sequence"] + 1
    snapshot, _ = take_snapshot(storage, IDENTITY)
    assert snapshot == newest_good_snapshot(storage)
    assert snapshot.event_hash == full.exchange.event_hash
