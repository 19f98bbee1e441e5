"""The second process that writes snapshots: ``python -m dexruntime.snapshotter``.

It reads the same files the node writes, so taking a snapshot costs the node
nothing but disk bandwidth, and it proves on the way that the journal replays.
Prints one JSON line: sequence, state_hash, size_bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dexruntime.journal import Identity
from dexruntime.recovery import make_snapshot, recover
from dexruntime.snapshot_file import write_snapshot
from dexruntime.storage import PosixStorage


def main(arguments: list[str] | None = None) -> int:
    """Write one snapshot; returns the exit code."""
    parser = argparse.ArgumentParser(prog="dexruntime.snapshotter", description=__doc__)
    parser.add_argument("directory", type=Path, help="the node's journal directory")
    parser.add_argument("--network-id", required=True)
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--epoch", type=int, default=1)
    options = parser.parse_args(arguments)
    identity = Identity(options.network_id, options.shard, options.epoch)
    storage = PosixStorage(options.directory)
    recovered = recover(storage, identity)
    if recovered.exchange.sequence == recovered.snapshot_sequence:
        sys.stderr.write("nothing was journaled since the newest snapshot\n")
    snapshot = make_snapshot(recovered, identity)
    name = write_snapshot(storage, snapshot)
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
