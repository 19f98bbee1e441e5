"""A real node on a disk that is full, and on one that fails: what clients and operators see."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dexsdk import DexError, Key, NewOrder, Place, Side, SyncClient
from tests.support.command_line import call_dex
from tests.support.markets import MARKET_ID, open_market, rich_account
from tests.support.node_process import NETWORK_ID, NodeProcess
from tests.support.waiting import wait_until

DISK_BYTES = 24 << 20
ORDERS_PER_BATCH = 200
BATCHES_MAX = 400
EXIT_JOURNAL_FAILED = 70
PATIENCE_SECONDS = 2.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount(8) here: no file system of its own to fill")
    if done.returncode:
        pytest.skip(f"only who may mount a tmpfs can fill one: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def batch() -> list[Place]:
    """Orders that rest far from each other."""
    return [
        Place(NewOrder(MARKET_ID, Side.BUY, quantity_lots=1, price_ticks=1_000 + number))
        for number in range(ORDERS_PER_BATCH)
    ]


def is_told_full(node: NodeProcess) -> bool:
    """What an alert on the metric would see."""
    with urllib.request.urlopen(f"http://{node.metrics_address}/metrics") as answer:
        lines: list[str] = answer.read().decode().splitlines()
    (told,) = [line.split()[1] for line in lines if line.startswith("dex_journal_disk_full ")]
    return bool(float(told))


def impatient(node: NodeProcess, key: Key, account_id: str) -> SyncClient:
    """A client that does not try again for long."""
    return SyncClient(
        node.grpc_address,
        network_id=NETWORK_ID,
        key=key,
        account_id=account_id,
        timeout_seconds=PATIENCE_SECONDS,
    )


def fill(folder: Path) -> Path:
    """Take all the room there is; returns the file to remove."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        room = os.statvfs(folder)
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize)
    return ballast


def test_a_full_disk_refuses_what_it_cannot_keep_and_goes_on(small_disk: Path) -> None:
    node = NodeProcess(small_disk / "node", settings=("journal.segment_bytes=1048576",))
    try:
        node.start()
        open_market(node)
        key, account_id = rich_account(node)
        ballast = fill(small_disk)
        kept = 0
        refusal: DexError | None = None
        with impatient(node, key, account_id) as client:
            for _ in range(BATCHES_MAX):
                try:
                    client.submit_batch(batch())
                    client.cancel_all()
                    kept += 1
                except DexError as error:
                    if error.reason == "DEADLINE_EXCEEDED":
                        # The client's last try had no time left to be refused in.
                        continue
                    refusal = error
                    break
            assert refusal is not None, "the disk was never full"
            assert (refusal.reason, refusal.message) == ("OVERLOADED", "the journal's disk is full")
            assert refusal.retry_after_ns, "a refusal without RetryInfo"
            assert is_told_full(node), "an operator is not told that the disk is full"
            assert kept > 0
            # Reads go on, and the node is not about to end.
            status = client.get_account(account_id)
            assert status.account_id == account_id
            assert node.running
            ballast.unlink()
            wait_until(lambda: accepts(node), "commands after there was room")
            client.cancel_all()
            client.submit_batch(batch())
        assert not is_told_full(node), "an operator is told that a disk with room is full"
        with node.operator() as operator:
            live = operator.admin.get_node_status()
        assert node.stop() == 0
        replayed = call_dex(
            *("journal", "replay", str(small_disk / "node" / "journal")),
            *("--network-id", NETWORK_ID, "--to-sequence", str(live.applied_sequence), "--json"),
        )
        assert json.loads(replayed.stdout)["event_hash"] == live.event_hash
    finally:
        node.kill()


def submit_until_refused(client: SyncClient) -> int:
    """Submit one batch after another; returns how many, the refused one included."""
    for sent in range(1, BATCHES_MAX):
        try:
            client.submit_batch(batch())
        except DexError:
            return sent
    raise AssertionError("the node never ended")


def accepts(node: NodeProcess) -> bool:
    """Whether the node takes a command."""
    try:
        open_market(node)
    except DexError:
        return False
    return True


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/journal/", "journal failed, ending the process: "),
        (
            "/audit/audit-nodes",
            "audit log failed, ending the process: AuditFailed('audit-nodes.dxa ",
        ),
    ],
)
def test_a_sync_that_fails_ends_the_node_with_a_line(tmp_path: Path, path: str, line: str) -> None:
    flag = tmp_path / "fail"
    node = NodeProcess(
        tmp_path / "node",
        settings=("audit.head_interval_ms=100",),
        module="tests.support.failing_node",
        environment={"FAIL_SYNC": str(flag)},
    )
    try:
        node.start()
        open_market(node)
        key, account_id = rich_account(node)
        with impatient(node, key, account_id) as client:
            client.submit_batch(batch())
            before = client.get_account(account_id).open_order_count
            flag.with_suffix(".new").write_text(path)
            flag.with_suffix(".new").rename(flag)
            sent = submit_until_refused(client)
        assert node.wait_exit() == EXIT_JOURNAL_FAILED
        last = node.log_path.read_text().strip().splitlines()[-1]
        assert last.startswith(line)
        assert "Input/output error" in last
        # On a disk that is well again it starts, with all that was acknowledged.
        flag.unlink()
        node.start()
        with node.client(key, account_id) as client:
            kept = client.get_account(account_id).open_order_count
        assert before <= kept <= before + sent * ORDERS_PER_BATCH
        assert node.stop() == 0
    finally:
        node.kill()
