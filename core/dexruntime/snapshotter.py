"""The second process that writes snapshots: ``python -m dexruntime.snapshotter``.

It reads the same files the node writes, so taking a snapshot costs the node
nothing but disk bandwidth and what a neighbour on the next core takes, which is
why it takes its time. It proves on the way that the journal replays.
Prints one JSON line: sequence, state_hash, size_bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Final

from dexruntime import pace
from dexruntime.journal import Identity
from dexruntime.recovery import make_snapshot, recover
from dexruntime.snapshot_file import Snapshot, write_snapshot
from dexruntime.storage import PosixStorage, Storage

# A snapshot has time; an order has not.
NICENESS: Final = 15


def take_snapshot(
    storage: Storage, identity: Identity, durable_sequence: int | None = None
) -> tuple[Snapshot, str]:
    """Publish a snapshot of everything journaled; returns it and its file's name.

    A snapshot must not outlive a record, or the journal would end before it. A node that runs
    therefore says what is durable. Syncing its journal for it could not make sure: a sync that
    failed here may have dropped what the node has written, and leave none to fail for the node.
    """
    recovered = recover(storage, identity, to_sequence=durable_sequence)
    if durable_sequence is None and recovered.end.name:
        segment = storage.open(recovered.end.name)
        try:
            segment.datasync()
        finally:
            segment.close()
    snapshot = make_snapshot(recovered, identity)
    return snapshot, write_snapshot(storage, snapshot)


def main(arguments: list[str] | None = None) -> int:
    """Write one snapshot; returns the exit code."""
    parser = argparse.ArgumentParser(prog="dexruntime.snapshotter", description=__doc__)
    parser.add_argument("directory", type=Path, help="the node's journal directory")
    parser.add_argument("--network-id", required=True)
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--epoch", type=int, default=1)
    parser.add_argument("--durable-sequence", type=int, help="of the node that runs there")
    parser.add_argument(
        "--unhurried-seconds", type=float, default=0.0, help="how long to spare the other cores too"
    )
    options = parser.parse_args(arguments)
    # The node that asked goes on trading on the same cores.
    os.nice(NICENESS)
    identity = Identity(options.network_id, options.shard, options.epoch)
    with pace.unhurried(options.unhurried_seconds):
        snapshot, name = take_snapshot(
            PosixStorage(options.directory), identity, options.durable_sequence
        )
    size_bytes = (options.directory / name).stat().st_size
    report = {
        "sequence": snapshot.sequence,
        "state_hash": snapshot.state_hash.hex(),
        "size_bytes": size_bytes,
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
