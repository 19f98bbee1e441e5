"""Programs of others that the suite runs: found in `.tools/bin`, never fetched by a test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 60


def program(name: str) -> str:
    """The path of a program that `make tools` brings; without it skip, or fail where CI=true."""
    for folder in (ROOT / ".tools" / "bin", ROOT / ".venv" / "bin"):
        if (folder / name).exists():
            return str(folder / name)
    reason = f"{name} is not in .tools/bin: run `make tools`"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def run(*command: str, timeout_seconds: float = TIMEOUT_SECONDS) -> tuple[int, str]:
    """Exit code and everything a program printed."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout
