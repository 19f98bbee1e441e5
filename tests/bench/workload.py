"""Orders, made and signed beforehand: ``python -m tests.bench.workload PLAN WORKER``.

The mix, by item: 60% limit orders that rest within 60 ticks of a wandering middle, 10% that rest
far from it, 20% immediate-or-cancel orders that reach through the near ones, 10% cancels of the
oldest far order of the account. Takers take about what near orders bring, so the book keeps its
size; far orders are out of every taker's reach, so a cancel finds its order open. What became of
the items is counted from the answers.

Message n belongs to account n modulo the accounts. Every worker signs the messages of its own
accounts into a file; the files are interleaved again. A payload is valid for at most five minutes,
so signing and the run together must end within that (`EXPIRY_SECONDS`).
"""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import signed_payload_pb2 as pb
from dexsdk import Key, timestamp_of
from dexsdk.signing import sign_payload
from tests.bench.bench_node import MARKET_ID, NETWORK_ID, Trader

MIX: Final = "60% near and 10% far limit orders, 20% IOC takers, 10% cancels"
EXPIRY_SECONDS: Final = 295
WORKERS: Final = min(4, os.cpu_count() or 1)
ANCHOR_TICKS: Final = 6_100_000
WANDER_TICKS: Final = 40
NEAR_TICKS: Final = 60
FAR_TICKS: Final = (150, 400)
NEAR_LOTS_MAX: Final = 2_000
DEPTH_LOTS: Final = 500_000
FAR_OPEN: Final = 50
STEPS_PER_SECOND: Final = 100


class Workload(NamedTuple):
    """Messages to make: ``batch_items`` of 0 means one order a message.

    With ``is_session`` they are payloads that sessions will answer for, else signed requests.
    """

    traders: list[Trader]
    message_count: int
    batch_items: int
    seconds: float
    nonce_start: int
    seed: int
    is_session: bool = False


class _Flow:
    """The decisions of one worker's accounts."""

    def __init__(self, workload: Workload, worker: int) -> None:
        self._chance = random.Random(f"{workload.seed}-{workload.nonce_start}-{worker}")
        self._next_client_id = [workload.nonce_start * 1_000] * len(workload.traders)
        self._far: list[deque[int]] = [deque() for _ in workload.traders]
        self._resting_lots = [0, 0]

    def fill(self, item: Any, trader: int, middle_ticks: int) -> None:
        """Decide one item: a Payload or a BatchItem, which name their actions alike."""
        chance = self._chance
        draw = chance.random()
        far = self._far[trader]
        side = chance.getrandbits(1)
        if draw < 0.1 and len(far) >= FAR_OPEN:
            item.cancel.client_order_id = far.popleft()
            return
        order = item.place
        order.market_id = MARKET_ID
        order.side = side + 1
        order.type = pb.ORDER_TYPE_LIMIT
        away = 1 if side else -1
        if 0.2 <= draw < 0.4:
            order.time_in_force = pb.TIME_IN_FORCE_IOC
            order.price_ticks = middle_ticks - away * NEAR_TICKS
            order.quantity_lots = self._taken_lots(1 - side)
            return
        order.time_in_force = pb.TIME_IN_FORCE_GTC
        client_id = self._next_client_id[trader] = self._next_client_id[trader] + 1
        order.client_order_id = client_id
        lots = order.quantity_lots = chance.randint(1, NEAR_LOTS_MAX)
        if draw < 0.2:
            order.price_ticks = ANCHOR_TICKS + away * chance.randint(*FAR_TICKS)
            far.append(client_id)
        else:
            order.price_ticks = middle_ticks + away * chance.randint(1, NEAR_TICKS)
            self._resting_lots[side] += lots

    def _taken_lots(self, side: int) -> int:
        """About three near orders, more when the side is deep, fewer when it is thin."""
        resting = self._resting_lots[side]
        factor = min(2.0, max(0.1, resting / DEPTH_LOTS))
        lots = self._chance.randint(1, int(3 * NEAR_LOTS_MAX * factor))
        self._resting_lots[side] = max(0, resting - lots)
        return lots


def middles(workload: Workload) -> list[int]:
    """The wandering middle, every hundredth of a second."""
    chance = random.Random(workload.seed)
    found, middle = [], ANCHOR_TICKS
    for _ in range(int(workload.seconds * STEPS_PER_SECOND) + 1):
        middle += chance.randint(-2, 2)
        middle = min(ANCHOR_TICKS + WANDER_TICKS, max(ANCHOR_TICKS - WANDER_TICKS, middle))
        found.append(middle)
    return found


def messages(
    workload: Workload, worker: int, expire_time_ns: Callable[[], int], workers: int = WORKERS
) -> Iterator[bytes]:
    """The messages of one worker, in order; each expires when the function says."""
    flow = _Flow(workload, worker)
    path = middles(workload)
    keys = [Key(bytes.fromhex(trader.seed_hex)) for trader in workload.traders]
    for number in range(worker, workload.message_count, workers):
        trader = number % len(keys)
        middle = path[number * (len(path) - 1) // workload.message_count]
        payload = pb.Payload(
            network_id=NETWORK_ID,
            account_id=workload.traders[trader].account_id,
            nonce=workload.nonce_start + number,
            expire_time=timestamp_of(expire_time_ns()),
        )
        if workload.batch_items:
            items = payload.batch.items
            for _ in range(workload.batch_items):
                flow.fill(items.add(), trader, middle)
        else:
            flow.fill(payload, trader, middle)
        if workload.is_session:
            yield payload.SerializeToString()
            continue
        envelope = sign_payload(keys[trader], payload.SerializeToString())
        yield orders_pb.OrderStreamRequest(envelope=envelope).SerializeToString()


def prepare(workload: Workload, path: Path) -> float:
    """Sign everything into one file, in order; returns the seconds it took."""
    if len(workload.traders) % WORKERS:
        raise ValueError("accounts must divide evenly among the signing processes")
    started = time.monotonic()
    plan = path.with_suffix(".plan")
    expire_time_ns = time.time_ns() + EXPIRY_SECONDS * 10**9
    document = workload._asdict() | {"expire_time_ns": expire_time_ns, "path": str(path)}
    plan.write_text(json.dumps(document))
    processes = [
        subprocess.Popen([sys.executable, "-m", "tests.bench.workload", str(plan), str(worker)])
        for worker in range(WORKERS)
    ]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError("a signing process failed")
    parts = [_part(path, worker) for worker in range(WORKERS)]
    with path.open("wb") as out:
        files = [part.open("rb") for part in parts]
        for number in range(workload.message_count):
            out.write(_read_one(files[number % WORKERS]))
        for file, part in zip(files, parts, strict=True):
            file.close()
            part.unlink()
    return time.monotonic() - started


def _part(path: Path, worker: int) -> Path:
    return path.with_suffix(f".{worker}")


def _read_one(file: BinaryIO) -> bytes:
    """One length-prefixed message, with its length."""
    head = file.read(4)
    (size,) = struct.unpack("<I", head)
    return head + file.read(size)


def main() -> None:
    """Sign one worker's share."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    path, expire_time_ns = Path(plan.pop("path")), plan.pop("expire_time_ns")
    plan["traders"] = [Trader(*row) for row in plan["traders"]]
    worker = int(sys.argv[2])
    with _part(path, worker).open("wb") as out:
        for message in messages(Workload(**plan), worker, lambda: expire_time_ns):
            out.write(struct.pack("<I", len(message)) + message)


if __name__ == "__main__":
    main()
