"""What pyarrow does not offer: telling loopback from the world, and cutting connections."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from pathlib import Path


def is_loopback(host: str) -> bool:
    """Whether a host name or address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cut_connections(port: int) -> int:
    """Shut down every TCP connection of this process whose local port is `port`."""
    cut = 0
    for entry in Path("/dev/fd").iterdir():
        try:
            number = int(entry.name)
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as connection:
                inet = connection.family in (socket.AF_INET, socket.AF_INET6)
                if inet and connection.getsockname()[1] == port:
                    connection.shutdown(socket.SHUT_RDWR)
                    cut += 1
        except OSError:
            continue  # closed meanwhile, or the listener
    return cut
