"""Brings the tree up to the journal, by reading its files with a cursor, a block at a time.

Runs on whatever thread its owner gives it, one at a time, and never on the Trio loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from dexruntime.audit.store import TreeStore
from dexruntime.journal import JournalReader
from dexruntime.journal.segment import list_segments, read_segment_header
from dexruntime.storage import Storage

COMMIT_EVERY: Final = 100_000
Progress = Callable[[int], None]


@final
class TreeFollower:
    """A derived store of the journal: ``name`` and ``applied_sequence`` are for retention."""

    name: Final = "audit"

    def __init__(self, journal: Storage, store: TreeStore) -> None:
        """Hold the tree against the journal; one that is not of it is begun anew."""
        self._journal = journal
        self._store = store
        self._reader: JournalReader | None = None
        size, chain = store.committed.size, store.committed.chain
        if size and chain_after(journal, size) != chain:
            store.reset()

    @property
    def applied_sequence(self) -> int:
        """Records up to here are in the tree on disk and are not needed any more."""
        return self._store.committed.size

    def follow(
        self,
        until_sequence: int,
        *,
        go_on: Callable[[], bool] = lambda: True,
        progress: Progress | None = None,
    ) -> bool:
        """Take in and commit every record up to ``until_sequence``, the durable end of a block.

        Returns False if ``go_on`` said to stop before. Raises JournalError (SequenceRemoved when
        the tree is behind what retention kept), AuditFull, AuditFailed, OSError.
        """
        store = self._store
        # What an earlier call could not write for want of room.
        store.flush(0)
        if store.size >= until_sequence:
            if self._reader is not None:
                store.commit(self._reader.chain)
            return True
        reader = self._reader = self._reader or JournalReader(self._journal, store.size + 1)
        for record in reader:
            store.append(record)
            if record.sequence != reader.sequence:
                continue
            # A whole block: only here does the reader's chain belong to the last record.
            store.flush()
            if store.size - store.committed.size >= COMMIT_EVERY:
                store.commit(reader.chain)
                if progress is not None:
                    progress(store.size)
            if record.sequence >= until_sequence:
                break
            if not go_on():
                return False
        store.commit(reader.chain)
        return store.size >= until_sequence

    def take_in(self, until_sequence: int) -> None:
        """Take in records as ``follow`` does and commit nothing, so that it finds less to do.

        What is taken in is part of the tree once ``follow`` has committed it. Raises as it does.
        """
        store = self._store
        if store.size >= until_sequence:
            return
        reader = self._reader = self._reader or JournalReader(self._journal, store.size + 1)
        for record in reader:
            store.append(record)
            if record.sequence == reader.sequence and record.sequence >= until_sequence:
                break

    def rebuild(self) -> None:
        """Begin anew at the first record."""
        self.close()
        self._store.reset()

    def close(self) -> None:
        """Close the journal's files."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def chain_after(journal: Storage, sequence: int) -> bytes | None:
    """The journal's chain hash after a record that ends a block; None when it has no such end."""
    segments = list_segments(journal)
    for segment in segments:
        if segment.first_sequence == sequence + 1:
            file = journal.open(segment.name)
            try:
                return read_segment_header(file, segment, sequence).previous_chain
            finally:
                file.close()
    if not segments or segments[0].first_sequence > sequence:
        return None
    reader = JournalReader(journal, sequence)
    try:
        for _ in reader:
            if reader.sequence >= sequence:
                break
        return reader.chain if reader.sequence == sequence else None
    finally:
        reader.close()
