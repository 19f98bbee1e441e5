"""`dex top` as a user runs it: in a terminal of its own, into a pipe, as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from dexsdk import Market, NewOrder, Side
from tests.support.markets import MARKET_ID, open_market, rich_account
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until

PATIENCE_SECONDS = 30.0
SCREEN_RESTORED = b"\x1b[?1049l"
ANSI = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A process on a pseudo-terminal, and all it has drawn."""

    def __init__(self, command: list[str], width: int, height: int) -> None:
        self.master, slave = pty.openpty()
        self._size(slave, width, height)
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("COLUMNS", None)
        environment.pop("LINES", None)
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.output = b""

    def resize(self, width: int, height: int) -> None:
        self._size(self.master, width, height)

    @staticmethod
    def _size(descriptor: int, width: int, height: int) -> None:
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def wait_for(self, *parts: str) -> str:
        """Read until every part stands in what was drawn since the last call."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        text = ""
        while not all(part in text for part in parts):
            assert time.monotonic() < deadline, f"no {parts} in:\n{text[-3000:]}"
            self._read()
            text = ANSI.sub(b"", self.output).decode(errors="replace")
        self.output = b""
        return text

    def _read(self) -> bool:
        """Whether something came: a terminal gives no more than 4 KiB at a time."""
        if not select.select([self.master], [], [], 0.1)[0]:
            return False
        try:
            self.output += os.read(self.master, 1 << 16)
        except OSError:
            # Linux says EIO once the other end is closed.
            self.process.wait(PATIENCE_SECONDS)
            return False
        return True

    def end(self) -> int:
        """Interrupt it as Ctrl-C does; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "Ctrl-C did not end it"
            self._read()
        while self._read():
            pass
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


def command(node: NodeProcess, *more: str) -> list[str]:
    where = ["--address", node.grpc_address, "--network-id", node.network_id]
    return [sys.executable, "-m", "dexnode", "top", MARKET_ID, *where, *more]


@pytest.fixture
def traded(node: NodeProcess) -> Market:
    """A market with a book of two levels and one trade at 60,000.10."""
    market = open_market(node)
    trade_once(node, 6_000_010)
    return market


def trade_once(node: NodeProcess, price_ticks: int) -> None:
    key, account_id = rich_account(node)
    with node.client(key, account_id) as client:
        client.place_order(NewOrder(MARKET_ID, Side.SELL, 500, price_ticks))
        client.place_order(NewOrder(MARKET_ID, Side.BUY, 200, price_ticks))
        client.place_order(NewOrder(MARKET_ID, Side.BUY, 300, price_ticks - 25))


@pytest.fixture
def terminal(node: NodeProcess, traded: Market) -> Iterator[Terminal]:
    terminal = Terminal(command(node), 150, 40)
    yield terminal
    terminal.close()


def test_it_follows_trades_sizes_and_an_absent_node(node: NodeProcess, terminal: Terminal) -> None:
    terminal.wait_for("order book", "60,000.10", "0.00300", "59,999.85", "live")
    trade_once(node, 6_000_005)
    terminal.wait_for("60,000.05 ▲")
    terminal.resize(60, 20)

    def is_small() -> bool:
        frame = terminal.wait_for("order book", "trades")
        return max(map(len, frame.splitlines()[-15:])) <= 60

    # A frame of the size before may still be on its way.
    wait_until(is_small, "a frame of the new size")
    terminal.resize(150, 40)
    os.kill(node.pid, signal.SIGSTOP)
    try:
        terminal.wait_for("reconnecting")
    finally:
        os.kill(node.pid, signal.SIGCONT)
    terminal.wait_for("● live")
    trade_once(node, 6_000_000)
    terminal.wait_for("60,000.00 ▲")
    assert terminal.end() == 0
    assert SCREEN_RESTORED in terminal.output
    assert b"Traceback" not in terminal.output


def read_lines(arguments: list[str], wanted: int) -> list[str]:
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            lines = [process.stdout.readline() for _ in range(wanted)]
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECONDS) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()
    return lines


def test_a_pipe_gets_plain_lines(node: NodeProcess, traded: Market) -> None:
    (line,) = read_lines(command(node), 1)
    assert "BTC-USDC.eth bid 59999.85 ask 60000.10 last 60000.10" in line
    assert "\x1b" not in line


def test_json_gives_a_line_per_item(node: NodeProcess, traded: Market) -> None:
    lines = [json.loads(line) for line in read_lines(command(node, "--json"), 2)]
    assert {name for line in lines for name in line} == {"book", "kline"}
    snapshot = next(line["book"]["snapshot"] for line in lines if "book" in line)
    assert snapshot["asks"] == [{"price_ticks": "6000010", "quantity_lots": "300"}]


def test_an_unknown_market_is_said(node: NodeProcess) -> None:
    ended = subprocess.run(command(node), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("dex: UNKNOWN_MARKET")
