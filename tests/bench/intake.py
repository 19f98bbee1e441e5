"""Orders through a whole node: single ones, each signed or each with the MAC of a session, and
batches of 100 under one signature.

Open loop on one OrderStream; a latency counts from the moment its message was due. A step of the
search for the knee passes when every message was answered and p99 is within the limit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import order_intake_pb2 as orders_pb
from tests.bench.bench_node import NETWORK_ID, BenchNode, NotMeasurable
from tests.bench.cpu import cpu_seconds, node_cpu_seconds, resident_bytes
from tests.bench.jitter import Jitter, JitterControl
from tests.bench.journal import measure_replay
from tests.bench.load import read_messages
from tests.bench.report import MS, Limit, Peer, Row, percentile
from tests.bench.subscribers import FEEDS
from tests.bench.workload import EXPIRY_SECONDS, MIX, Workload, prepare

KNEE_FACTOR: Final = 1.25
KNEE_STEPS_MAX: Final = 8
SCRAPE_SECONDS: Final = 5.0
REFUSED: Final = orders_pb.ORDER_STATUS_REJECTED


class Shape(NamedTuple):
    """One kind of load and its targets; ``batch_items`` of 0 is one order a message."""

    name: str
    batch_items: int
    orders_per_second: int
    p99_ms_max: float
    is_session: bool = False

    @property
    def items(self) -> int:
        """Orders in one message."""
        return self.batch_items or 1


SINGLE: Final = Shape("single orders", 0, 7_500, 20)
SESSION: Final = Shape("session orders", 0, 10_000, 20, is_session=True)
BATCHES: Final = Shape("batches of 100", 100, 75_000, 30)


class Run(NamedTuple):
    """One load at one rate."""

    orders_per_second: int
    sent: int
    missing: int
    latency_ms: tuple[float, float, float]
    late_ms_p99: float
    reached_per_second: float
    cpu_us: dict[str, float]
    statuses: Counter[str]
    refusals: Counter[str]
    fills: int
    jitter: Jitter
    sign_seconds: float
    resident_mb: float

    def passes(self, shape: Shape) -> bool:
        """Whether all was answered in time."""
        return not self.missing and self.latency_ms[1] <= shape.p99_ms_max


class Driver:
    """Runs loads of one shape against one node; every payload has its own nonce."""

    def __init__(self, node: BenchNode, shape: Shape, folder: Path) -> None:
        self.node = node
        self.shape = shape
        self._folder = folder
        self._nonce = 1

    def run(self, orders_per_second: int, seconds: float, grace_seconds: float = 5) -> Run:
        """One load; returns what came of it."""
        shape = self.shape
        count = max(1, int(orders_per_second * seconds) // shape.items)
        messages, answers = self._folder / "messages", self._folder / "answers"
        result_path, plan_path = self._folder / "result.json", self._folder / "load.json"
        traders = self.node.traders
        seed = self._nonce
        workload = Workload(
            traders, count, shape.batch_items, seconds, seed, seed, shape.is_session
        )
        self._nonce += count
        sign_seconds = prepare(workload, messages)
        if sign_seconds + seconds + grace_seconds > EXPIRY_SECONDS:
            raise NotMeasurable(
                f"signing took {sign_seconds:.0f} s: payloads would expire during the run"
            )
        plan = {
            "address": self.node.process.grpc_address,
            "messages": str(messages),
            "interval_ns": int(1e9 * shape.items / orders_per_second),
            "grace_seconds": grace_seconds,
            "answers": str(answers),
            "result": str(result_path),
        }
        if shape.is_session:
            plan["sessions"] = [(*trader, NETWORK_ID) for trader in traders]
        plan_path.write_text(json.dumps(plan))
        pid = self.node.process.pid
        before = self._cpu()
        with _Scraper(self.node):
            jitter = JitterControl(seconds)
            subprocess.run([sys.executable, "-m", "tests.bench.load", str(plan_path)], check=True)
        after = self._cpu()
        result = json.loads(result_path.read_text())
        statuses, refusals, fills = count_answers(answers)
        ascending = sorted(result["latencies_ns"])
        missing = count - result["answered"]
        done = max(1, result["answered"] * shape.items)
        return Run(
            orders_per_second,
            count,
            missing,
            _quantiles(ascending, missing),
            percentile(sorted(result["late_ns"]), 990) / MS,
            done * 1e9 / result["elapsed_ns"],
            {name: (after[name] - before[name]) / done * 1e6 for name in before}
            | {"load": result["client_cpu_seconds"] / done * 1e6},
            statuses,
            refusals,
            fills,
            jitter.result(),
            sign_seconds,
            resident_bytes(pid) / 2**20,
        )

    def _cpu(self) -> dict[str, float]:
        subscribers = cpu_seconds(self.node.subscribers_pid)
        return node_cpu_seconds(self.node.process.pid) | {"subscribers": subscribers}


class _Scraper:
    """Scrapes the metrics now and then, as Prometheus would."""

    def __init__(self, node: BenchNode) -> None:
        self._node = node
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._end.wait(SCRAPE_SECONDS):
            self._node.metrics()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()


def _quantiles(ascending: list[int], missing: int) -> tuple[float, float, float]:
    p50, p99, p999 = (percentile(ascending, n, missing) / MS for n in (500, 990, 999))
    return p50, p99, p999


def count_answers(path: Path) -> tuple[Counter[str], Counter[str], int]:
    """Items by status, refusals by reason, and fills of takers, from every answer."""
    by_status: Counter[int] = Counter()
    by_reason: Counter[int] = Counter()
    fills = 0
    for data in read_messages(path):
        answer = orders_pb.OrderStreamResponse.FromString(data)
        if answer.HasField("rejection"):
            by_status[REFUSED] += 1
            by_reason[answer.rejection.reason] += 1
        for item in answer.results:
            by_status[item.status] += 1
            fills += len(item.fills)
            if item.status == REFUSED:
                by_reason[item.rejection.reason] += 1
    statuses = Counter({_status(key): value for key, value in by_status.items()})
    reasons = Counter({_reason(key): value for key, value in by_reason.items()})
    return statuses, reasons, fills


def _status(number: int) -> str:
    name: str = orders_pb.OrderStatus.Name(number)  # type: ignore[arg-type]
    return name.removeprefix("ORDER_STATUS_").lower()


def _reason(number: int) -> str:
    name: str = errors_pb2.ErrorReason.Name(number)  # type: ignore[arg-type]
    return name.removeprefix("ERROR_REASON_")


def find_knee(
    start: int, passes: Callable[[int], bool], first_passed: bool, steps_max: int = KNEE_STEPS_MAX
) -> int:
    """Highest rate that passes: up from ``start`` while it does, else down until one does.

    Rates are KNEE_FACTOR apart. Zero when none of ``steps_max`` steps passes.
    """
    rate, best = start, start if first_passed else 0
    for _ in range(steps_max):
        rate = int(rate * KNEE_FACTOR) if first_passed else int(rate / KNEE_FACTOR)
        passed = passes(rate)
        if passed:
            best = rate
        if passed != first_passed:
            break
    return best


def measure(shape: Shape, *, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Everything about one shape of load."""
    seconds = 5.0 if quick else 60.0
    step_seconds = 3.0 if quick else 10.0
    idle = JitterControl(2.0 if quick else 10.0).result()
    with BenchNode(shape.name.replace(" ", "-")) as node:
        node.open_market()
        node.subscribe()
        driver = Driver(node, shape, node.process.data_dir)
        say(f"{shape.name}: warming up")
        driver.run(shape.orders_per_second // 2, 2.0)
        node.check_whole()
        say(f"{shape.name}: {shape.orders_per_second}/s for {seconds:.0f} s")
        main = driver.run(shape.orders_per_second, seconds, 30)
        say(describe(shape, main))
        node.check_whole()
        node.settle()

        def passes(rate: int) -> bool:
            run = driver.run(rate, step_seconds)
            say(describe(shape, run))
            node.settle()
            return run.passes(shape)

        knee = find_knee(
            shape.orders_per_second, passes, main.passes(shape), 3 if quick else KNEE_STEPS_MAX
        )
        published = {feed: node.metrics()["dex_marketdata_published_total", feed] for feed in FEEDS}
        got = node.unsubscribe()
        say("subscribers got " + ", ".join(f"{got[f]}/{published[f]:.0f} {f}" for f in FEEDS))
        rows = _rows(shape, main, knee, step_seconds, _conditions(node, shape, main, seconds, idle))
        node.process.stop()
        say(f"{shape.name}: replaying its journal")
        rows += measure_replay(shape.name, node.journal_dir)
    return rows


def _rows(shape: Shape, run: Run, knee: int, step_seconds: float, conditions: str) -> list[Row]:
    name = shape.name
    at = f"{name} at {shape.orders_per_second}/s"
    control = f"1 ms sleep, {run.jitter.text()}"
    p50, p99, p999 = run.latency_ms
    return [
        Row(f"{at}, p50", p50, "ms", conditions, Peer("sleep overshoot", run.jitter.p50)),
        Row(
            f"{at}, p99",
            p99,
            "ms",
            conditions,
            Peer("sleep overshoot", run.jitter.p99),
            Limit("value", True, shape.p99_ms_max),
        ),
        Row(f"{at}, p99.9", p999, "ms", conditions, Peer("sleep overshoot", run.jitter.p999)),
        Row(
            f"{name}, most with p99 <= {shape.p99_ms_max:g} ms",
            knee,
            "orders/s",
            f"steps of x{KNEE_FACTOR}, {step_seconds:.0f} s each, all answered; {control}",
            None,
            Limit("value", False, shape.orders_per_second),
        ),
        Row(f"{name}, answered", run.reached_per_second, "orders/s", conditions),
        *(
            Row(f"{name}, CPU of {part}", us, "us/order", conditions)
            for part, us in run.cpu_us.items()
        ),
    ]


def describe(shape: Shape, run: Run) -> str:
    """One line about a run."""
    p50, p99, p999 = run.latency_ms
    cpu = ", ".join(f"{name} {us:.1f}" for name, us in run.cpu_us.items())
    total = max(1, sum(run.statuses.values()))
    items = ", ".join(f"{name} {count / total:.1%}" for name, count in run.statuses.most_common())
    refused = ", ".join(f"{name} {count}" for name, count in run.refusals.most_common())
    return (
        f"  {run.orders_per_second}/s: p50 {p50:.2f} p99 {p99:.2f} p99.9 {p999:.2f} ms, "
        f"{run.missing} of {run.sent} unanswered, reached {run.reached_per_second:.0f}/s\n"
        f"    CPU us/order: {cpu}; sent p99 "
        f"{run.late_ms_p99:.2f} ms late, jitter {run.jitter.text()}, "
        f"node {run.resident_mb:.0f} MB\n"
        f"    items: {items}; fills/item {run.fills / total:.2f}; refused: {refused or 'none'}; "
        f"signed in {run.sign_seconds:.1f} s" + ("" if run.passes(shape) else "   (not passed)")
    )


def _authentication(shape: Shape) -> str:
    if shape.is_session:
        return "a session each: a MAC an order, a countersignature a second"
    return f"{shape.items} orders a signature"


def _conditions(node: BenchNode, shape: Shape, run: Run, seconds: float, idle: Jitter) -> str:
    total = max(1, sum(run.statuses.values()))
    refused = run.statuses[_status(REFUSED)] / total
    return (
        f"{shape.orders_per_second} orders/s offered for {seconds:.0f} s on one stream, "
        f"{len(node.traders)} accounts, {_authentication(shape)}; {MIX}; "
        f"{run.fills / total:.2f} fills and {refused:.2%} refusals an item; "
        f"fdatasync on {node.filesystem}, one subscriber on each of {len(FEEDS)} feeds, metrics "
        f"scraped; {os.cpu_count()} cores shared with load and subscribers; 1 ms sleep overshoots "
        f"p50/p99/p99.9 {run.jitter.text()} meanwhile, {idle.text()} idle; "
        f"load average {os.getloadavg()[0]:.1f}"
    )
