"""The verbs that promise durability reach the system calls that give it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dexruntime.storage import PosixStorage


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was synced, in order: the system call and the inode."""
    calls: list[tuple[str, int]] = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def sync(descriptor: int, name: str = name, real: object = real) -> None:
            calls.append((name, os.fstat(descriptor).st_ino))
            assert callable(real)
            real(descriptor)

        monkeypatch.setattr(os, name, sync)
    return calls


def test_datasync_is_fdatasync_of_the_file(tmp_path: Path, synced: list[tuple[str, int]]) -> None:
    file = PosixStorage(tmp_path).open("a", "create")
    file.write(0, b"data")
    assert synced == []
    file.datasync()
    file.close()
    assert synced == [("fdatasync", (tmp_path / "a").stat().st_ino)]


def test_sync_directory_is_fsync_of_the_directory(
    tmp_path: Path, synced: list[tuple[str, int]]
) -> None:
    storage = PosixStorage(tmp_path)
    storage.sync_directory()
    assert synced == [("fsync", tmp_path.stat().st_ino)]


def test_a_new_directory_is_synced_into_its_parent(
    tmp_path: Path, synced: list[tuple[str, int]]
) -> None:
    PosixStorage(tmp_path / "new")
    assert synced == [("fsync", tmp_path.stat().st_ino)]
