"""Other Pythons: the interpreters of this machine, and the libraries the pure rooms need there.

`make tools` puts numpy and sortedcontainers for each supported Python below `.tools/pythons`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import sortedcontainers

ROOT = Path(__file__).parents[2]
SUPPORTED = ("3.11", "3.12", "3.13")


def find_python(version: str) -> str | None:
    """An interpreter of this version that runs; a launcher that only complains is none."""
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = sorted(str(folder / "bin") for folder in installed.glob(f"{version}.*"))
    for place in [*places, *folders]:
        python = shutil.which(f"python{version}", path=place)
        if python and subprocess.run([python, "-V"], capture_output=True, check=False).stdout:
            return python
    return None


def import_path(version: str, folder: Path) -> tuple[str, bool]:
    """PYTHONPATH for the pure rooms under a version, made in `folder`, and whether numpy is there.

    Without numpy the one library of `dexcore`, which is pure Python, is linked from here.
    """
    rooms = str(ROOT / "core")
    libraries = ROOT / ".tools" / "pythons" / version
    if (libraries / "numpy").is_dir():
        return os.pathsep.join([rooms, str(libraries)]), True
    source = Path(sortedcontainers.__file__ or "").parent
    link = folder / source.name
    if not link.exists():
        link.symlink_to(source)
    return os.pathsep.join([rooms, str(folder)]), False
