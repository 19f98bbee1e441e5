"""The journal: what the node acknowledged, in order, on disk.

``JournalReader`` checks and replays it, ``JournalWriter`` goes on where the reader ended. The bytes
are in docs/reference/journal-format.md, the reasons in docs/adr/0003-journal.md.
"""

from __future__ import annotations

from dexruntime.journal.errors import (
    CommandUnreadable,
    FormatUnsupported,
    JournalDamaged,
    JournalError,
    JournalFailed,
    JournalFull,
    JournalMismatch,
    SequenceRemoved,
)
from dexruntime.journal.format import Identity, Record
from dexruntime.journal.reader import JournalEnd, JournalReader, Report, read_journal, verify
from dexruntime.journal.segment import TornTail
from dexruntime.journal.writer import JournalWriter, SyncSample

__all__ = [
    "CommandUnreadable",
    "FormatUnsupported",
    "Identity",
    "JournalDamaged",
    "JournalEnd",
    "JournalError",
    "JournalFailed",
    "JournalFull",
    "JournalMismatch",
    "JournalReader",
    "JournalWriter",
    "Record",
    "Report",
    "SequenceRemoved",
    "SyncSample",
    "TornTail",
    "read_journal",
    "verify",
]
