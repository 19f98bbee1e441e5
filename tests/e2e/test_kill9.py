"""kill -9 under load: what was acknowledged is there, what was retried counts once."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from dex.orders.v1 import order_intake_pb2 as pb
from dex.orders.v1 import order_intake_pb2_grpc as rpc
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import Key
from tests.support.markets import MARKET_ID, open_market, rich_account
from tests.support.node_process import NodeProcess

KILLS = 20
TRADERS = 4
ORDERS_PER_BATCH = 5
LOAD_SECONDS = 0.3
EXPIRY_SECONDS = 290
CALL_SECONDS = 10.0


@dataclass
class Trader:
    """One account that sends batches and remembers every envelope and answer."""

    key: Key
    account_id: str
    chance: random.Random
    next_number: int = 1
    acknowledged: list[tuple[wire.SignedEnvelope, bytes]] = field(default_factory=list)
    unanswered: list[wire.SignedEnvelope] = field(default_factory=list)
    open_ids: dict[int, str] = field(default_factory=dict)

    def envelope(self, network_id: str) -> wire.SignedEnvelope:
        """A signed batch: new resting orders, and cancels of old ones."""
        payload = wire.Payload(
            network_id=network_id, account_id=self.account_id, nonce=self.next_number
        )
        payload.expire_time.FromNanoseconds(time.time_ns() + EXPIRY_SECONDS * 10**9)
        for _ in range(ORDERS_PER_BATCH):
            item = payload.batch.items.add()
            if len(self.open_ids) > 50 and self.chance.random() < 0.6:
                victim = self.chance.choice(sorted(self.open_ids))
                item.cancel.client_order_id = victim
                # Named once per batch, or the second cancel would be refused.
                self.open_ids.pop(victim)
                continue
            item.place.market_id = MARKET_ID
            item.place.side = wire.SIDE_BUY
            item.place.type = wire.ORDER_TYPE_LIMIT
            item.place.time_in_force = wire.TIME_IN_FORCE_GTC
            item.place.price_ticks = self.chance.randint(1_000, 9_000)
            item.place.quantity_lots = self.chance.randint(1, 50)
            item.place.client_order_id = self.next_number
            self.next_number += 1
        self.next_number += 1
        data = payload.SerializeToString()
        return wire.SignedEnvelope(
            payload=data,
            signature=self.key.sign(b"triodex.payload.v1\0" + data),
            public_key=self.key.public_bytes,
        )

    def take(self, envelope: wire.SignedEnvelope, answer: pb.SubmitBatchResponse) -> None:
        """Remember an answer and what it says is open."""
        self.acknowledged.append((envelope, answer.SerializeToString(deterministic=True)))
        for result in answer.results:
            assert result.status != pb.ORDER_STATUS_REJECTED, result
            if result.status == pb.ORDER_STATUS_OPEN:
                self.open_ids[result.client_order_id] = result.order_id

    def trade(self, node: NodeProcess, stop: threading.Event) -> None:
        """Send batches until told to stop or the node is gone."""
        with grpc.insecure_channel(node.grpc_address) as channel:
            stub = rpc.OrderIntakeStub(channel)
            while not stop.is_set():
                envelope = self.envelope(node.network_id)
                try:
                    answer = stub.SubmitBatch(
                        pb.SubmitBatchRequest(envelope=envelope), timeout=CALL_SECONDS
                    )
                except grpc.RpcError:
                    self.unanswered.append(envelope)
                    return
                self.take(envelope, answer)

    def retry(self, node: NodeProcess) -> None:
        """Send again some of what was answered, and all that never was."""
        with grpc.insecure_channel(node.grpc_address) as channel:
            stub = rpc.OrderIntakeStub(channel)
            for envelope, first in self.acknowledged[-20:]:
                answer = stub.SubmitBatch(
                    pb.SubmitBatchRequest(envelope=envelope), timeout=CALL_SECONDS
                )
                assert answer.SerializeToString(deterministic=True) == first, (
                    "an acknowledged batch was answered differently after the restart"
                )
            for envelope in self.unanswered:
                request = pb.SubmitBatchRequest(envelope=envelope)
                answer = stub.SubmitBatch(request, timeout=CALL_SECONDS)
                self.take(envelope, answer)
                again = stub.SubmitBatch(request, timeout=CALL_SECONDS)
                assert again == answer, "a retry was answered differently"
            self.unanswered.clear()

    def check_open_orders(self, node: NodeProcess) -> None:
        """The node's open orders are exactly those the answers add up to."""
        with node.client(self.key, self.account_id) as client:
            account = client.get_account()
        assert account.open_order_count == len(self.open_ids)
        shown = {order.client_order_id: order.order_id for order in account.open_orders}
        expected = dict(sorted(self.open_ids.items()))
        assert all(expected[number] == order_id for number, order_id in shown.items())


def run_kills(node: NodeProcess, kills: int, seed: int) -> list[Trader]:
    """Kill the node under load again and again; check everything after each restart."""
    node.start()
    open_market(node)
    traders = [
        Trader(*rich_account(node), chance=random.Random(f"{seed}-{number}"))
        for number in range(TRADERS)
    ]
    chance = random.Random(seed)
    for _ in range(kills):
        stop = threading.Event()
        threads = [threading.Thread(target=t.trade, args=(node, stop)) for t in traders]
        for thread in threads:
            thread.start()
        # The one wait that is the point: let the load run for a random moment.
        stop.wait(LOAD_SECONDS * (0.5 + chance.random()))
        node.kill()
        stop.set()
        for thread in threads:
            thread.join()
        node.start()
        for trader in traders:
            trader.retry(node)
            trader.check_open_orders(node)
    return traders


def replayed_event_hash(node: NodeProcess) -> str:
    """Event hash of a replay of the node's journal from its first command."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "dexnode",
            "journal",
            "replay",
            str(node.data_dir / "journal"),
            "--network-id",
            node.network_id,
            "--json",
        ],
        capture_output=True,
        check=True,
    )
    event_hash: str = json.loads(done.stdout)["event_hash"]
    return event_hash


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    node = NodeProcess(tmp_path / "node")
    try:
        traders = run_kills(node, KILLS, seed)
        acknowledged = sum(len(trader.acknowledged) for trader in traders)
        print(f"{KILLS} kills, {acknowledged} acknowledged batches")
        assert acknowledged > KILLS * TRADERS
        with node.operator() as operator:
            live = operator.admin.get_node_status()
        assert live.event_hash == replayed_event_hash(node)
    finally:
        node.kill()


def test_nothing_acknowledged_is_lost_on_a_disk_that_forgets_unsynced_writes(
    tmp_path: Path,
) -> None:
    node = NodeProcess(tmp_path / "node", module="tests.support.volatile_node")
    try:
        run_kills(node, 3, 1)
    finally:
        node.kill()


def test_the_check_turns_red_when_syncs_do_nothing(tmp_path: Path) -> None:
    node = NodeProcess(
        tmp_path / "node",
        module="tests.support.volatile_node",
        # Enough to open the market and the accounts; what comes later is never synced.
        environment={"HONEST_SYNCS": "24"},
    )
    try:
        with pytest.raises(AssertionError, match="answered differently after the restart"):
            run_kills(node, 1, 1)
    finally:
        node.kill()
