"""Old trades out of memory: full chunks go to a file without a name, and are mapped to be read.

Theory of operation. A chunk of a market's trades that is full never changes again. A thread writes
it to the file and only then tells the chunk, which lets its memory go; whoever reads it later maps
those pages for as long as the blocks live. The file is no store: it has no name, so it ends with
the process whatever ends it, and the next start makes its own from snapshot and journal. Nothing
that it says is ever trusted beyond the process that wrote it.
"""

from __future__ import annotations

import logging
import mmap
import os
import queue
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import final

import numpy as np

from dexkline import TradeChunk
from dexkline.trades import Arrays

_log = logging.getLogger(__name__)


@final
class ColdTrades:
    """A file for full chunks, and the thread that fills it."""

    def __init__(self, directory: Path) -> None:
        """The file lies on the file system of ``directory``. Raises OSError."""
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        self._end = 0
        self._queue: queue.SimpleQueue[TradeChunk] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cold trades", daemon=True)
        self._thread.start()

    def take(self, chunk: TradeChunk) -> None:
        """Cool a full chunk, soon; for the thread that filled it."""
        self._queue.put(chunk)

    def _run(self) -> None:
        while True:
            chunk = self._queue.get()
            try:
                self._write(chunk)
            except OSError:
                # It stays where it is; the journal has its own way of refusing on a full disk.
                _log.exception("old trades stay in memory")

    def _write(self, chunk: TradeChunk) -> None:
        fields, side = chunk.arrays()
        offset = self._end
        _write_all(self._file.fileno(), offset, fields.tobytes())
        _write_all(self._file.fileno(), offset + fields.nbytes, side.tobytes())
        # Mappings begin on pages.
        used = fields.nbytes + side.nbytes
        self._end = offset + -(-used // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        chunk.cool(partial(self._map, offset, fields.shape))

    def _map(self, offset: int, shape: tuple[int, int]) -> Arrays:
        rows = shape[1]
        fields_bytes = shape[0] * rows * 8
        pages = mmap.mmap(
            self._file.fileno(), fields_bytes + rows, access=mmap.ACCESS_READ, offset=offset
        )
        fields = np.frombuffer(pages, np.int64, shape[0] * rows).reshape(shape)
        return fields, np.frombuffer(pages, np.int8, rows, fields_bytes)


def _write_all(descriptor: int, offset: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)
