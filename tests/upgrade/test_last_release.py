"""The code of the last release and this one, on one data directory, forwards and back."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from dexruntime.journal.format import FORMAT_VERSION, decode_segment_header
from dexruntime.journal.segment import list_segments
from dexruntime.storage import LOCK_NAME, SECTOR_BYTES, PosixStorage
from tests.support.command_line import call_dex
from tests.support.killed_traders import Trader
from tests.support.load import under_load
from tests.support.markets import open_market, rich_account
from tests.support.node_process import NETWORK_ID, NodeDied, NodeProcess
from tests.support.witnesses import check_node
from tests.upgrade.releases import python_path, releases, unpack

TRADERS = 2
BATCHES = 30


@pytest.fixture
def release_path(tmp_path: Path) -> str:
    """PYTHONPATH of the last release's code."""
    folder = tmp_path / "release"
    folder.mkdir()
    last = releases()[-1]
    if not unpack(last, folder):
        pytest.skip(f"the history of release {last.version} is not here: a shallow clone?")
    return python_path(folder)


def replay_facts(data_dir: Path, path: str | None = None) -> dict[str, object]:
    """What `dex journal replay` says, by this code or by that at a PYTHONPATH."""
    arguments = ["journal", "replay", str(data_dir / "journal"), "--network-id", NETWORK_ID]
    if path is None:
        done = call_dex(*arguments, "--json")
    else:
        done = subprocess.run(
            [sys.executable, "-m", "dexnode", *arguments, "--json"],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    facts: dict[str, object] = json.loads(done.stdout)
    return facts


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the lock, which says who held it last."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != LOCK_NAME}


def test_its_directory_opens_here_and_ours_does_not_open_there(
    tmp_path: Path, release_path: str
) -> None:
    data_dir = tmp_path / "node"
    folder = data_dir / "journal"
    old = NodeProcess(data_dir, environment={"PYTHONPATH": release_path})
    new = NodeProcess(data_dir)
    try:
        old.start()
        open_market(old)
        traders = [
            Trader(*rich_account(old), chance=random.Random(number)) for number in range(TRADERS)
        ]
        with under_load(old, traders, batches=BATCHES), old.operator() as operator:
            operator.admin.take_snapshot()
        assert old.stop() == 0
        theirs = contents(folder)
        written = replay_facts(data_dir, release_path)
        assert sum(len(trader.acknowledged) for trader in traders) >= BATCHES

        assert replay_facts(data_dir)["event_hash"] == written["event_hash"]
        assert contents(folder) == theirs
        new.start()
        for trader in traders:
            trader.retry(new)
        check_node(new, traders)
        with under_load(new, traders, batches=BATCHES), new.operator() as operator:
            operator.admin.take_snapshot()
        assert new.stop() == 0
        segments = list_segments(PosixStorage(folder))
        versions = [
            decode_segment_header((folder / segment.name).read_bytes()[:SECTOR_BYTES]).version
            for segment in segments
        ]
        assert versions == [1, FORMAT_VERSION]
        assert (folder / segments[0].name).read_bytes() == theirs[segments[0].name]

        ours = contents(folder)
        with pytest.raises(NodeDied, match=f"is of format version {FORMAT_VERSION}; this build"):
            old.start()
        assert contents(folder) == ours
        # And without the snapshot, by the segment alone.
        for snapshot in folder.glob("*.dxs"):
            snapshot.unlink()
        ours = contents(folder)
        with pytest.raises(NodeDied, match=f"dxj is of format version {FORMAT_VERSION}; this buil"):
            old.start()
        assert contents(folder) == ours
    finally:
        old.kill()
        new.kill()
