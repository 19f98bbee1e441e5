"""A node on a disk that forgets what was not synced: ``python -m tests.support.volatile_node``.

kill -9 leaves the page cache alone, so a node that never syncs passes it. Here every
write waits in the process until datasync hands it to the file, and dies with the
process: what kill -9 leaves behind is what a power cut would have left at worst.
With HONEST_SYNCS=n every datasync after the n-th returns without doing anything, as a
broken disk or a node that forgot to sync would; a durability test must turn red on it.
"""

from __future__ import annotations

import os

from dexnode.cli import main
from dexruntime import storage


def honest_syncs() -> int:
    """How many syncs are honest, from the environment."""
    return int(os.environ.get("HONEST_SYNCS", "1000000000"))


class VolatileFile(storage.PosixFile):
    """Keeps writes in memory until they are synced."""

    honest_syncs = honest_syncs()
    _unsynced: list[tuple[int, bytes]]

    def write(self, offset: int, data: bytes) -> None:
        """Remember the write."""
        self._unsynced.append((offset, bytes(data)))

    def read(self, offset: int, length: int) -> bytes:
        """Read what was written, synced or not, as a page cache would show it."""
        data = bytearray(super().read(offset, length))
        for start, written in list(self._unsynced):
            low, high = max(start, offset), min(start + len(written), offset + length)
            if low < high:
                data.extend(bytes(max(0, high - offset - len(data))))
                data[low - offset : high - offset] = written[low - start : high - start]
        return bytes(data)

    def datasync(self) -> None:
        """Write and sync what is remembered; a lying one forgets to."""
        if VolatileFile.honest_syncs <= 0:
            return
        VolatileFile.honest_syncs -= 1
        for offset, data in self._unsynced:
            super().write(offset, data)
        self._unsynced.clear()
        super().datasync()

    def size(self) -> int:
        """Size with the remembered writes."""
        ends = [offset + len(data) for offset, data in self._unsynced]
        return max([super().size(), *ends])


def install() -> None:
    """Make every file that is opened from now on a volatile one."""
    real = storage.PosixStorage.open

    def open_volatile(
        self: storage.PosixStorage, name: str, access: storage.Access = "read"
    ) -> storage.PosixFile:
        file = real(self, name, access)
        if access != "read":
            file.__class__ = VolatileFile
            file._unsynced = []  # type: ignore[attr-defined]
        return file

    storage.PosixStorage.open = open_volatile  # type: ignore[method-assign]


if __name__ == "__main__":
    install()
    main()
