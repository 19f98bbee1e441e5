"""Nodes forked from one process that has imported everything: a life without an interpreter start.

What runs is what `dex node run` runs, from its arguments on: the same composition root, a real gRPC
server, real files, an own process that SIGKILL ends. Only the imports are shared. The forking
process has one thread and opens nothing, so a child starts as a fresh interpreter would.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, TextIO, final

_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "tests.support.forked_imports"])
MODULES: Final = ("dexnode", "tests.support.volatile_node")


@final
class ForkedNode:
    """A forked node with the part of Popen's face that NodeProcess uses."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], module: str, log: Path
    ) -> None:
        if module not in MODULES:
            raise ValueError(f"no forked node of {module}")
        ours, theirs = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(
            target=_live, args=(list(command), dict(environment), module, str(log), theirs)
        )
        self._process.start()
        theirs.close()
        self.stdout: TextIO = os.fdopen(os.dup(ours.fileno()), "r")
        ours.close()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it lives."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Wait for the end."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("forked node", timeout)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _live(
    command: list[str], environment: dict[str, str], module: str, log: str, output: Connection
) -> None:
    """The child: become `python -m MODULE COMMAND...`."""
    assert threading.active_count() == 1, "forked from a process with threads"
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 2)
    os.dup2(output.fileno(), 1)
    os.close(descriptor)
    output.close()
    # The forking process ignores or replaces some signals for itself.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.argv = [module, *command]
    if module == "tests.support.volatile_node":
        from tests.support import volatile_node

        volatile_node.VolatileFile.honest_syncs = volatile_node.honest_syncs()
        volatile_node.install()
    from dexnode.cli import main

    main()
