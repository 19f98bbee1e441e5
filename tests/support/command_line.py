"""The command line, in a process of its own or in this one: what it prints, and how it ends."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

from dexnode.cli.root import main

RUN_SECONDS = 60.0


def run_dex(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``dex`` with these arguments until it ends."""
    command = [sys.executable, "-m", "dexnode", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=RUN_SECONDS)


def call_dex(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process: a second of imports less for each."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
