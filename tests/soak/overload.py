"""Overload: a node on one core, three times what it can take, floods, and readers that stall.

The node and its processes are pinned to core 0, the load to core 1. What must hold whatever the
machine is asserted at once: everything is answered, everything refused says when to come back,
memory is bounded, floods are calmed, a stalled reader is cut and loses nothing. Ratios of figures
measured side by side in one run are judged at its end, when all of them are known: the job has
failed if one misses its target.
"""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from tests.bench.bench_node import MARKET_ID, BenchNode
from tests.bench.cpu import resident_bytes
from tests.bench.load import read_messages
from tests.bench.report import percentile
from tests.bench.workload import Workload, prepare
from tests.soak.job import Run
from tests.soak.overload_client import (
    CLOSED_FILL_SECONDS,
    Tally,
    UnaryClient,
    closed_loop,
    open_loop,
    settle,
)
from tests.soak.overload_peers import GO_ON, PAUSE

NODE_CORE, LOAD_CORE = 0, 1
CONNECTIONS: Final = 8
IN_FLIGHT: Final = 16
OVERLOAD: Final = 3.0
OVERLOAD_SECONDS: Final = 60.0
PROBE_SECONDS: Final = 6.0
# So often, and for so long each time, are the knee and the overload compared.
TURNS: Final = 16
TURN_SECONDS: Final = 3.5
# What the first probe is signed for: single orders a second, batches a quarter of it.
KNEE_MAX: Final = 3_200.0
# Until queues are as long as they stay: what fills them is not answered meanwhile. A node at its
# knee takes longer for that than one far above it.
FILL_SECONDS: Final = 3.0
OVERLOAD_FILL_SECONDS: Final = 1.5
# So many readers stall one after the other, and so long is nobody stalled before each; in
# rounds, since what is signed expires.
STALLED_COUNT: Final = 16
STALLED_ROUNDS: Final = 3
WITHOUT_SECONDS: Final = 5.0
READ_RATE: Final = 100.0
# What the readers tell of.
TURNS_OF_READERS: Final = ("without", "beside")
TRADES_PER_ITEM_MIN: Final = 0.2
# Targets: shares of the knee, of the goodput without floods, of the p99 without a stalled reader.
GOODPUT_MIN: Final = 0.8
CALM_SECONDS: Final = 5.0
HONEST_MIN: Final = 0.9
CUT_SECONDS: Final = 5.0
LIVE_P99_MAX: Final = 1.1
# Honest clients offer a little more than the node can take, so that it is never idle, and each
# flooder comes back at once.
HONEST_LOAD: Final = 1.1
FLOODERS: Final = 4
HONEST_ADDRESS, OTHER_ADDRESS = "127.0.0.1", "127.0.0.2"
# So often do floods come and go, and for so long each time.
FLOOD_WINDOWS: Final = 24
FLOOD_WINDOW_SECONDS: Final = 1.5
AGAIN_SECONDS: Final = 2.0
AGAIN_SECONDS_MAX: Final = 60.0
# What both sizes take in full, signing included; with less time each scenario is shorter.
FULL_SECONDS: Final = 2_600.0
CALM_NS: Final = 100 * 10**6
# Journal, views and answers to retries of what was taken, and the queues; a leak is far above.
GROWTH_BYTES_MAX: Final = 512 << 20
MIB: Final = 1 << 20


def work(run: Run) -> None:
    """All scenarios, with single orders and then with batches."""
    gc.disable()
    share = min(1.0, run.seconds_left / FULL_SECONDS)
    missed: list[str] = []
    for items in (1, 20):
        with BenchNode(f"overload-{items}") as node:
            os.sched_setaffinity(0, {LOAD_CORE})
            pin(node.process.pid, NODE_CORE)
            node.open_market()
            Stage(run, node, items, share, missed).play()
        run.done += 1
    gc.enable()
    judge(missed)


def judge(missed: list[str]) -> None:
    """Raises AssertionError when a target was missed, naming each with its figure."""
    assert not missed, "target not reached: " + "; ".join(missed)


def turn_by_turn(rounds: Iterable[Sequence[list[float]]]) -> tuple[float, float]:
    """Each turn beside something over the mean of the two around it: the geometric mean of these
    ratios, and its standard error. A round is its turns without, and those beside."""
    changes = []
    for without, beside in rounds:
        assert min(*without, *beside) > 0, "a whole turn without a message"
        around = [(one + other) / 2 for one, other in pairwise(without)]
        changes += [math.log(turn / calm) for turn, calm in zip(beside, around, strict=True)]
    ratio = math.exp(statistics.fmean(changes))
    return ratio, ratio * statistics.stdev(changes) / math.sqrt(len(changes))


