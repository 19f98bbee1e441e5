"""The parts by themselves: journal appends, and replay (``python -m tests.bench.journal DIR``)."""

from __future__ import annotations

import json
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import trio

from dexcore.commands import OrderCommand, decode_command
from dexcore.items import ITEM
from dexnode.collector import set_thresholds
from dexruntime.journal import Identity, JournalReader, JournalWriter, SyncSample
from dexruntime.recovery import recover
from dexruntime.storage import PosixStorage
from tests.bench.bench_node import BENCH_DIR, NETWORK_ID, disk_folder
from tests.bench.report import Row

EPOCH: Final = 1
RECORD_BYTES: Final = (120, 260)
BATCH_RECORDS: Final = 512
IN_FLIGHT: Final = 4


def measure_appends(*, quick: bool) -> list[Row]:
    """Records of a command and an envelope of usual size, made durable."""
    seconds = 1.0 if quick else 10.0
    folder = BENCH_DIR / "journal"
    shutil.rmtree(folder, ignore_errors=True)
    filesystem = disk_folder(folder)
    rows = []
    for batch in (1, BATCH_RECORDS):
        samples: list[SyncSample] = []
        count = trio.run(_append, folder / str(batch), batch, seconds, samples)
        latency_us = statistics.median(sample.latency_ns for sample in samples) / 1000
        rows.append(
            Row(
                f"journal, batches of {batch}",
                count / seconds,
                "records/s",
                f"{sum(RECORD_BYTES)} bytes a record, {IN_FLIGHT} batches in flight, fdatasync on "
                f"{filesystem}, median {latency_us:.0f} us a write and sync, {seconds:.0f} s",
            )
        )
    shutil.rmtree(folder)
    return rows


async def _append(folder: Path, batch: int, seconds: float, samples: list[SyncSample]) -> int:
    folder.mkdir(parents=True)
    storage = PosixStorage(folder)
    reader = JournalReader(storage)
    list(reader)
    writer = JournalWriter(
        storage,
        reader.end(),
        Identity(NETWORK_ID, 0, EPOCH),
        on_sync=samples.append,
    )
    command, envelope = (secrets.token_bytes(size) for size in RECORD_BYTES)
    sequence = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now_ns = time.time_ns()
        records = [(sequence + n, now_ns, command, envelope) for n in range(1, batch + 1)]
        sequence = writer.append(records)
        await writer.wait_durable(max(0, sequence - batch * (IN_FLIGHT - 1)))
    await writer.wait_durable(sequence)
    await writer.close()
    return sequence


def measure_replay(name: str, journal_dir: Path) -> list[Row]:
    """Recover the journal of a node that has stopped, in a process of its own, without snapshot."""
    command = [sys.executable, "-m", "tests.bench.journal", str(journal_dir)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    conditions = (
        f"{found['commands']} commands, {found['items']} items, read, checked, applied, views made"
    )
    return [
        Row(f"replay of {name}", found["commands"] / found["seconds"], "commands/s", conditions),
        Row(f"replay of {name}, items", found["items"] / found["seconds"], "items/s", conditions),
    ]


def main() -> None:
    """Replay and print what it took."""
    storage = PosixStorage(Path(sys.argv[1]))
    set_thresholds(calls_in_flight=0)
    started = time.perf_counter()
    recovered = recover(storage, Identity(NETWORK_ID, 0, EPOCH), use_snapshot=False)
    seconds = time.perf_counter() - started
    commands = (decode_command(record.command) for record in JournalReader(storage))
    items = sum(len(each.items) // ITEM.size for each in commands if type(each) is OrderCommand)
    print(
        json.dumps(
            {"seconds": seconds, "commands": recovered.replayed_count, "items": items},
        )
    )


if __name__ == "__main__":
    main()
