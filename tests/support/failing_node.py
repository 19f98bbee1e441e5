"""A node whose datasync fails with EIO while the file named by FAIL_SYNC exists.

Everything else is the real node: ``python -m tests.support.failing_node`` takes dex's arguments.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from dexnode.cli import main
from dexruntime.storage import PosixFile


def fail_syncs(flag: Path) -> None:
    """Put the failure in front of fdatasync(2)."""
    sync = PosixFile.datasync

    def datasync(self: PosixFile) -> None:
        if flag.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(self)

    PosixFile.datasync = datasync  # type: ignore[method-assign]


if __name__ == "__main__":
    fail_syncs(Path(os.environ["FAIL_SYNC"]))
    main()
