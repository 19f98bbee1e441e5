"""The demo as a whole: it leaves nothing behind, says what ended, and goes on where it was."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dexnode.demo.bots import LEVELS_PER_SIDE
from dexsdk import Key, LedgerEntryKind, MarketStatus, SyncClient
from tests.support.waiting import wait_until

DEX = (sys.executable, "-m", "dexnode")
MARKET = "BTC-USDC.eth"
OTHER_MARKET = "ETH-USDC.eth"
NETWORK = "triodex-demo"
START_SECONDS = 60.0


class Demo:
    """`dex demo --no-top` on free ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data_dir = folder / "data"
        self.address = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until its bots trade."""
        self._process = self.spawn()
        assert self._process.stdout is not None
        said = ""
        while "export " not in said:
            line = self._process.stdout.readline()
            assert line, said
            said += line
        exported = dict(re.findall(r"(DEX_\w+)=(\S+)", said))
        self.address = exported["DEX_ADDRESS"]
        assert exported["DEX_OPERATOR_KEY"] == str(self._data_dir / "operator.key")
        wait_until(self.quoted, "quotes of the bots", START_SECONDS)

    def spawn(self) -> subprocess.Popen[str]:
        """The command as a process."""
        ports = {f"DEX_{name}__PORT": "0" for name in ("GRPC", "FLIGHT", "METRICS")}
        return subprocess.Popen(
            [*DEX, "demo", "--no-top", "--data-dir", str(self._data_dir)],
            cwd=self.folder,
            env={**os.environ, **ports},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def operator(self) -> SyncClient:
        """Its operator."""
        key = Key.load(self._data_dir / "operator.key")
        return SyncClient(self.address, network_id=NETWORK, key=key)

    def quoted(self) -> bool:
        """Whether somebody bids."""
        with self.operator() as client:
            if MARKET not in {market.market_id for market in client.list_markets()}:
                return False
            return bool(client.get_book(MARKET).bids)

    def accounts(self) -> dict[str, str]:
        """The bots' account ids by the bots' names."""
        files = (self._data_dir / "bots").glob("*.account")
        return {path.stem: path.read_text() for path in files}

    def open_orders(self, account_id: str) -> set[str]:
        """The ids of an account's open orders."""
        with self.operator() as client:
            return {order.order_id for order in client.get_account(account_id).open_orders}

    def deposits(self, account_id: str) -> int:
        """How often the faucet gave to an account, an asset each."""
        with self.operator() as client:
            entries = client.list_ledger_entries(account_id)
        return sum(entry.kind == LedgerEntryKind.DEPOSIT for entry in entries)

    def children(self) -> dict[str, int]:
        """Process ids of its node and its bots that live."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode().split("\0")
            except OSError:
                continue
            if "dexnode.demo.child" in words and any(str(self._data_dir) in w for w in words):
                found["bots" if "bots" in words else "node"] = int(path.parent.name)
        return found

    def end(self, number: signal.Signals) -> None:
        """Send the demo itself a signal and see that nothing stays."""
        assert self._process is not None
        assert set(self.children()) == {"node", "bots"}
        self._process.send_signal(number)
        self.ended()

    def ended(self) -> tuple[int, str]:
        """Exit code and errors of the demo once it and its processes are gone."""
        assert self._process is not None
        _, errors = self._process.communicate(timeout=40)
        wait_until(lambda: not self.children(), "the end of the node and the bots")
        return self._process.returncode, errors

    def clean_up(self) -> None:
        """End whatever a failed test left."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pid in self.children().values():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path)
    try:
        yield running
    finally:
        running.clean_up()


def test_a_demo_from_start_to_start(demo: Demo) -> None:
    demo.start()
    wait_until(lambda: len(demo.accounts()) == 9, "accounts of all bots")
    accounts = demo.accounts()

    second = demo.spawn()
    _, errors = second.communicate(timeout=40)
    assert second.returncode == 1
    assert errors == f"Error: the demo already runs here (process {demo.children()['node']})\n"

    with demo.operator() as operator:
        operator.admin.set_fees(MARKET, maker_fee_ppm=1, taker_fee_ppm=2)
        bots = demo.children()["bots"]
        operator.admin.set_market_status(MARKET, MarketStatus.HALTED)
        before = operator.get_book(OTHER_MARKET).sequence
        wait_until(
            lambda: operator.get_book(OTHER_MARKET).sequence > before + 20,
            "orders in the other market",
        )
        operator.admin.set_market_status(MARKET, MarketStatus.OPEN)
        start = operator.get_book(MARKET).sequence
        wait_until(lambda: operator.get_book(MARKET).sequence > start + 5, "new quotes")
        assert demo.children()["bots"] == bots

    demo.end(signal.SIGKILL)
    demo.start()
    maker = accounts["maker-0"]
    at_start = demo.open_orders(maker)
    wait_until(
        lambda: (now := demo.open_orders(maker)) and now.isdisjoint(at_start),
        "the maker's new quotes",
    )
    assert len(demo.open_orders(maker)) <= 2 * LEVELS_PER_SIDE
    assert demo.accounts() == accounts
    assert demo.deposits(maker) == 3
    demo.end(signal.SIGHUP)


def test_a_process_that_ends_is_named(demo: Demo) -> None:
    demo.start()
    os.kill(demo.children()["node"], signal.SIGKILL)
    code, errors = demo.ended()
    assert code == 1
    assert "the node ended: killed by SIGKILL" in errors
