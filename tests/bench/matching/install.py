"""The engines of others, each under a Python that has a wheel of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.support.pythons import ROOT, find_python

PINS: Final = ROOT / "requirements" / "bench-peers.txt"
FOLDER: Final = ROOT / "build" / "bench" / "peers"
# The oldest Python each runs on that we support: bourse and liquibook have wheels for it alone.
PYTHON_OF: Final = {
    "bourse": "3.11",
    "liquibook": "3.11",
    "limit-order-book": "3.13",
    "matching-engine": "3.13",
}


def python_of(name: str, say: Callable[[str], None]) -> Path | str:
    """The interpreter of an environment where the engine is; or why there is none."""
    version = PYTHON_OF[name]
    base = find_python(version)
    if base is None:
        return f"Python {version} is not here"
    folder = FOLDER / version
    python = folder / "bin" / "python"
    done = folder / "installed"
    if done.exists() and done.read_text() == PINS.read_text():
        return python
    say(f"matching: installing engines of others for Python {version}")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--only-binary=:all:", "--require-hashes", "-r", str(PINS)]
    for command in ([base, "-m", "venv", str(folder)], [*install, *options]):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            lines = (ran.stderr or ran.stdout).strip().splitlines()
            return lines[-1] if lines else f"{command[0]} failed"
    done.write_text(PINS.read_text())
    return python
