"""A journal of ours as it is: its commands in their order, for the whole exchange."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dexnode.backtest.files import JOURNAL
from dexnode.backtest.model import BacktestError
from dexruntime.journal import JournalError, JournalReader, Record
from dexruntime.journal.segment import list_segments
from dexruntime.storage import PosixStorage

CHUNK_RECORDS: Final = 1_024


class JournalSource:
    """The folder of one journal, <data_dir>/journal."""

    format_name: Final = JOURNAL

    def __init__(self, folder: Path) -> None:
        """Names the folder; its segments are listed, nothing else is read."""
        self._folder = folder
        # Bytes of the records read so far, for progress.
        self.position = 0
        self._storage = PosixStorage(folder, read_only=True)
        segments = list_segments(self._storage)
        if not segments:
            raise BacktestError(folder, "", "", "no journal here: give <data_dir>/journal")
        if segments[0].first_sequence != 1:
            raise BacktestError(
                folder,
                f"record {segments[0].first_sequence}",
                "",
                "the journal's first, what was before it is removed: books cannot be built anew",
            )

    def chunks(self) -> Iterator[list[Record]]:
        """Records in their order; raises BacktestError."""
        reader = JournalReader(self._storage)
        sequence = 0
        chunk: list[Record] = []
        try:
            for record in reader:
                sequence = record.sequence
                chunk.append(record)
                self.position += len(record.command) + len(record.envelope)
                if len(chunk) == CHUNK_RECORDS:
                    yield chunk
                    chunk = []
        except JournalError as error:
            raise BacktestError(self._folder, f"after record {sequence}", "", str(error)) from error
        finally:
            reader.close()
        yield chunk

    def notes(self) -> dict[str, int | str]:
        """Nothing: a journal says all."""
        return {}
