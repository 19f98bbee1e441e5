"""A command of ``dex`` that ends with the process that started it: ``dex demo``.

Standard input is a pipe that the parent holds and never writes to. The system closes it however
the parent ends, kill -9 included, and its end is read here as a SIGTERM.
"""

from __future__ import annotations

import os
import signal
import threading

from dexnode.cli import main


def end_with_parent() -> None:
    """Send this process SIGTERM once standard input is at its end."""
    threading.Thread(target=_wait_for_end, name="parent-watch", daemon=True).start()


def _wait_for_end() -> None:
    # Not sys.stdin: its lock, held in a blocked read, would stop the interpreter's exit.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    end_with_parent()
    main()
