"""Minutes at 70% of the knee: nothing lost, memory that does not grow, and what a snapshot costs.

The load is open loop: each order is sent when it is due, and late answers are charged from then. It
is signed while it runs, seconds ahead, for payloads of half a minute. The knee is found first: the
highest rate, in steps of 1.25, at which everything is answered with p99 within KNEE_P99_MS_MAX.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, final

from tests.bench.bench_node import BenchNode, Trader
from tests.bench.cpu import resident_bytes
from tests.bench.intake import SINGLE, Driver, count_answers, find_knee
from tests.bench.jitter import JitterControl
from tests.bench.report import MS, percentile
from tests.bench.workload import Workload, messages
from tests.soak.job import Run

SHARE_OF_KNEE: Final = 0.7
KNEE_START: Final = 1_500
KNEE_P99_MS_MAX: Final = 100.0
KNEE_STEP_SECONDS: Final = 10.0
WARM_UP_SECONDS: Final = 120
PART_SECONDS: Final = 5
AHEAD_SECONDS: Final = 15
EXPIRY_SECONDS: Final = 45
GRACE_SECONDS: Final = 30.0
SLOPE_MIB_PER_MINUTE_MAX: Final = 1.0
SNAPSHOT_P99_RATIO_MAX: Final = 2.0
WORST_SECONDS: Final = 12
# Messages due in the seconds after a snapshot still wait in queues it made.
AFTER_SNAPSHOT_SECONDS: Final = 1.0
NS: Final = 10**9


class Sample(NamedTuple):
    """The node's memory at a time since the load began."""

    seconds: float
    mib: float


def slope_per_minute(samples: Sequence[Sample]) -> float:
    """Least squares: MiB a minute."""
    mean_x = sum(sample.seconds for sample in samples) / len(samples)
    mean_y = sum(sample.mib for sample in samples) / len(samples)
    spread = sum((sample.seconds - mean_x) ** 2 for sample in samples)
    along = sum((sample.seconds - mean_x) * (sample.mib - mean_y) for sample in samples)
    return 60 * along / spread if spread else 0.0


def split(
    latencies_ns: Sequence[int], interval_ns: int, spans: Sequence[tuple[float, float]]
) -> tuple[list[int], list[int]]:
    """Latencies of messages that were due within the spans of seconds, and of all others."""
    inside: list[int] = []
    outside: list[int] = []
    for number, latency_ns in enumerate(latencies_ns):
        due = number * interval_ns / NS
        chosen = inside if any(start <= due <= end for start, end in spans) else outside
        chosen.append(latency_ns)
    return inside, outside


def worst_seconds(latencies_ns: Sequence[int], interval_ns: int) -> list[str]:
    """The seconds in which the longest waits began, in order of time: one stall is in several."""
    worst: dict[int, int] = {}
    for number, latency_ns in enumerate(latencies_ns):
        second = number * interval_ns // NS
        worst[second] = max(latency_ns, worst.get(second, 0))
    chosen = sorted(sorted(worst, key=lambda second: -worst[second])[:WORST_SECONDS])
    return [f"{second} s: {worst[second] / MS:.0f} ms" for second in chosen]


@final
class Watch:
    """Samples the node's memory, scrapes its metrics, and takes snapshots when told."""

    def __init__(self, node: BenchNode, run: Run, snapshots_at: Sequence[float]) -> None:
        self.samples: list[Sample] = []
        self.snapshots: list[tuple[float, float]] = []
        self._node = node
        self._run = run
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._sample),
            threading.Thread(target=self._take_snapshots, args=(snapshots_at,)),
        ]

    @property
    def seconds(self) -> float:
        """Since the load began."""
        return time.monotonic() - self._started

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(1.0):
            mib = resident_bytes(self._node.process.pid) / 2**20
            self.samples.append(Sample(self.seconds, mib))
            self._run.done = min(self._run.goal, max(0, int(self.seconds) - WARM_UP_SECONDS))
            self._run.tell()
            if len(self.samples) % 5 == 0:
                self._node.metrics()

    def _take_snapshots(self, snapshots_at: Sequence[float]) -> None:
        for at in snapshots_at:
            if self._stop.wait(max(0.0, at - self.seconds)):
                return
            start = self.seconds
            with self._node.process.operator() as operator:
                operator.admin.take_snapshot(timeout_seconds=600)
            self.snapshots.append((start, self.seconds + AFTER_SNAPSHOT_SECONDS))


def work(run: Run) -> None:
    """Find the knee, run at 70% of it, and hold the figures against their limits."""
    with BenchNode("endurance") as node:
        node.open_market()
        node.subscribe()
        folder = node.process.data_dir
        driver = Driver(node, SINGLE, folder)
        driver.run(500, 2.0)
        node.check_whole()
        rate = int(SHARE_OF_KNEE * _knee(run, driver))
        # A bound that leaves less still leaves a run that says how far it came.
        seconds = int(min(run.goal, run.seconds_left - WARM_UP_SECONDS - 60))
        if seconds < PART_SECONDS:
            return
        _endure(run, node, rate, seconds)


def _knee(run: Run, driver: Driver) -> int:
    def passes(rate: int) -> bool:
        found = driver.run(rate, KNEE_STEP_SECONDS)
        driver.node.settle()
        run.figures[f"step of {rate}/s"] = (
            f"p99 {found.latency_ms[1]:.0f} ms, {found.missing} unanswered, "
            f"jitter {found.jitter.text()}"
        )
        run.tell()
        return not found.missing and found.latency_ms[1] <= KNEE_P99_MS_MAX

    knee = find_knee(KNEE_START, passes, passes(KNEE_START))
    assert knee, f"no rate keeps p99 within {KNEE_P99_MS_MAX:g} ms on this machine"
    run.figures["knee"] = (
        f"{knee} orders/s, the highest of steps of 1.25 with p99 within {KNEE_P99_MS_MAX:g} ms "
        "and everything answered"
    )
    return knee


