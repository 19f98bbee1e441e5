"""One file in memory, as the read side of a storage: without the cost of a simulated disk."""

from __future__ import annotations

from typing import Any


class OneFile:
    """A directory with one file, and that file."""

    def __init__(self, name: str, data: bytes) -> None:
        self._name = name
        self._data = data

    def list_names(self) -> list[str]:
        """Its name."""
        return [self._name]

    def open(self, name: str, access: str = "read") -> OneFile:
        """The file itself."""
        assert (name, access) == (self._name, "read")
        return self

    def size(self) -> int:
        """Length in bytes."""
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        """As the port says."""
        return self._data[offset : offset + length]

    def close(self) -> None:
        """Nothing is held."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a reader may not {name}")
