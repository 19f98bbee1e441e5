"""The node under measurement: the one `make run` starts, with everything on, or no number."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Self, final

from dexnode.doctor import MEMORY_FILESYSTEMS, filesystem_of
from dexsdk import Key, LedgerEntryKind, Market
from tests.bench.subscribers import FEEDS
from tests.support.node_process import NodeProcess

NETWORK_ID: Final = "triodex-demo"
BENCH_DIR: Final = Path("build/bench")
MARKET_ID: Final = "BTC-USDC.eth"
ASSETS: Final = ("BTC", "USDC.eth")
ACCOUNT_ATOMS: Final = 10**17
ACCOUNT_COUNT: Final = 8
WAIT_SECONDS: Final = 30.0
_SERIES: Final = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$")
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


class NotMeasurable(Exception):
    """The machine or the node lacks something without which a number would mislead."""


def disk_folder(folder: Path) -> str:
    """Make the folder and return its filesystem's name.

    Raises:
        NotMeasurable: it lies in memory, where fdatasync costs nothing and saves nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind = filesystem_of(folder)
    refuse_memory(folder, kind)
    return kind


def refuse_memory(folder: Path, kind: str) -> None:
    """Raises NotMeasurable for a filesystem in memory."""
    if kind in MEMORY_FILESYSTEMS:
        raise NotMeasurable(
            f"{folder} is on {kind}: fdatasync there writes to no disk. "
            "Run the benchmark from a checkout on a real disk."
        )


class Trader(NamedTuple):
    """An account of the load."""

    seed_hex: str
    account_id: str


Metrics = dict[tuple[str, str], float]
"""Values by (name, labels other than `market`, joined by commas), of one market or of none."""


def parse_metrics(text: str, market_id: str) -> Metrics:
    """Read Prometheus' text format; series of other markets are left out."""
    found: Metrics = {}
    for line in text.splitlines():
        match = _SERIES.match(line)
        if match is None:
            continue
        name, labels, value = match.groups()
        pairs = dict(_LABEL.findall(labels or ""))
        if pairs.pop("market", market_id) == market_id:
            found[name, ",".join(pairs[key] for key in sorted(pairs))] = float(value)
    return found


def missing_parts(metrics: Metrics) -> list[str]:
    """What of a whole node the metrics do not show after some trading."""

    def seen(name: str, labels: str = "") -> bool:
        return metrics.get((name, labels), 0) > 0

    missing = []
    if not seen("dex_journal_sync_seconds_count") or not seen("dex_journal_written_bytes_total"):
        missing.append("a journal that syncs")
    for feed in FEEDS:
        if not seen("dex_feed_subscribers", feed):
            missing.append(f"a subscriber of {feed}")
        if not seen("dex_marketdata_published_total", feed):
            missing.append(f"published {feed}")
    if not seen("dex_trades_total"):
        missing.append("trades")
    return missing


@final
class BenchNode:
    """The node with accounts, a market and one subscriber per feed, each in its own process."""

    def __init__(self, name: str, backend: str = "trio") -> None:
        folder = BENCH_DIR / name
        shutil.rmtree(folder, ignore_errors=True)
        self.filesystem = disk_folder(folder)
        self.process = NodeProcess(
            folder, backend=backend, settings=("demo.enabled=true",), network_id=NETWORK_ID
        )
        self.traders: list[Trader] = []
        self._subscribers: subprocess.Popen[str] | None = None

    @property
    def journal_dir(self) -> Path:
        """Where the journal is."""
        return self.process.data_dir / "journal"

    @property
    def subscribers_pid(self) -> int:
        """The process of the subscribers."""
        assert self._subscribers is not None
        return self._subscribers.pid

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._subscribers is not None:
            self._subscribers.kill()
            self._subscribers.wait()
        self.process.stop()
        shutil.rmtree(self.process.data_dir, ignore_errors=True)

    def open_market(self) -> None:
        """The demo's first market, and funded accounts."""
        with self.process.operator() as operator:
            operator.admin.create_market(
                Market.define(
                    MARKET_ID,
                    base_scale=8,
                    quote_scale=8,
                    tick_size="0.01",
                    lot_size="0.00001",
                    maker_fee_ppm=100,
                    taker_fee_ppm=200,
                )
            )
        for _ in range(ACCOUNT_COUNT):
            seed = Key.generate().public_bytes  # any 32 random bytes are a seed
            with self.process.client(Key(seed)) as client:
                account_id = client.register_key()
            for asset_id in ASSETS:
                self.process.fund(account_id, asset_id, ACCOUNT_ATOMS)
            self.traders.append(Trader(seed.hex(), account_id))

    def subscribe(self) -> None:
        """Start the subscribers and wait until the node counts one on every feed."""
        command = [sys.executable, "-m", "tests.bench.subscribers"]
        command += [self.process.grpc_address, NETWORK_ID, MARKET_ID]
        self._subscribers = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        def all_there() -> bool:
            metrics = self.metrics()
            return all(metrics.get(("dex_feed_subscribers", feed)) for feed in FEEDS)

        wait_until(all_there, "one subscriber on every feed")

    def unsubscribe(self) -> dict[str, int]:
        """End the subscribers; what each got."""
        assert self._subscribers is not None
        self._subscribers.send_signal(signal.SIGTERM)
        output, _ = self._subscribers.communicate(timeout=WAIT_SECONDS)
        self._subscribers = None
        counts: dict[str, int] = json.loads(output)
        return counts

    def metrics(self) -> Metrics:
        """Scrape the node."""
        with urllib.request.urlopen(f"http://{self.process.metrics_address}/metrics") as answer:
            return parse_metrics(answer.read().decode(), MARKET_ID)

    def check_whole(self) -> None:
        """Raises NotMeasurable unless journal, ledger, K-lines, metrics and subscribers work."""
        missing = missing_parts(self.metrics())
        with self.process.operator() as operator:
            if not operator.admin.get_node_status().demo:
                missing.append("the demo's settings")
        trader = self.traders[0]
        with self.process.client(Key(bytes.fromhex(trader.seed_hex)), trader.account_id) as client:
            kinds = {entry.kind for entry in client.list_ledger_entries(limit=1000)}
        if LedgerEntryKind.TRADE not in kinds:
            missing.append("ledger entries of fills")
        if missing:
            raise NotMeasurable("the node lacks: " + ", ".join(missing))

    def settle(self) -> None:
        """Cancel what rests and wait until the node has nothing left to do."""
        for trader in self.traders:
            key = Key(bytes.fromhex(trader.seed_hex))
            with self.process.client(key, trader.account_id) as client:
                client.cancel_all()

        def idle() -> bool:
            return not self.metrics()["dex_sequencer_queue_commands", ""]

        wait_until(idle, "an empty queue")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll; raises NotMeasurable when it does not come."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise NotMeasurable(f"waited {WAIT_SECONDS:.0f} s for {what}")
        time.sleep(0.05)
