"""The storage port of the journal and the snapshots, and its POSIX implementation.

Everything the node must not lose goes through these few verbs, so that one simulated disk can stand
in for all of it. What a caller may rely on, and what it may not:

- ``write`` reaches the disk at some time, in any order, in whole sectors, or not at all, until
  ``datasync`` has returned;
- ``create``, ``rename`` and ``remove`` are durable only after ``sync_directory``;
- a ``datasync`` that failed may have dropped the data and will not say so again: whoever sees it
  fail ends the process and never repeats the call (https://lwn.net/Articles/752063/).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Literal, Protocol

SECTOR_BYTES = 512
LOCK_NAME = "lock"

Access = Literal["read", "write", "create"]


class StorageInUse(Exception):
    """Another process holds the data directory; ``pid`` is its process id, 0 if it did not say."""

    def __init__(self, where: str, pid: int) -> None:
        super().__init__(f"{where} is in use by process {pid or 'unknown'}")
        self.where = where
        self.pid = pid


class Closeable(Protocol):
    """A held resource."""

    def close(self) -> None:
        """Let it go; closing twice is harmless."""


class StorageFile(Protocol):
    """One open file. Offsets and lengths are bytes; every verb raises OSError."""

    def size(self) -> int:
        """Length of the file in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Read ``length`` bytes at ``offset``; fewer only where the file ends."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of ``data`` at ``offset``; not durable before ``datasync``."""

    def preallocate(self, size_bytes: int) -> None:
        """Reserve the blocks of a new file, read as zeros; ENOSPC here, never in ``write``."""

    def datasync(self) -> None:
        """Make what was written, and the size, durable. Never repeat it after it failed."""

    def close(self) -> None:
        """Close without syncing."""


class Storage(Protocol):
    """A flat directory of files. Every verb raises OSError."""

    def list_names(self) -> list[str]:
        """Names of all files, sorted."""

    def open(self, name: str, access: Access = "read") -> StorageFile:
        """Open a file; ``create`` makes a new one for writing and refuses an existing one."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what held it, atomically."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def sync_directory(self) -> None:
        """Make creations, renames and removals durable."""

    def lock(self) -> Closeable:
        """Take the directory for this process alone; raises StorageInUse."""


class PosixFile:
    """A file of a POSIX file system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def size(self) -> int:
        """Length of the file in bytes."""
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Read ``length`` bytes at ``offset``; fewer only where the file ends."""
        data = os.pread(self._descriptor, length, offset)
        if len(data) == length or not data:
            return data
        parts = [data]
        missing = length - len(data)
        while missing:
            data = os.pread(self._descriptor, missing, offset + length - missing)
            if not data:
                break
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Write all of ``data`` at ``offset``; not durable before ``datasync``."""
        written = os.pwrite(self._descriptor, data, offset)
        while written < len(data):
            written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)

    def preallocate(self, size_bytes: int) -> None:
        """Reserve the blocks of a new file, read as zeros."""
        os.posix_fallocate(self._descriptor, 0, size_bytes)

    def datasync(self) -> None:
        """fdatasync(2): the data, and the size where it changed."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close without syncing; closing twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class PosixStorage:
    """A directory of a POSIX file system, made (mode 0700) if it is absent.

    ``read_only`` opens an existing directory for tools such as verify and never makes one.
    """

    def __init__(self, directory: Path | str, *, read_only: bool = False) -> None:
        self.directory = Path(directory)
        if read_only:
            if not self.directory.is_dir():
                raise FileNotFoundError(f"no data directory at {self.directory}")
        elif not self.directory.is_dir():
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_directory(self.directory.parent)

    def list_names(self) -> list[str]:
        """Names of all files, sorted."""
        return sorted(entry.name for entry in os.scandir(self.directory) if entry.is_file())

    def open(self, name: str, access: Access = "read") -> PosixFile:
        """Open a file; ``create`` makes a new one for writing and refuses an existing one."""
        flags = os.O_CLOEXEC | (os.O_RDONLY if access == "read" else os.O_RDWR)
        if access == "create":
            flags |= os.O_CREAT | os.O_EXCL
        return PosixFile(os.open(self.directory / name, flags, 0o600))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what held it, atomically."""
        (self.directory / old).rename(self.directory / new)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.directory / name).unlink()

    def sync_directory(self) -> None:
        """Make creations, renames and removals durable."""
        _sync_directory(self.directory)

    def lock(self) -> PosixFile:
        """Take the directory with flock(2) until closed or this process ends."""
        path = self.directory / LOCK_NAME
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).strip()
            os.close(descriptor)
            pid = int(holder) if holder.isdigit() else 0
            raise StorageInUse(str(self.directory), pid) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        return PosixFile(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
