"""Writes a small journal and two snapshots with the code of a release, which must be what imports.

A program of its own: it runs with a PYTHONPATH to the unpacked release (first argument) and writes
the commands of a golden journal (second) into a folder (third). Prints what a reader must find, as
one JSON line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dexruntime
from dexruntime.journal import Identity, JournalReader
from dexruntime.journal.appender import BlockAppender
from dexruntime.journal.format import encode_records
from dexruntime.recovery import recover
from dexruntime.snapshotter import take_snapshot
from dexruntime.storage import PosixStorage

IDENTITY = Identity("triodex-test", 3, 7)
SEGMENT_BYTES = 32 << 10
COMMANDS_PER_BLOCK = 5


def main(release: Path, commands: Path, folder: Path) -> None:
    """Write the files."""
    assert Path(dexruntime.__file__ or "").is_relative_to(release), "other code is imported"
    golden = json.loads(commands.read_text())
    storage = PosixStorage(folder)
    rows = [
        (sequence, time_ns, bytes.fromhex(data), b"envelope %d" % sequence)
        for sequence, (time_ns, data) in enumerate(golden["commands"], 1)
    ]
    thirds = len(rows) // 3
    snapshots: list[int] = []
    for part in (rows[:thirds], rows[thirds : 2 * thirds], rows[2 * thirds :]):
        append(storage, part)
        if len(snapshots) < 2:
            snapshots.append(take_snapshot(storage, IDENTITY)[0].sequence)
    end = recover(storage, IDENTITY, use_snapshot=False)
    found = {
        "sequence": end.exchange.sequence,
        "event_hash": end.exchange.event_hash.hex(),
        "chain": end.end.chain.hex(),
        "snapshots": snapshots,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def append(storage: PosixStorage, rows: list[tuple[int, int, bytes, bytes]]) -> None:
    """Go on with the journal, some commands a block, and leave no spare behind."""
    reader = JournalReader(storage)
    for _ in reader:
        pass
    reader.close()
    appender = BlockAppender(storage, reader.end(), IDENTITY, segment_bytes=SEGMENT_BYTES)
    for first in range(0, len(rows), COMMANDS_PER_BLOCK):
        encoded, sequence, time_ns, chain = encode_records(
            rows[first : first + COMMANDS_PER_BLOCK],
            sequence=appender.sequence,
            time_ns=appender.time_ns,
            chain=appender.chain,
        )
        appender.append(
            b"".join(encoded),
            record_count=len(encoded),
            sequence=sequence,
            time_ns=time_ns,
            chain=chain,
        )
        appender.prepare_spare()
    appender.close()
    storage.remove("journal-spare.tmp")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
