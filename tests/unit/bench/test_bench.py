from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import signed_payload_pb2 as pb
from dexnode.doctor import MEMORY_FILESYSTEMS, filesystem_of
from dexsdk import Key
from dexsdk.keys import verify
from dexsdk.signing import payload_signing_bytes
from tests.bench import bench_node
from tests.bench.bench_node import NotMeasurable, Trader, missing_parts, parse_metrics
from tests.bench.intake import find_knee
from tests.bench.report import Limit, Peer, Row, percentile, table, write_json
from tests.bench.subscribers import FEEDS
from tests.bench.workload import WORKERS, Workload, messages

METRICS = "\n".join(
    [
        "# HELP dex_trades_total Trades.",
        "dex_journal_sync_seconds_count 3.0",
        "dex_journal_written_bytes_total 512.0",
        'dex_trades_total{market="BTC-USDC.eth"} 2.0',
        'dex_trades_total{market="ETH-USDC.eth"} 7.0',
        *(
            f'{name}{{feed="{feed}",market="BTC-USDC.eth"}} 1.0'
            for name in ("dex_feed_subscribers", "dex_marketdata_published_total")
            for feed in FEEDS
        ),
    ]
)


def test_percentile_is_nearest_rank() -> None:
    values = list(range(1, 101))
    assert [percentile(values, n) for n in (500, 990, 999, 1000)] == [50, 99, 100, 100]
    assert percentile([7], 500) == percentile([7], 999) == 7


def test_unanswered_messages_count_as_never() -> None:
    values = list(range(1, 100))
    assert percentile(values, 990, missing=1) == 99
    assert percentile(values, 991, missing=1) == math.inf
    assert percentile([], 500, missing=3) == percentile([], 500) == math.inf


def test_targets_of_values_and_of_ratios() -> None:
    late = Row("a", 21.0, "ms", "", None, Limit("value", True, 20))
    fast = Row("b", 5_100, "orders/s", "", None, Limit("value", False, 5_000))
    cheap = Row("c", 30.0, "us", "", Peer("other", 100.0), Limit("ratio", True, 0.4))
    assert (late.met, fast.met, cheap.met, Row("d", 1, "s", "").met) == (False, True, True, None)
    assert cheap.ratio == pytest.approx(0.3)


def test_table_and_json_hold_the_same_rows(tmp_path: Path) -> None:
    rows = [
        Row("orders, p99", math.inf, "ms", "busy", None, Limit("value", True, 20)),
        Row("call", 30.0, "us", "quiet", Peer("other", 120.0), Limit("ratio", True, 0.4)),
    ]
    head, late, call = table(rows).splitlines()
    assert head.split() == ["what", "value", "unit", "beside", "ratio", "target", "met"]
    assert late.split()[2:] == ["never", "ms", "<=", "20", "no"]
    assert call.split(maxsplit=5)[:5] == ["call", "30.00", "us", "other", "120.00"]
    assert call.split()[5:] == ["0.25", "ratio", "<=", "0.4", "yes"]
    write_json(tmp_path / "build" / "bench.json", rows)
    first, second = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert (first["value"], first["met"], first["target"]) == (None, False, "<= 20")
    assert (second["peer"], second["ratio"]) == ({"name": "other", "value": 120.0}, 0.25)


@pytest.mark.parametrize(("limit", "expected"), [(5_000, 5_000), (9_000, 7_812), (4_000, 4_000)])
def test_knee_is_the_last_rate_that_passes(limit: int, expected: int) -> None:
    assert find_knee(5_000, lambda rate: rate <= limit, limit >= 5_000) == expected


def test_no_knee_when_nothing_passes() -> None:
    assert find_knee(5_000, lambda _rate: False, first_passed=False) == 0


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_a_journal_in_memory_is_not_measured(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_node, "filesystem_of", lambda _folder: kind)
    with pytest.raises(NotMeasurable, match=f"{kind}.*real disk"):
        bench_node.disk_folder(tmp_path / "data")


def test_a_real_tmpfs_is_seen_where_there_is_one() -> None:
    if filesystem_of(Path("/dev/shm")) not in MEMORY_FILESYSTEMS:
        pytest.skip("/dev/shm is no tmpfs here")
    with pytest.raises(NotMeasurable):
        bench_node.disk_folder(Path("/dev/shm"))


def test_a_whole_node_lacks_nothing() -> None:
    metrics = parse_metrics(METRICS, "BTC-USDC.eth")
    assert metrics["dex_trades_total", ""] == 2
    assert missing_parts(metrics) == []


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("dex_journal_sync_seconds_count", "a journal that syncs"),
        ('dex_feed_subscribers{feed="klines_1d"', "a subscriber of klines_1d"),
        ('dex_marketdata_published_total{feed="book"', "published book"),
        ('dex_trades_total{market="BTC', "trades"),
    ],
)
def test_what_a_node_lacks_is_named(line: str, missing: str) -> None:
    kept = "\n".join(text for text in METRICS.splitlines() if not text.startswith(line))
    assert missing_parts(parse_metrics(kept, "BTC-USDC.eth")) == [missing]


@pytest.mark.parametrize("batch_items", [0, 7])
def test_every_message_is_signed_and_has_its_own_nonce(batch_items: int) -> None:
    seeds = [bytes([number + 1]) * 32 for number in range(8)]
    traders = [Trader(seed.hex(), f"{number:022x}") for number, seed in enumerate(seeds)]
    workload = Workload(traders, 400, batch_items, 1.0, 1, 1)
    nonces: list[int] = []
    for worker in range(WORKERS):
        for message in messages(workload, worker, lambda: 10**18):
            envelope = orders_pb.OrderStreamRequest.FromString(message).envelope
            payload = pb.Payload.FromString(envelope.payload)
            signer = Key(seeds[(payload.nonce - 1) % 8])
            assert envelope.public_key == signer.public_bytes
            signed = payload_signing_bytes(envelope.payload)
            assert verify(signer.public_bytes, signed, envelope.signature)
            assert len(payload.batch.items) == batch_items
            nonces.append(payload.nonce)
    assert sorted(nonces) == list(range(1, 401))


def test_a_cancel_names_an_order_that_was_sent_before_and_not_cancelled() -> None:
    traders = [Trader((bytes([n + 1]) * 32).hex(), f"{n:022x}") for n in range(8)]
    resting: set[tuple[str, int]] = set()
    cancelled = 0
    for message in messages(Workload(traders, 8_000, 100, 1.0, 1, 1), 0, lambda: 10**18):
        envelope = orders_pb.OrderStreamRequest.FromString(message).envelope
        payload = pb.Payload.FromString(envelope.payload)
        for item in payload.batch.items:
            if item.HasField("place") and item.place.client_order_id:
                resting.add((payload.account_id, item.place.client_order_id))
            elif item.HasField("cancel"):
                resting.remove((payload.account_id, item.cancel.client_order_id))
                cancelled += 1
        if cancelled > 1_000:
            break
    assert cancelled > 1_000