def _endure(run: Run, node: BenchNode, rate: int, seconds: int) -> None:
    folder = node.process.data_dir
    total_seconds = WARM_UP_SECONDS + seconds
    count, interval_ns = rate * total_seconds, NS // rate
    parts = [str(folder / f"part-{number}") for number in range(-(-total_seconds // PART_SECONDS))]
    plan: dict[str, Any] = {
        "address": node.process.grpc_address,
        "parts": parts,
        "count": count,
        "interval_ns": interval_ns,
        "grace_seconds": GRACE_SECONDS,
        "answers": str(folder / "answers"),
        "result": str(folder / "result.json"),
        "traders": node.traders,
        "rate": rate,
    }
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    trades_before = node.metrics()["dex_trades_total", ""]
    signer = subprocess.Popen([sys.executable, "-m", "tests.soak.endurance", str(path)])
    try:
        while not Path(parts[AHEAD_SECONDS // PART_SECONDS - 1]).exists():
            assert signer.poll() is None, "the signing process ended"
            time.sleep(0.1)
        jitter = JitterControl(total_seconds)
        snapshots_at = [WARM_UP_SECONDS + seconds * share for share in (0.3, 0.6)]
        with Watch(node, run, snapshots_at) as watch:
            subprocess.run([sys.executable, "-m", "tests.bench.load", str(path)], check=True)
    finally:
        signer.kill()
        signer.wait()
    run.done = min(run.goal, seconds)
    result = json.loads((folder / "result.json").read_text())
    control = jitter.result()
    _, refusals, fills = count_answers(folder / "answers")
    trades = node.metrics()["dex_trades_total", ""] - trades_before
    run.counts["orders sent"] = count
    run.counts["orders answered"] = result["answered"]
    run.counts["orders refused"] = sum(refusals.values())
    run.counts["trades"] = int(trades)
    run.figures["load"] = f"{rate} orders/s for {WARM_UP_SECONDS} s of warm-up and {seconds} s"
    run.figures["jitter control (1 ms sleep too long by, p50/p99/p99.9)"] = control.text()
    judge(run, result["latencies_ns"], interval_ns, watch)
    assert result["answered"] == count, "orders were never answered"
    assert fills == trades, f"answers tell of {fills} fills and the node of {trades:.0f} trades"
    assert not refusals, f"orders were refused: {dict(refusals)}"


def judge(run: Run, latencies_ns: Sequence[int], interval_ns: int, watch: Watch) -> None:
    """Write the figures down, then raise for the first that misses its limit."""
    warm = [sample for sample in watch.samples if sample.seconds >= WARM_UP_SECONDS]
    slope = slope_per_minute(warm)
    run.figures["node memory"] = (
        f"{warm[0].mib:.0f} MiB after the warm-up, {warm[-1].mib:.0f} MiB at the end, "
        f"slope {slope:.2f} MiB/min (limit {SLOPE_MIB_PER_MINUTE_MAX:g})"
    )
    first = WARM_UP_SECONDS * NS // interval_ns
    inside, outside = split(
        latencies_ns[first:],
        interval_ns,
        [(start - WARM_UP_SECONDS, end - WARM_UP_SECONDS) for start, end in watch.snapshots],
    )
    for name, values in (("without a snapshot", outside), ("during snapshots", inside)):
        values.sort()
        p50, p99, p999 = (percentile(values, rank) / MS for rank in (500, 990, 999))
        run.figures[f"latency {name}, p50/p99/p99.9"] = (
            f"{p50:.1f}/{p99:.1f}/{p999:.1f} ms of {len(values):,} orders"
        )
    spans_text = ", ".join(worst_seconds(latencies_ns[first:], interval_ns))
    run.figures["worst seconds of the run, with the longest latency due in each"] = spans_text
    run.counts["snapshots"] = len(watch.snapshots)
    spans = ", ".join(
        f"{end - start:.0f} s from {start - WARM_UP_SECONDS:.0f} s on"
        for start, end in watch.snapshots
    )
    run.figures["snapshots took"] = spans or "none was made"
    assert slope < SLOPE_MIB_PER_MINUTE_MAX, f"memory grows by {slope:.2f} MiB/min"
    if inside:
        ratio = percentile(inside, 990) / percentile(outside, 990)
        run.figures["p99 during snapshots over p99 without"] = f"{ratio:.2f}"
        assert ratio <= SNAPSHOT_P99_RATIO_MAX, f"p99 during a snapshot is {ratio:.2f} of without"


def sign(plan: dict[str, Any]) -> None:
    """Write the parts, some seconds ahead of the load."""
    count, rate = plan["count"], plan["rate"]
    traders = [Trader(*row) for row in plan["traders"]]
    workload = Workload(traders, count, 0, count / rate, 1_000_000_000, 7)
    signed = messages(workload, 0, lambda: time.time_ns() + EXPIRY_SECONDS * NS, 1)
    started = time.monotonic()
    for number, name in enumerate(plan["parts"]):
        ahead = number * PART_SECONDS - (time.monotonic() - started)
        time.sleep(max(0.0, ahead - AHEAD_SECONDS))
        new = Path(name + ".tmp")
        with new.open("wb") as out:
            for _ in range(min(rate * PART_SECONDS, count - number * rate * PART_SECONDS)):
                message = next(signed)
                out.write(struct.pack("<I", len(message)) + message)
        new.replace(name)


if __name__ == "__main__":
    sign(json.loads(Path(sys.argv[1]).read_text()))
