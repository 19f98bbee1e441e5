"""A node under load is backed up, killed, and restored elsewhere: the runbook, line by line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from dex.matching.v1 import matching_pb2, matching_pb2_grpc
from dexsdk import NewOrder, Place, Side
from tests.support.command_line import call_dex
from tests.support.killed_traders import Trader
from tests.support.load import under_load
from tests.support.markets import MARKET_ID, open_market, rich_account
from tests.support.node_process import NETWORK_ID, NodeProcess
from tests.support.waiting import wait_until

TRADERS = 4
BATCHES = 60
SETTINGS = ("journal.segment_bytes=1048576",)
CALL_SECONDS = 10.0


def dex(*arguments: str) -> dict[str, Any]:
    """What a command says in JSON."""
    done = call_dex(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def many_orders() -> list[Place]:
    """Orders that take room in the journal."""
    return [
        Place(NewOrder(MARKET_ID, Side.BUY, quantity_lots=1, price_ticks=1_000 + number))
        for number in range(200)
    ]


def head(node: NodeProcess, *arguments: str) -> None:
    """What `dex audit head` says of a node."""
    target = ("--address", node.grpc_address, "--network-id", NETWORK_ID)
    dex("audit", "head", *target, *arguments)


def event_hash_at(folder: Path, sequence: int) -> str:
    replayed = dex(
        *("journal", "replay", str(folder), "--network-id", NETWORK_ID),
        *("--to-sequence", str(sequence)),
    )
    found: str = replayed["event_hash"]
    return found


def newest_numbers(node: NodeProcess) -> tuple[int, int]:
    """Last number of the market's book feed, and of its trades."""
    with grpc.insecure_channel(node.grpc_address) as channel:
        stub = matching_pb2_grpc.MatchingStub(channel)
        book = stub.GetBook(matching_pb2.GetBookRequest(market_id=MARKET_ID), timeout=CALL_SECONDS)
        start, trades = 1, 0
        token = ""
        while True:
            page = stub.ListTrades(
                matching_pb2.ListTradesRequest(
                    market_id=MARKET_ID, start_sequence=start, page_size=1000, page_token=token
                ),
                timeout=CALL_SECONDS,
            )
            trades = page.trades[-1].trade_sequence if page.trades else trades
            token = page.next_page_token
            if not token:
                return book.book.sequence, trades


def refusal(call: Callable[[matching_pb2_grpc.MatchingStub], Any], node: NodeProcess) -> str:
    """Status and reason with which a stream is refused."""
    with grpc.insecure_channel(node.grpc_address) as channel:
        stream = call(matching_pb2_grpc.MatchingStub(channel))
        with pytest.raises(grpc.RpcError) as caught:
            next(iter(stream))
    return f"{caught.value.code().name} {caught.value.trailing_metadata()}"


