"""The table of releases, and the code of one of them."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
# The source roots, for a PYTHONPATH that goes before the installed packages.
SOURCE_ROOTS = ("core", "adapters/rpc", "flight", "node", "sdk/python", "gen/python")


class Release(NamedTuple):
    """One row of releases.toml."""

    version: str
    commit: str


def releases() -> list[Release]:
    """All releases, oldest first."""
    table = tomllib.loads((FOLDER / "releases.toml").read_text())
    return [Release(row["version"], row["commit"]) for row in table["release"]]


def git(*arguments: str) -> str | None:
    """What git answers, or None where there is no git, no repository or no such thing."""
    try:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def unpack(release: Release, folder: Path, *paths: str) -> bool:
    """Write the files of a release, or the named ones, into a folder; False without its history."""
    archive = folder / "release.tar"
    if git("archive", "--output", str(archive), release.commit, *paths) is None:
        return False
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    archive.unlink()
    return True


def python_path(folder: Path) -> str:
    """The PYTHONPATH with which an unpacked release is what gets imported."""
    return os.pathsep.join(str(folder / root) for root in SOURCE_ROOTS)