def share_by_turns(without: Sequence[float], beside: Sequence[float]) -> tuple[float, float]:
    """What turns came to beside something, of what those around each did without; and the standard
    error of that share. For sums: one turn may be nothing."""
    around = [(one + other) / 2 for one, other in pairwise(without)]
    changes = [turn - calm for turn, calm in zip(beside, around, strict=True)]
    mean = statistics.fmean(around)
    error = statistics.stdev(changes) / math.sqrt(len(changes))
    return statistics.fmean(beside) / mean, error / mean


def pin(pid: int, core: int) -> None:
    """Pin a process, its threads and its children."""
    family = [pid]
    for found in family:
        for thread in Path(f"/proc/{found}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
            family += map(int, (thread / "children").read_text().split())


class Stage:
    """One node and one size of batches."""

    def __init__(
        self, run: Run, node: BenchNode, items: int, share: float, missed: list[str]
    ) -> None:
        """What misses its target goes into `missed`."""
        self._run = run
        self._missed = missed
        self._node = node
        self._items = items
        self._share = share
        self._nonce = 1
        self._knee = 0.0
        self._answered_before = run.counts["calls answered"]

    def play(self) -> None:
        """The scenarios in turn."""
        self._find_knee()
        self._overload()
        self._goodput()
        self._many_on_one_connection()
        self._floods()
        self._stalled_reader()
        self._check_trades()

    # --- scenarios

    def _find_knee(self) -> None:
        """After a warm-up: an empty book is cheaper than one that trades."""
        self._knee = KNEE_MAX if self._items == 1 else KNEE_MAX / 4
        self._probe(CONNECTIONS, IN_FLIGHT)
        self._knee = self._probe(CONNECTIONS, IN_FLIGHT)
        self._say("knee", f"{self._knee:,.0f} calls/s")

    def _probe(
        self, connections: int, in_flight: int, probe_seconds: float = PROBE_SECONDS
    ) -> float:
        """Calls a second that are taken from so many connections with so many calls in flight."""
        seconds = probe_seconds * self._share
        tally, clients = self._clients(connections)
        bodies = self._sign(int(self._knee * 1.5 * (CLOSED_FILL_SECONDS + seconds)) + 1_000)
        rate = closed_loop(clients, bodies, in_flight, seconds)
        self._check(tally)
        assert not tally.refused, "a node that is not overloaded refuses"
        self._close(clients)
        return rate

    def _overload(self) -> None:
        """A minute at three times the knee between two minutes at the knee: what a node takes for
        six seconds after a rest it does not take for a minute, at whichever load."""
        before_knee = self._probe(CONNECTIONS, IN_FLIGHT, OVERLOAD_SECONDS)
        self._say("knee for a minute before", f"{before_knee:,.0f} calls/s")
        self._knee = before_knee
        first_half, second_half = self._overload_minute()
        after_knee = self._probe(CONNECTIONS, IN_FLIGHT, OVERLOAD_SECONDS)
        self._say("knee for a minute after", f"{after_knee:,.0f} calls/s")
        goodput = statistics.fmean((first_half, second_half))
        share = goodput / statistics.fmean((before_knee, after_knee))
        self._target(
            "goodput of the minute",
            f"{share:.3f} of the knee in the minutes around it",
            share >= GOODPUT_MIN,
        )
        self._say(
            "second half of the minute", f"{second_half / after_knee:.3f} of the knee after it"
        )

    def _overload_minute(self) -> list[float]:
        """Calls a second that are taken in its first and in its second half."""
        seconds = OVERLOAD_SECONDS * self._share
        rate = OVERLOAD * self._knee
        bodies = self._sign(int(rate * seconds) + 5_000)
        tally, clients = self._clients()
        before = resident_bytes(self._node.process.pid)
        memory = _Watermark(self._node.process.pid)
        halves, took = [], 0.0
        with memory:
            for _ in range(2):
                ok = tally.ok
                half = open_loop(clients, bodies, rate, seconds / 2)
                halves.append((tally.ok - ok) / half)
                took += half
            ended = time.monotonic()
            settle(clients)
        self._check(tally)
        self._say("offered", f"{tally.sent / took / self._knee:.2f} of the knee")
        self._say(
            "taken in the halves of the minute", f"{halves[0]:,.0f} and {halves[1]:,.0f} calls/s"
        )
        self._say("refused with RetryInfo", f"{tally.refused:,} of {tally.sent:,}, all")
        p99_ms = percentile(sorted(tally.latencies_ns), 990) / 1e6
        self._say("p99 of what was taken", f"{p99_ms:,.0f} ms")
        grown = memory.highest - before
        self._say("memory", f"{memory.highest // MIB} MiB at most, {grown // MIB} MiB more")
        assert tally.refused, "three times the knee was not refused"
        assert grown < GROWTH_BYTES_MAX, f"{grown // MIB} MiB more under overload"
        self._calm(ended, bodies)
        self._close(clients)
        return halves

    def _goodput(self) -> None:
        """What is taken at the knee and at three times the knee, by turns: a node slows down as its
        book grows and its machine from one moment to the next, which falls on both alike."""
        rate, seconds = OVERLOAD * self._knee, TURN_SECONDS * self._share
        calls = self._knee * 1.5 * (CLOSED_FILL_SECONDS + seconds)
        calls += rate * (OVERLOAD_FILL_SECONDS + seconds)
        bodies = self._sign(TURNS * int(calls + 1_000))
        tally, clients = self._clients()
        at_knee, above = [], []
        for _ in range(TURNS):
            at_knee.append(closed_loop(clients, bodies, IN_FLIGHT, seconds))
            above.append(self._while_offered(clients, bodies, rate, seconds, OVERLOAD_FILL_SECONDS))
            settle(clients)
        self._check(tally)
        self._close(clients)
        shares = [one / other for one, other in zip(above, at_knee, strict=True)]
        share = sum(above) / sum(at_knee)
        self._target(
            "goodput at overload",
            f"{share:.3f} of the knee in {TURNS} turns ({min(shares):.2f} to {max(shares):.2f})",
            share >= GOODPUT_MIN,
        )
        self._knee = sum(at_knee) / TURNS
        self._say("knee in these turns", f"{self._knee:,.0f} calls/s")

    def _while_offered(
        self,
        clients: list[UnaryClient],
        bodies: Iterator[bytes],
        rate: float,
        seconds: float,
        fill_seconds: float,
    ) -> float:
        """Calls a second answered while a load is offered, after the queues have filled, and not
        what is caught up with afterwards."""
        tally = clients[0].tally
        open_loop(clients, bodies, rate, fill_seconds)
        ok = tally.ok
        took = open_loop(clients, bodies, rate, seconds)
        return (tally.ok - ok) / took

    def _calm(self, since: float, bodies: Iterator[bytes]) -> None:
        """Twenty calls in a row, each answered at once: back to normal."""
        tally, (client, *_) = self._clients(1)
        in_a_row = 0
        while in_a_row < 20:
            waited = time.monotonic() - since
            assert waited < 30, "not back to normal in 30 s"
            ok = tally.ok
            closed_once(client, next(bodies))
            fast = tally.ok > ok and tally.latencies_ns[-1] < CALM_NS
            in_a_row = in_a_row + 1 if fast else 0
        waited = time.monotonic() - since
        self._target("normal again", f"after {waited:.1f} s", waited <= CALM_SECONDS)
        self._close([client])

    def _many_on_one_connection(self) -> None:
        rate = self._probe(1, 200)
        self._say("200 in flight on one connection", f"{rate:,.0f} calls/s")

    def _floods(self) -> None:
        """Floods from another address, and then from that of the honest clients, whose connections
        were there before them."""
        for source in (OTHER_ADDRESS, HONEST_ADDRESS):
            self._under_floods(source)

    def _under_floods(self, source: str) -> None:
        """What honest clients are answered while floods come and go: within so short a time a
        machine keeps its speed."""
        rate, window = HONEST_LOAD * self._knee, FLOOD_WINDOW_SECONDS * self._share
        windows = 2 * FLOOD_WINDOWS + 1
        seconds = FILL_SECONDS + windows * window
        tally, clients = self._clients()
        bodies = self._sign(int(rate * seconds) + 100)
        flooders = [self._peers("flood", seconds, source=source) for _ in range(FLOODERS)]
        newcomers = self._peers("come", seconds, source=HONEST_ADDRESS)
        goodput = []
        try:
            open_loop(clients, bodies, rate, FILL_SECONDS)
            for number in range(windows):
                signal_all(flooders, GO_ON if number % 2 else PAUSE)
                ok = tally.ok
                took = open_loop(clients, bodies, rate, window)
                goodput.append((tally.ok - ok) / took)
        finally:
            signal_all(flooders, GO_ON)
        settle(clients)
        self._check(tally)
        self._close(clients)
        self._say_newcomers(source, finish(newcomers))
        self._judge_floods(source, sum((Counter(finish(one)) for one in flooders), Counter()))
        without, beside = goodput[::2], goodput[1::2]
        ratio, error = share_by_turns(without, beside)
        self._target(
            f"honest goodput under {_floods_of(source)}",
            f"{ratio:.3f} of without in {FLOOD_WINDOWS} windows of {window:.1f} s (standard error "
            f"{error:.2f}; {HONEST_LOAD:.2f} of the knee offered, {statistics.fmean(beside):,.0f} "
            f"and {statistics.fmean(without):,.0f} calls/s taken, in the least window "
            f"{min(beside):,.0f} and {min(without):,.0f})",
            ratio >= HONEST_MIN,
        )

    def _served_again(self, source: str) -> float:
        """Seconds until the address of floods that are over is served for a while: their last
        connections are held too, and flood when they are gone."""
        start = time.monotonic()
        while True:
            waited = time.monotonic() - start
            assert waited < AGAIN_SECONDS_MAX, f"{source} is not served again"
            if not finish(self._peers("come", AGAIN_SECONDS, source=source))["unserved"]:
                return waited

    def _say_newcomers(self, source: str, told: dict[str, Any]) -> None:
        latencies_ns = sorted(told["latencies_ns"])
        figure = f"{len(latencies_ns)} of {len(latencies_ns) + told['unserved']} served"
        if latencies_ns:
            median_ms, worst_ms = (percentile(latencies_ns, part) / 1e6 for part in (500, 1000))
            figure += f", p50 {median_ms:.0f} ms, worst {worst_ms:.0f} ms"
        self._say(f"newcomers beside {_floods_of(source)}", figure)

    def _judge_floods(self, source: str, counts: Counter[str]) -> None:
        """What became of the floods of an address, and when it was served again."""
        self._run.counts.update({f"floods: {name}": n for name, n in counts.items()})
        for kind in ("rapid_reset", "header_flood"):
            assert counts[f"{kind} calmed"], f"no {kind} was ended: {dict(counts)}"
            assert not counts[f"{kind} other"], f"a {kind} ended without ENHANCE_YOUR_CALM"
        calmed = counts["rapid_reset calmed"] + counts["header_flood calmed"]
        self._say(
            _floods_of(source),
            f"{FLOODERS} processes, {calmed:,} connections calmed, "
            f"{counts['left unread']:,} left unread for a second, "
            f"{counts['ended by a pause']:,} ended by a pause, "
            f"{counts['turned away']:,} turned away; "
            f"served again {self._served_again(source):.0f} s after the last",
        )

    def _stalled_reader(self) -> None:
        """99 readers of a market that trades, with and without one that stalls, by turns: what
        changes with time falls on both alike."""
        # Readers in one process must keep up with it.
        rate = min(self._knee / 4, READ_RATE if self._items == 1 else READ_RATE / 2)
        count = max(1, round(STALLED_COUNT * self._share))
        # Each turn is a time without and one until the cut; then all come back.
        seconds = (count + 1) * (WITHOUT_SECONDS + CUT_SECONDS + 1)
        plan = {"market_id": MARKET_ID, "live": 99, "stalled": count}
        rounds = []
        for _ in range(STALLED_ROUNDS):
            tally, clients = self._clients(1)
            bodies = self._sign(int(rate * seconds) + 100)
            peers = self._peers("read", WITHOUT_SECONDS, **plan)
            open_loop(clients, bodies, rate, seconds)
            settle(clients)
            self._check(tally)
            self._close(clients)
            rounds.append(finish(peers))
        self._judge_readers(rounds)

    def _judge_readers(self, rounds: list[dict[str, Any]]) -> None:
        for told in rounds:
            assert told["gaps"] == 0, "a live reader missed trades"
            assert told["ended"] == 0, "a live reader was cut"
            assert told["lost_on_resume"] == 0, "a resumed reader lost trades"
        cuts = [seconds for told in rounds for seconds in told["cut_after_seconds"]]
        self._target(
            "stalled readers cut",
            f"{len(cuts)}, after {min(cuts):.1f} to {max(cuts):.1f} s",
            max(cuts) <= CUT_SECONDS,
        )
        # One p99 over all turns would be that of the worst of them, with a standard error of 0.1.
        ratio, error = turn_by_turn(
            [[percentile(sorted(turn), 990) for turn in told[name]] for name in TURNS_OF_READERS]
            for told in rounds
        )
        calm, live = (
            sorted(one for told in rounds for turn in told[name] for one in turn)
            for name in TURNS_OF_READERS
        )
        p99_ms, p50_ms = (
            f"{percentile(live, part) / 1e6:.1f} and {percentile(calm, part) / 1e6:.1f} ms"
            for part in (990, 500)
        )
        self._target(
            "p99 of 99 live readers beside a stalled one",
            f"{ratio:.3f} of that without, in {len(cuts)} turns (standard error {error:.2f}; "
            f"of all {len(live):,} and {len(calm):,} messages p99 {p99_ms}, p50 {p50_ms})",
            ratio <= LIVE_P99_MAX,
        )

    def _check_trades(self) -> None:
        """A market that takes no more orders is answered quickly, and measures nothing."""
        trades = self._node.metrics()["dex_trades_total", ""]
        items = self._run.counts["calls answered"] - self._answered_before
        per_item = trades / (items * self._items)
        assert per_item > TRADES_PER_ITEM_MIN, f"{per_item:.2f} trades an item: what was measured?"
        self._say("trades", f"{trades:,.0f}, {per_item:.2f} an item")

    # --- parts

    def _clients(self, count: int = CONNECTIONS) -> tuple[Tally, list[UnaryClient]]:
        tally = Tally()
        address = self._node.process.grpc_address
        return tally, [UnaryClient(address, tally) for _ in range(count)]

    def _close(self, clients: list[UnaryClient]) -> None:
        for client in clients:
            client.socket.close()

    def _sign(self, count: int) -> Iterator[bytes]:
        """That many signed batches, prepared before the clock runs, for the empty book that is
        left: they are made so that it keeps its size, whatever rested before them."""
        self._node.settle()
        os.sched_setaffinity(0, {NODE_CORE, LOAD_CORE})
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            path = Path(folder) / "messages"
            workload = Workload(
                self._node.traders, count, self._items, 60.0, self._nonce, self._run.seed
            )
            prepare(workload, path)
            bodies = read_messages(path)
        self._nonce += count
        os.sched_setaffinity(0, {LOAD_CORE})
        self._run.tell()
        return iter(bodies)

    def _check(self, tally: Tally) -> None:
        assert not tally.other, f"neither answered nor refused: {tally.examples[:5]}"
        assert not tally.without_retry_info, f"{tally.without_retry_info} without RetryInfo"
        self._run.counts["calls answered"] += tally.ok
        self._run.counts["calls refused with RetryInfo"] += tally.refused

    def _peers(self, role: str, seconds: float, **more: Any) -> subprocess.Popen[str]:
        plan = {"role": role, "seconds": seconds, "address": self._node.process.grpc_address}
        # For the children, which a signal may reach before they have begun.
        signal.pthread_sigmask(signal.SIG_BLOCK, {PAUSE, GO_ON})
        peers = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.overload_peers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert peers.stdin is not None
        peers.stdin.write(json.dumps(plan | more))
        peers.stdin.close()
        return peers

    def _target(self, what: str, figure: str, is_reached: bool) -> None:
        """A figure that has a target, which the job is judged by."""
        figure = f"{figure}, {'reached' if is_reached else 'NOT reached'}"
        if not is_reached:
            self._missed.append(f"{self._kind}: {what}: {figure}")
        self._say(what, figure)

    @property
    def _kind(self) -> str:
        return "single orders" if self._items == 1 else f"batches of {self._items}"

    def _say(self, what: str, figure: str) -> None:
        kind = self._kind
        self._run.figures[f"{kind}: {what}"] = figure
        self._run.tell()


def _floods_of(source: str) -> str:
    return "floods from their own address" if source == HONEST_ADDRESS else "floods from another"


def signal_all(processes: list[subprocess.Popen[str]], number: signal.Signals) -> None:
    """Send a signal to those that still run."""
    for process in processes:
        process.send_signal(number)


def closed_once(client: UnaryClient, body: bytes) -> None:
    """One call, waited for."""
    client.call(body, time.perf_counter_ns())
    settle([client])


def finish(peers: subprocess.Popen[str]) -> dict[str, Any]:
    """What the peers found."""
    assert peers.stdout is not None
    with peers.stdout:
        output = peers.stdout.read()
    assert peers.wait(60) == 0, "the peers failed"
    found: dict[str, Any] = json.loads(output)
    return found


class _Watermark:
    """The most memory a process held."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.highest = 0

    def _watch(self) -> None:
        while not self._done.wait(0.25):
            self.highest = max(self.highest, resident_bytes(self._pid))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._thread.join()
