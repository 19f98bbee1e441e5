"""The command line as a process of its own: what it prints, and how it ends."""

from __future__ import annotations

import subprocess
import sys

RUN_SECONDS = 60.0


def run_dex(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``dex`` with these arguments until it ends."""
    command = [sys.executable, "-m", "dexnode", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=RUN_SECONDS)
