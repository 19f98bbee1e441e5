"""Ten thousand connections that do nothing, on one server that goes on serving."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

import pytest

from tests.conformance.clients import DEADLINE_SECONDS, eventually, unary
from tests.conformance.conftest import StartServer
from tests.conformance.raw import PREFACE, SETTINGS, frame

COUNT = 10_000
SPARE_FILES = 500
BYTES_PER_CONNECTION_MAX = 64 * 1024


@pytest.fixture
def many_files() -> None:
    """Both processes need a descriptor per connection; the server inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < COUNT + SPARE_FILES:
        pytest.skip(f"the system allows {hard} open files, this takes {COUNT + SPARE_FILES}")
    if soft < COUNT + SPARE_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (COUNT + SPARE_FILES, hard))


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_ten_thousand_idle_connections(many_files: None, start_server: StartServer) -> None:
    server = start_server("dexrpc", None)
    hello = PREFACE + frame(SETTINGS, 0, 0)
    connections: list[socket.socket] = []
    with server.channel() as channel:
        echo = unary(channel, "Echo")
        assert echo(b"before", timeout=DEADLINE_SECONDS) == b"before"
        before = resident_bytes(server.process.pid)
        try:
            for _ in range(COUNT):
                connection = socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS)
                connections.append(connection)
                connection.sendall(hello)
            for connection in connections:
                assert connection.recv(9)[3] == SETTINGS
            assert echo(b"among", timeout=DEADLINE_SECONDS) == b"among"
            held = resident_bytes(server.process.pid) - before
            assert held / COUNT < BYTES_PER_CONNECTION_MAX
        finally:
            for connection in connections:
                connection.close()
        eventually(
            lambda: len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < SPARE_FILES,
            "the connections are given back",
        )
        assert echo(b"after", timeout=DEADLINE_SECONDS) == b"after"
    assert server.stop() == 0
