"""Concurrent traders on a node while a test does something else."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support.killed_traders import Trader
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until


@contextmanager
def under_load(node: NodeProcess, traders: Sequence[Trader], *, batches: int) -> Iterator[None]:
    """Let the traders trade during the block, and at least so many are acknowledged.

    A third of them is acknowledged before the block begins, so that the load is there. When the
    node ends in the block, so does the load.
    """
    before = acknowledged(traders)
    stop = threading.Event()
    threads = [threading.Thread(target=trader.trade, args=(node, stop)) for trader in traders]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: acknowledged(traders) >= before + batches // 3, "load")
        yield
        if node.running:
            wait_until(lambda: acknowledged(traders) >= before + batches, "load")
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def acknowledged(traders: Sequence[Trader]) -> int:
    """How many commands all of them have an answer to."""
    return sum(len(trader.acknowledged) for trader in traders)
