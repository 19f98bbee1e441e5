"""Removing segments of the journal that nothing needs any more.

A segment may go once a start does not need it, and no reader that keeps what it made of it does:
the older of the two kept snapshots covers it, so that one damaged snapshot still leaves a way in,
and every derived store has durably applied it. Whole segments go, the oldest first, each removal
durable before the next: whatever a crash leaves is a journal without a gap.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

from dexruntime.journal.segment import list_segments
from dexruntime.snapshot_file import SNAPSHOTS_KEPT, list_snapshots, read_snapshot
from dexruntime.storage import Storage


class DerivedStore(Protocol):
    """Something on disk that is made from the journal and follows it."""

    @property
    def name(self) -> str:
        """Which store, for people and metrics."""

    @property
    def applied_sequence(self) -> int:
        """Journal position up to which no crash makes the store ask for the journal again."""


def covered_sequence(storage: Storage, stores: Sequence[DerivedStore]) -> int:
    """Up to where nothing needs the journal; 0 before there are two snapshots.

    Raises:
        SnapshotDamaged, FormatUnsupported: a kept snapshot is not a way in; nothing may go.
    """
    snapshots = list_snapshots(storage)[-SNAPSHOTS_KEPT:]
    if len(snapshots) < SNAPSHOTS_KEPT:
        return 0
    for sequence in snapshots:
        read_snapshot(storage, sequence)
    return min([snapshots[0], *(store.applied_sequence for store in stores)])


def removable_segments(storage: Storage, stores: Sequence[DerivedStore]) -> list[str]:
    """Names of segments that may go, oldest first; never the last one. Removes nothing."""
    covered = covered_sequence(storage, stores)
    return [
        segment.name
        for segment, later in itertools.pairwise(list_segments(storage))
        if later.first_sequence <= covered + 1
    ]


def remove_covered(storage: Storage, stores: Sequence[DerivedStore]) -> list[str]:
    """Remove what may go; returns the names.

    Raises:
        SnapshotDamaged, FormatUnsupported: a kept snapshot is not a way in; nothing was removed.
        OSError: the disk failed; what was not removed yet is still there, and whole.
    """
    names = removable_segments(storage, stores)
    for name in names:
        storage.remove(name)
        # Two removals in one directory may reach the disk in any order.
        storage.sync_directory()
    return names
