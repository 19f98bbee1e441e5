"""The processes of the demo, as their parent sees them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Final, final

STOP_SECONDS: Final = 30.0


@final
class Child:
    """A command of ``dex`` in a process of its own that ends with this one, and its log."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        *,
        piped: bool = False,
    ) -> None:
        """Start it. `piped`: `output` is read here; else it goes to the log too."""
        self.name: Final = name
        self.log_path: Final = log_path
        with log_path.open("ab") as log:
            self._log_start = log.seek(0, os.SEEK_END)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dexnode.demo.child", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if piped else log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def output(self) -> IO[bytes]:
        """What a piped one prints; its log has the rest."""
        assert self._process.stdout is not None, "not piped"
        return self._process.stdout

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """What killed this process, or the last line it logged or the error's text in that."""
        code = self._process.poll()
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").split("\n")
        line = next((line.strip() for line in reversed(lines) if line.strip()), "")
        try:
            said = json.loads(line)
        except ValueError:
            return line.removeprefix("dex: ")
        if not isinstance(said, dict):
            return line
        return str(said.get("error") or said.get("message") or line)

    def stop(self) -> None:
        """End it in order, or at once when it takes too long."""
        if self.ended:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self) -> None:
        """Wait until it has ended."""
        self._process.wait()


def interrupt_on_end_signals() -> None:
    """Take SIGTERM and the loss of the terminal (SIGHUP) for Ctrl-C; `nohup` stays in force."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # A shell starts its background jobs with Ctrl-C ignored.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)
