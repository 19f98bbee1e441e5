"""Killing a node at the worst moments, and holding what it says afterwards against what it said.

Kinds of kills, each counted only when it is proven to have hit what it was aimed at:

- under load: the node was ready and clients were sending;
- while the journal was replayed: the node had logged that it replays, and not yet that it had;
- while a snapshot was made: the call had no answer yet, and node and snapshot process were killed
  together; where the unpublished file stood already that is counted too;
- while draining: the node had logged that it drains, and died of SIGKILL, not of its own.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Final, final

import grpc

from dexnode.telemetry import REPLAYED, REPLAYING
from tests.support import witnesses
from tests.support.killed_traders import Trader
from tests.support.markets import open_market, rich_account
from tests.support.node_process import NodeProcess
from tests.support.processes import children_running
from tests.support.waiting import wait_until
from tests.support.witnesses import Witness

TRADERS: Final = 3
LOAD_SECONDS: Final = 0.15
ACKNOWLEDGED_MIN: Final = 30
DRAINING: Final = '"draining"'
LOAD, REPLAY, SNAPSHOT, DRAIN = (
    "kills under load",
    "kills while the journal was replayed",
    "kills while a snapshot was made",
    "kills while draining",
)
ACKNOWLEDGED: Final = "acknowledged commands"
SEEN: Final = "trades and K-lines seen before a kill and asked for after it"
REPLAY_MISSED: Final = "kills between replay and ready"
KINDS: Final = (LOAD, REPLAY, SNAPSHOT, DRAIN)
WEIGHTS: Final = (60, 20, 8, 12)
# A snapshot process is an interpreter that starts, imports, replays and writes.
SNAPSHOT_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 0.03
REPLAY_SECONDS: Final = 0.03
LOOK_SECONDS: Final = 0.001
_NEVER = threading.Event()


@final
class Drill:
    """One node that is killed again and again."""

    def __init__(self, node: NodeProcess, seed: int | str) -> None:
        self.node = node
        self.counts: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._log_start = 0
        node.start()
        open_market(node)
        self.traders = [
            Trader(*rich_account(node), chance=random.Random(f"{seed}-{number}"))
            for number in range(TRADERS)
        ]
        self.witness = Witness(self.traders[0])

    @property
    def kills(self) -> int:
        """SIGKILLs so far, of every kind."""
        return sum(self.counts[kind] for kind in KINDS)

    def life(self, kind: str | None = None) -> None:
        """Load, a kill, a restart, and every check."""
        chosen = kind or self._chance.choices(KINDS, WEIGHTS)[0]
        before = self._acknowledged()
        stop = threading.Event()
        threads = [threading.Thread(target=t.trade, args=(self.node, stop)) for t in self.traders]
        threads.append(threading.Thread(target=self.witness.watch, args=(self.node, stop)))
        for thread in threads:
            thread.start()
        # The one wait that is the point: let the load run for a random moment.
        stop.wait(LOAD_SECONDS * (0.3 + self._chance.random()))
        wait_until(lambda: self._acknowledged() >= before + ACKNOWLEDGED_MIN, "load")
        if chosen == SNAPSHOT:
            self._kill_in_snapshot()
        elif chosen == DRAIN:
            self._kill_in_drain()
        else:
            self._count_kill(LOAD, self.node.kill())
        stop.set()
        for thread in threads:
            thread.join()
        if chosen == REPLAY:
            self._kill_in_replay()
        self._restart()
        self._check()
        self.counts[ACKNOWLEDGED] += self._acknowledged() - before
        self.counts[SEEN] = self.witness.seen

    def _acknowledged(self) -> int:
        return sum(len(trader.acknowledged) for trader in self.traders)

    def check_replay(self) -> None:
        """A replay from the journal's first command has the events of the running node."""
        with self.node.operator() as operator:
            live = operator.admin.get_node_status()
        command = [sys.executable, "-m", "dexnode", "journal", "replay", "--json"]
        command += [str(self.node.data_dir / "journal"), "--network-id", self.node.network_id]
        # The clock of a live node ticks on.
        command += ["--to-sequence", str(live.applied_sequence)]
        done = subprocess.run(command, capture_output=True, check=True)
        assert json.loads(done.stdout)["event_hash"] == live.event_hash
        self.counts["replays from the first command with the live event hash"] += 1

    # --- killing

    def _count_kill(self, kind: str, code: int) -> None:
        assert code == -signal.SIGKILL, f"the node had ended by itself with {code}"
        self.counts[kind] += 1

    def _kill_in_replay(self) -> None:
        self._begin()
        self._wait_for_log(REPLAYING)
        if self._chance.random() < 0.5:
            _NEVER.wait(self._chance.uniform(0, REPLAY_SECONDS))
        code = self.node.kill()
        # Nobody saw this life but its log: not replayed to the end, so killed in the middle.
        if REPLAYED in self._log():
            self.counts[REPLAY_MISSED] += 1
            return
        self._count_kill(REPLAY, code)

    def _kill_in_drain(self) -> None:
        self._log_start = self.node.log_path.stat().st_size
        self.node.send_signal(signal.SIGTERM)
        self._wait_for_log(DRAINING)
        _NEVER.wait(self._chance.uniform(0, DRAIN_SECONDS))
        code = self.node.kill()
        if code == 0:
            self.counts["drained before the kill"] += 1
            return
        self._count_kill(DRAIN, code)

    def _kill_in_snapshot(self) -> None:
        answered = threading.Event()

        def ask() -> None:
            try:
                with self.node.operator() as operator:
                    operator.admin.take_snapshot()
            except Exception:  # noqa: BLE001  the node is killed meanwhile
                return
            answered.set()

        thread = threading.Thread(target=ask)
        thread.start()
        pids = wait_until(
            lambda: children_running(self.node.pid, "dexruntime.snapshotter"), "a snapshot"
        )
        aims_at_the_file = self._chance.random() < 0.5
        seconds = 60 if aims_at_the_file else self._chance.uniform(0, SNAPSHOT_SECONDS)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not answered.is_set():
            if aims_at_the_file and self._half_written():
                break
            _NEVER.wait(LOOK_SECONDS)
        was_answered = answered.is_set()
        for pid in pids:
            _kill(pid)
        code = self.node.kill()
        thread.join()
        self.counts["... of these with the file unpublished"] += self._half_written()
        self._count_kill(LOAD if was_answered else SNAPSHOT, code)

    def _half_written(self) -> bool:
        return any((self.node.data_dir / "journal").glob("snapshot-*.tmp"))

    # --- living

    def _begin(self) -> None:
        self._log_start = self.node.log_path.stat().st_size
        self.node.begin()

    def _restart(self) -> None:
        self._log_start = self.node.log_path.stat().st_size
        self.node.start()
        self.counts["restarts"] += 1

    def _log(self) -> str:
        with self.node.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _wait_for_log(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self._log():
            assert time.monotonic() < deadline, f"the node never said {text}"
            _NEVER.wait(LOOK_SECONDS)

    def _check(self) -> None:
        node = self.node
        with grpc.insecure_channel(node.grpc_address) as channel:
            self.witness.check(channel, node)
            accounts = [witnesses.get_account(channel, node, trader) for trader in self.traders]
            for trader, account in zip(self.traders, accounts, strict=True):
                assert account.sequence >= trader.last_sequence, "the journal lost its end"
        for trader in self.traders:
            trader.retry(node)
        witnesses.check_node(node, self.traders)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
