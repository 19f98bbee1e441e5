"""Time to ready: a node on a journal of many commands, without a snapshot and with one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from dexcore.commands import decode_command
from dexnode.telemetry import REPLAYED, REPLAYING
from dexruntime.journal import JournalReader
from dexruntime.journal.segment import list_segments
from dexruntime.storage import PosixStorage
from tests.bench import long_journal
from tests.bench.bench_node import BENCH_DIR, NETWORK_ID, NotMeasurable, disk_folder
from tests.bench.report import Limit, Peer, Row
from tests.support.node_process import NodeProcess

QUICK_COMMANDS: Final = 50_000
COMMANDS: Final = 200_000
TARGET_COMMANDS: Final = 10_000_000
READY_SECONDS_MAX: Final = 60.0
READY_WITH_SNAPSHOT_SECONDS_MAX: Final = 5.0
START_SECONDS: Final = 3_600.0
SAMPLE_COMMANDS: Final = 100_000
CHUNK_BYTES: Final = 1 << 20


def measure(*, commands: int, say: Callable[[str], None]) -> list[Row]:
    """A node's start on a journal of so many commands, and what it stands beside."""
    source = long_journal.make(commands, say)
    data_dir = BENCH_DIR / "replay"
    shutil.rmtree(data_dir, ignore_errors=True)
    filesystem = disk_folder(data_dir)
    folder = data_dir / "journal"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("made"))
    raw_seconds, raw_bytes = read_raw(PosixStorage(folder))
    decode_rate = decode_commands(PosixStorage(folder))
    node = NodeProcess(data_dir, network_id=NETWORK_ID, start_seconds=START_SECONDS)
    try:
        say(f"replay: a node on {commands:,} commands without a snapshot")
        ready, replay = start(node)
        say(f"  ready after {ready:.1f} s, of which {replay:.1f} s replay")
        snapshot_seconds, snapshot_bytes = take_snapshot(folder)
        say(f"  a snapshot took {snapshot_seconds:.1f} s; the same node with it")
        ready_with, _ = start(node)
        say(f"  ready after {ready_with:.1f} s")
    finally:
        node.kill()
        shutil.rmtree(data_dir, ignore_errors=True)
    conditions = (
        f"single orders of {long_journal.MAKERS} makers and takers, {raw_bytes / 1e6:,.0f} MB of "
        f"journal in the page cache, {filesystem}"
    )
    # The targets are for ten million commands: shorter journals have theirs in proportion.
    share = commands / TARGET_COMMANDS
    raw = Peer("read and CRC of the files", raw_seconds)
    return [
        Row(
            "replay, commands applied",
            commands / replay,
            "commands/s",
            f"read, checked, applied, views made; {conditions}",
            Peer("bare decode", decode_rate),
        ),
        Row(
            f"ready with {commands:,} commands, no snapshot",
            ready,
            "s",
            f"from exec to ready, {ready - replay:.1f} s of it not replay; {conditions}",
            raw,
            Limit("value", True, READY_SECONDS_MAX * share),
        ),
        Row(
            f"ready with {commands:,} commands and a snapshot",
            ready_with,
            "s",
            f"from exec to ready, snapshot of {snapshot_bytes / 1e6:.0f} MB; {conditions}",
            raw,
            Limit("value", True, READY_WITH_SNAPSHOT_SECONDS_MAX),
        ),
        Row("snapshot process", snapshot_seconds, "s", f"replay, write, sync; {conditions}"),
    ]


def start(node: NodeProcess) -> tuple[float, float]:
    """Seconds from exec to ready and, of these, from opening the journal to its end; stops it."""
    log_start = node.log_path.stat().st_size if node.log_path.exists() else 0
    started = time.perf_counter()
    node.start()
    ready = time.perf_counter() - started
    node.stop()
    lines = node.log_path.read_bytes()[log_start:].splitlines()
    events = [json.loads(line) for line in lines if line.startswith(b"{")]
    times: dict[str, float] = {}
    for event in events:
        # The first line of either kind: later ones of the beginning are progress.
        name = str(event["event"])
        times.setdefault(name, datetime.fromisoformat(event["timestamp"]).timestamp())
    if REPLAYING not in times or REPLAYED not in times:
        raise NotMeasurable("the node's log does not say when it replayed")
    return ready, times[REPLAYED] - times[REPLAYING]


def take_snapshot(folder: Path) -> tuple[float, int]:
    """Seconds of the snapshot process, and the bytes it wrote."""
    command = [sys.executable, "-m", "dexruntime.snapshotter", str(folder)]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--network-id", NETWORK_ID], stdout=subprocess.PIPE, text=True, check=True
    )
    size_bytes: int = json.loads(done.stdout)["size_bytes"]
    return time.perf_counter() - started, size_bytes


def read_raw(storage: PosixStorage) -> tuple[float, int]:
    """Seconds to read every segment and take its CRC, and their bytes: nothing can be faster."""
    started, total, crc = time.perf_counter(), 0, 0
    for segment in list_segments(storage):
        file, offset = storage.open(segment.name), 0
        while data := file.read(offset, CHUNK_BYTES):
            crc = zlib.crc32(data, crc)
            offset += len(data)
        file.close()
        total += offset
    return time.perf_counter() - started, total


def decode_commands(storage: PosixStorage) -> float:
    """Commands a second that are read, checked and decoded, and not applied."""
    started, count = time.perf_counter(), 0
    reader = JournalReader(storage)
    for record in reader:
        decode_command(record.command)
        count += 1
        if count == SAMPLE_COMMANDS:
            break
    reader.close()
    return count / (time.perf_counter() - started)
