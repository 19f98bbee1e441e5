"""Open files: as many as the system allows, and never so many connections that the disk has none.

Systems start services with a soft limit of 1,024 files to spare programs that use select(2), which
ends there; the node does not. Connections take a file each, and a journal that cannot open its next
segment ends the process, so a share stays out of the clients' reach.
"""

from __future__ import annotations

import resource
from typing import Final

import structlog

from dexnode.settings import GrpcSettings

# Journal, snapshots, logs, threads, and some for Flight and metrics.
FILES_RESERVED: Final = 256

log = structlog.stdlib.get_logger(__name__)


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_that_fit(wanted: int) -> int:
    """At most ``wanted`` connections, fewer when the limit of open files leaves less room."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or wanted <= limit - FILES_RESERVED:
        return wanted
    room = max(1, limit - FILES_RESERVED)
    # Nobody asked for the default: only who set a number is to hear that it does not fit.
    tell = log.debug if wanted == GrpcSettings().connections_max else log.warning
    tell("fewer connections than set: raise the limit of open files", room=room, files=limit)
    return room
