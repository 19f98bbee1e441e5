"""Recordings in the format of Binance's combined streams, written by tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dexnode.cli.common import Target
from tests.support.node_process import NodeProcess

SYMBOL = "BTCUSDT"
Level = tuple[str, str]


def trade(
    time_us: int, trade_id: int, price: str, quantity: str, *, buyer_is_maker: bool
) -> dict[str, Any]:
    """A trade at a time in microseconds, as a stream with timeUnit=MICROSECOND sends it."""
    data = {
        "e": "trade",
        "E": time_us,
        "s": SYMBOL,
        "t": trade_id,
        "p": price,
        "q": quantity,
        "T": time_us,
        "m": buyer_is_maker,
        "M": True,
    }
    return {"stream": "btcusdt@trade", "data": data}


def depth(time_us: int, bids: Sequence[Level], asks: Sequence[Level]) -> dict[str, Any]:
    """A depth update."""
    data = {
        "e": "depthUpdate",
        "E": time_us,
        "s": SYMBOL,
        "U": 1,
        "u": 1,
        "b": [list(level) for level in bids],
        "a": [list(level) for level in asks],
    }
    return {"stream": "btcusdt@depth@100ms", "data": data}


def write(path: Path, messages: Iterable[dict[str, Any]]) -> Path:
    """Write messages as a recording, gzipped when the name says so."""
    lines = [
        f"{message['data']['E'] * 1_000} {json.dumps(message, separators=(',', ':'))}\n"
        for message in messages
    ]
    text = "".join(lines).encode()
    path.write_bytes(gzip.compress(text, 1) if path.suffix == ".gz" else text)
    return path


def target(node: NodeProcess) -> Target:
    """The operator's way to a node, as the command line has it."""
    return Target(
        address=node.grpc_address,
        network_id=node.network_id,
        home=node.data_dir,
        operator_key=node.operator_key_path,
        tls=None,
        as_json=True,
    )
