"""A node whose datasync fails with EIO while the file named by FAIL_SYNC exists, for every file
whose path has in it what that file says.

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
        path = Path(f"/proc/self/fd/{self._descriptor}").readlink()
        if flag.exists() and flag.read_text() in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(self)

    PosixFile.datasync = datasync  # type: ignore[method-assign]


if __name__ == "__main__":
    fail_syncs(Path(os.environ["FAIL_SYNC"]))
    main()
