"""A read-only data directory in memory whose bytes a test changes in place, quick enough for
half a million readings."""

from __future__ import annotations

from collections.abc import Mapping

from dexruntime.journal import JournalReader
from dexruntime.storage import Access


class MemoryFile:
    """One file; ``data`` is changed where it lies."""

    def __init__(self, data: bytearray) -> None:
        self.data = data

    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        raise PermissionError(offset, data)

    def preallocate(self, size_bytes: int) -> None:
        raise PermissionError(size_bytes)

    def datasync(self) -> None:
        raise PermissionError

    def close(self) -> None:
        """Nothing is held."""


class MemoryStorage:
    """Implements the reading verbs of dexruntime.storage.Storage."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = {name: MemoryFile(bytearray(data)) for name, data in files.items()}

    def list_names(self) -> list[str]:
        return sorted(self.files)

    def open(self, name: str, access: Access = "read") -> MemoryFile:
        assert access == "read"
        return self.files[name]

    def rename(self, old: str, new: str) -> None:
        raise PermissionError(old, new)

    def remove(self, name: str) -> None:
        raise PermissionError(name)

    def sync_directory(self) -> None:
        raise PermissionError

    def lock(self) -> MemoryFile:
        raise PermissionError


class Paused:
    """A reader that stopped between two blocks, and can be started there again and again."""

    def __init__(self, reader: JournalReader, offset: int) -> None:
        """``offset`` is where in its segment the next block stands; 0 is before its header."""
        self._state = dict(vars(reader), _chunk=b"")
        self.offset = offset

    def start(self, storage: MemoryStorage | None = None) -> JournalReader:
        """A reader that goes on from here, in another storage if one is given, and knows nothing
        of the bytes from here on."""
        reader = JournalReader.__new__(JournalReader)
        state = vars(reader)
        state.update(self._state)
        if storage is not None:
            state["_storage"] = storage
            if state["_file"] is not None:
                state["_file"] = storage.files[state["_segment"].name]
        return reader
