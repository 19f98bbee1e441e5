"""Server CPU of a unary call: the bare servers, and the whole node on either backend."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Final

from dex.matching.v1 import matching_pb2 as matching_pb
from dex.orders.v1 import order_intake_pb2 as orders_pb
from tests.bench import rpc_cpu
from tests.bench.bench_node import MARKET_ID, BenchNode
from tests.bench.report import Limit, Peer, Row
from tests.bench.workload import EXPIRY_SECONDS, Workload, messages

IN_FLIGHT: Final = (1, 64)
RATIO_MAX: Final = {1: 0.65, 64: 0.4}
GET_BOOK: Final = "/dex.matching.v1.Matching/GetBook"
PLACE_ORDER: Final = "/dex.orders.v1.OrderIntake/PlaceOrder"
BACKENDS: Final = ("trio", "aio")


def measure(*, quick: bool) -> list[Row]:
    """Both comparisons."""
    rounds, seconds = (2, 0.5) if quick else (9, 2.0)
    return [*_bare(rounds, seconds), *_whole(rounds, seconds)]


def _bare(rounds: int, seconds: float) -> list[Row]:
    costs = rpc_cpu.measure(rounds, seconds)
    conditions = (
        f"echo of 57 bytes, plaintext, one connection, {rounds} interleaved rounds of {seconds} s, "
        "medians; CPU of all threads of the server"
    )
    rows = []
    for count in IN_FLIGHT:
        what = f"unary, {count} in flight"
        peer = costs[what, rpc_cpu.PEER].cpu_us
        rows.append(
            Row(
                f"dexrpc, {what}, server CPU",
                costs[what, "dexrpc"].cpu_us,
                "us/call",
                conditions,
                Peer(rpc_cpu.PEER, peer),
                Limit("ratio", True, RATIO_MAX[count]),
            )
        )
    return rows


def _whole(rounds: int, seconds: float) -> list[Row]:
    """GetBook of 20 levels, and one signed order answered again and again (a retry)."""
    found: dict[tuple[str, int, str], list[rpc_cpu.Cost]] = {}
    with ExitStack() as stack:
        nodes = {name: stack.enter_context(BenchNode(f"unary-{name}", name)) for name in BACKENDS}
        for node in nodes.values():
            node.open_market()
        for _ in range(rounds):
            for name, node in nodes.items():
                for method, body in _calls(node).items():
                    for count in IN_FLIGHT:
                        cost = _round(node, method, body, count, seconds)
                        found.setdefault((method, count, name), []).append(cost)
    conditions = (
        f"whole node, plaintext, one connection, {rounds} interleaved rounds of {seconds} s, "
        "medians; CPU of all threads; PlaceOrder is the retry of an order, verified, journaled and "
        "synced like any other"
    )
    rows = []
    for method in (GET_BOOK, PLACE_ORDER):
        for count in IN_FLIGHT:
            own, peer = (rpc_cpu.median(found[method, count, name]).cpu_us for name in BACKENDS)
            name = f"node, {method.rpartition('/')[2]}, {count} in flight, CPU"
            rows.append(Row(name, own, "us/call", conditions, Peer("grpc.aio backend", peer)))
    return rows


def _calls(node: BenchNode) -> dict[str, bytes]:
    workload = Workload(node.traders, 1, 0, 1.0, time.monotonic_ns(), 1)
    signed = next(messages(workload, 0, lambda: time.time_ns() + EXPIRY_SECONDS * 10**9))
    envelope = orders_pb.OrderStreamRequest.FromString(signed).envelope
    return {
        GET_BOOK: matching_pb.GetBookRequest(market_id=MARKET_ID, depth=20).SerializeToString(),
        PLACE_ORDER: orders_pb.PlaceOrderRequest(envelope=envelope).SerializeToString(),
    }


def _round(
    node: BenchNode, method: str, body: bytes, in_flight: int, seconds: float
) -> rpc_cpu.Cost:
    port = int(node.process.grpc_address.rpartition(":")[2])
    load = rpc_cpu.RawLoad(port, method, body)
    return rpc_cpu.cost_of(node.process.pid, lambda: load.unary(in_flight, seconds))
