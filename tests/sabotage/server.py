"""A program that forks a warm interpreter for every run of pytest in one copy of the sources.

Importing pytest, Hypothesis and Trio costs more than most of the tests do, so it is done once.
Nothing of the project is imported before the fork: each run reads the code as it stands then.
Requests and answers are lines of JSON on standard input and output.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
from typing import Any, NoReturn

# What most tests import. None starts a thread at import, which a fork would lose.
WARM = (
    "google.protobuf.message",
    "google.protobuf.timestamp_pb2",
    "hypothesis.stateful",
    "hypothesis.strategies",
    "msgspec",
    "nacl.signing",
    "numpy",
    "pytest",
    "pytest_trio.plugin",
    "sortedcontainers",
    "structlog",
    "trio.testing",
)


def run_tests(request: dict[str, Any]) -> NoReturn:
    """In the child: run the tests and end."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open("pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    # Bytecode of broken code must not outlive it: mending may keep the second of the file.
    sys.dont_write_bytecode = not request["keep_bytecode"]
    import pytest

    options = ["-q", "-p", "tests.sabotage.witness", "-p", "no:cacheprovider"]
    code = 70
    try:
        code = int(pytest.main([*options, *request["tests"]]))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: int, seconds: float) -> str:
    """Wait for the child and kill what hangs, with all it started."""
    descriptor = os.pidfd_open(child)
    ended, _, _ = select.select([descriptor], [], [], seconds)
    os.close(descriptor)
    if not ended:
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "ended" if ended else "hangs"


def main() -> None:
    """Serve until standard input ends."""
    for name in WARM:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run_tests(request)
        print(json.dumps(wait(child, request["seconds_max"])), flush=True)


if __name__ == "__main__":
    main()