def test_a_node_under_load_is_backed_up_killed_and_restored(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node", settings=SETTINGS)
    restored = NodeProcess(tmp_path / "restored", settings=SETTINGS)
    folder, backup = tmp_path / "node" / "journal", tmp_path / "backup"
    try:
        node.start()
        open_market(node)
        traders = [
            Trader(*rich_account(node), chance=random.Random(number)) for number in range(TRADERS)
        ]
        with under_load(node, traders, batches=BATCHES):
            with node.operator() as operator:
                operator.admin.take_snapshot()
            acknowledged = max(trader.last_sequence for trader in traders)
            manifest = dex("journal", "backup", str(folder), str(backup))
            again = dex("journal", "backup", str(folder), str(backup))
        with under_load(node, traders, batches=BATCHES):
            pass
        book_before, trades_before = newest_numbers(node)
        node.kill()
        # Whatever was acknowledged before the backup began is in it.
        assert again["sequence"] >= manifest["sequence"] >= acknowledged > 0
        assert manifest["snapshot_sequence"] > 0
        assert event_hash_at(folder, again["sequence"]) == again["event_hash"]

        journal = tmp_path / "restored" / "journal"
        done = dex("journal", "restore", str(backup), str(journal))
        assert (done["sequence"], done["epoch"]) == (again["sequence"], 2)
        assert event_hash_at(journal, again["sequence"]) == again["event_hash"]
        secrets = [tmp_path / name / "node.secret" for name in ("node", "restored")]
        assert secrets[0].read_bytes() == secrets[1].read_bytes()

        restored.start()
        with restored.operator() as operator:
            assert operator.admin.get_node_status().epoch == 2
        check_numbers(restored, book_before, trades_before)
        given = {order_id for trader in traders for order_id in trader.orders}
        fresh = [
            Trader(*rich_account(restored), chance=random.Random(number)) for number in range(2)
        ]
        with under_load(restored, fresh, batches=BATCHES):
            pass
        made = {order_id for trader in fresh for order_id in trader.orders}
        assert made
        assert not given & made, "an id was given twice"
        assert not {trader.account_id for trader in traders} & {t.account_id for t in fresh}
        check_numbers(restored, book_before, trades_before)
        book_after, trades_after = newest_numbers(restored)
        assert min(book_after, trades_after) > 1 << 36
        # Who traded before the backup still has account and orders under the ids of then.
        with restored.client(traders[0].key, traders[0].account_id) as client:
            account = client.get_account()
        assert {order.order_id for order in account.open_orders} <= given
        assert restored.stop() == 0
        report = dex("journal", "verify", str(journal))
        assert report["damage"] is None
    finally:
        node.kill()
        restored.kill()


def check_numbers(node: NodeProcess, book: int, trades: int) -> None:
    """A client that resumes where the lost history was is told so, and not served another."""
    for after in (book - 1, book):
        said = refusal(
            lambda stub, after=after: stub.StreamBook(  # type: ignore[misc]
                matching_pb2.StreamBookRequest(market_id=MARKET_ID, after_sequence=after),
                timeout=CALL_SECONDS,
            ),
            node,
        )
        assert said.startswith("OUT_OF_RANGE"), said
    said = refusal(
        lambda stub: stub.StreamTrades(
            matching_pb2.StreamTradesRequest(market_id=MARKET_ID, start_sequence=trades + 1),
            timeout=CALL_SECONDS,
        ),
        node,
    )
    assert said.startswith("OUT_OF_RANGE"), said


def test_a_node_that_removed_its_first_segments_is_restored_with_its_audit_log(
    tmp_path: Path,
) -> None:
    settings = (
        *SETTINGS,
        "journal.retention=covered",
        "audit.head_interval_ms=50",
    )
    node = NodeProcess(tmp_path / "node", settings=settings)
    restored = NodeProcess(tmp_path / "restored", settings=settings)
    early, late = tmp_path / "early.json", tmp_path / "late.json"
    try:
        node.start()
        open_market(node)
        key, account_id = rich_account(node)
        with node.operator() as operator, node.client(key, account_id) as client:
            while operator.admin.get_node_status().oldest_sequence == 1:
                for _ in range(30):
                    client.submit_batch(many_orders())
                    client.cancel_all()
                # The older of two kept snapshots has to cover a segment.
                operator.admin.take_snapshot()
                operator.admin.take_snapshot()
            sequence = operator.admin.get_node_status().applied_sequence
            wait_until(
                lambda: operator.audit.get_tree_head().tree_size >= sequence, "a head over it all"
            )
        head(node, "--output", str(early))
        folder = tmp_path / "node" / "journal"
        manifest = dex("journal", "backup", str(folder), str(tmp_path / "backup"))
        node.kill()
        assert manifest["first_sequence"] > 1
        assert manifest["audit_records"] >= manifest["first_sequence"] - 1
        dex("journal", "restore", str(tmp_path / "backup"), str(tmp_path / "restored" / "journal"))
        restored.start()
        rich_account(restored)
        with restored.operator() as operator:
            wait_until(
                lambda: operator.audit.get_tree_head().tree_size > manifest["sequence"],
                "a head of the new epoch",
            )
        # The new head is proven to continue the one that was signed before the backup.
        head(restored, "--since", str(early), "--output", str(late))
        assert restored.stop() == 0
        for kept in (early, late):
            verdict = dex(
                *("audit", "verify", str(tmp_path / "restored" / "journal")),
                *("--head", str(kept)),
            )
            assert verdict["first_sequence"] == manifest["first_sequence"]
            assert not verdict["problem"]
    finally:
        node.kill()
        restored.kill()
