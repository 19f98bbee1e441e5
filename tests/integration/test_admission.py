"""A real node under limits, on both backends: what is left, when to come back, who pays."""

from __future__ import annotations

import select
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from dex.admin.v1 import admin_pb2
from dex.errors.v1 import errors_pb2
from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import Key
from tests.soak.overload_client import Tally, UnaryClient, settle
from tests.soak.overload_peers import Reader
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until
from tests.support.wire import OperatorWire, answer, buy, dial, refusal_of, sell, token

BUDGET = 1_000
SETTINGS = (
    "limits.account_orders_per_second=1",
    "limits.key_orders_per_second=1",
    "limits.connection_reads_per_second=20",
    "limits.bad_signatures_per_minute=3",
    "limits.cool_down_seconds=600",
)


@pytest.fixture(scope="module", params=["trio", "aio"])
def limited(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    """A node with tight limits."""
    folder = tmp_path_factory.mktemp(f"limited-{request.param}") / "node"
    node = NodeProcess(folder, backend=request.param, settings=SETTINGS).start()
    yield node
    assert node.stop() == 0


def places(count: int) -> wire.Batch:
    """Orders for a market that does not exist: refused one by one, and charged all the same."""
    batch = wire.Batch()
    for _ in range(count):
        batch.items.add(place=wire.NewOrder(market_id="NONE-AT-ALL"))
    return batch


def cancels(count: int) -> wire.Batch:
    batch = wire.Batch()
    for _ in range(count):
        batch.items.add(cancel=wire.OrderCancel(client_order_id=1))
    return batch


class Desk:
    """An account, and calls that tell their trailers."""

    def __init__(self, node: NodeProcess) -> None:
        self.key, self.account_id = node.open_account()
        self.network_id = node.network_id
        self._nonce = 0

    def sign(self, key: Key | None = None, **action: Any) -> wire.SignedEnvelope:
        key = key or self.key
        self._nonce += 1
        payload = wire.Payload(
            network_id=self.network_id,
            account_id=self.account_id,
            nonce=time.time_ns() + self._nonce,
            **action,
        )
        payload.expire_time.FromSeconds(time.time_ns() // 10**9 + 60)
        data = payload.SerializeToString()
        return wire.SignedEnvelope(
            payload=data,
            signature=key.sign(b"triodex.payload.v1\0" + data),
            public_key=self.key.public_bytes,
        )


def left(call: Any) -> dict[str, int]:
    """The budget in a call's trailers."""
    return {
        key: int(value) for key, value in call.trailing_metadata() if key.startswith("ratelimit-")
    }


def retry_seconds(error: Any) -> float:
    status = rpc_status.from_call(error)
    assert status is not None
    found = RetryInfo()
    assert any(detail.Unpack(found) for detail in status.details), "no RetryInfo"
    return float(found.retry_delay.ToNanoseconds() / 1e9)


def test_a_call_says_what_is_left_and_a_refusal_when_to_come_back(limited: NodeProcess) -> None:
    desk = Desk(limited)
    with dial(limited.grpc_address, limited.network_id) as api:
        submit = api.orders.SubmitBatch
        _, call = submit.with_call(
            orders_pb.SubmitBatchRequest(envelope=desk.sign(batch=places(400)))
        )
        said = left(call)
        assert said["ratelimit-limit"] == BUDGET
        assert BUDGET - 400 <= said["ratelimit-remaining"] <= BUDGET - 300
        assert 300 <= said["ratelimit-reset"] <= 400
        with pytest.raises(grpc.RpcError) as refused:
            submit(orders_pb.SubmitBatchRequest(envelope=desk.sign(batch=places(900))))
        refusal = refusal_of(refused.value)
        assert (refusal.code, refusal.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "RATE_LIMITED",
        )
        assert 200 < retry_seconds(refused.value) <= 300
        assert left(refused.value)["ratelimit-remaining"] >= 600
        cancelled = submit(orders_pb.SubmitBatchRequest(envelope=desk.sign(batch=cancels(1_000))))
        assert len(cancelled.results) == 1_000, "an account out of orders cannot cancel"


def test_a_stream_says_the_same_and_goes_on(limited: NodeProcess) -> None:
    desk = Desk(limited)
    batches = (places(400), places(900), cancels(10))
    with dial(limited.grpc_address, limited.network_id) as api:
        requests = [
            orders_pb.OrderStreamRequest(envelope=desk.sign(batch=batch)) for batch in batches
        ]
        first, second, third = api.orders.OrderStream(iter(requests))
    assert first.rate_limit.limit == BUDGET
    assert 600 <= first.rate_limit.remaining <= 700
    assert 300_000 <= first.rate_limit.reset_ms <= 400_000
    assert second.rejection.reason == errors_pb2.ERROR_REASON_RATE_LIMITED
    assert second.rejection.retry_delay.ToSeconds() in range(200, 301)
    assert second.rate_limit.remaining >= 600
    assert len(third.results) == 10


def test_bad_signatures_cool_their_connection_and_no_other(limited: NodeProcess) -> None:
    desk, forger = Desk(limited), Key.generate()
    with (
        dial(limited.grpc_address, limited.network_id) as bad,
        dial(limited.grpc_address, limited.network_id) as good,
    ):
        delays: list[float] = []

        def reason_of(api: Any, key: Key | None) -> str:
            envelope = desk.sign(key, batch=cancels(1))
            try:
                api.orders.SubmitBatch(orders_pb.SubmitBatchRequest(envelope=envelope))
            except grpc.RpcError as error:
                refusal = refusal_of(error)
                if refusal.reason == "COOLING_DOWN":
                    delays.append(retry_seconds(error))
                return refusal.reason
            return ""

        reasons = [reason_of(bad, forger) for _ in range(5)]
        assert reasons == ["SIGNATURE_INVALID"] * 4 + ["COOLING_DOWN"]
        assert reason_of(bad, None) == "COOLING_DOWN", "the connection is still looked at"
        assert reason_of(good, None) == "", "the account is locked out"
        bad.matching.ListMarkets(matching_pb2.ListMarketsRequest())
    assert all(500 < delay <= 600 for delay in delays)


def test_forged_tokens_cool_their_connection_on_operator_methods_too(
    limited: NodeProcess,
) -> None:
    """A burst of them costs no more signatures than one after the other."""
    request = admin_pb2.GetNodeStatusRequest()
    genuine = token(limited.operator_key, limited.network_id)
    with (
        dial(limited.grpc_address, limited.network_id) as bad,
        dial(limited.grpc_address, limited.network_id) as good,
    ):
        calls = [
            bad.admin.GetNodeStatus.future(
                request, metadata=token(Key.generate(), f"another-{number}")
            )
            for number in range(200)
        ]
        reasons = Counter(refusal_of(call.exception()).reason for call in calls)
        assert reasons["TOKEN_INVALID"] == 4, reasons
        assert set(reasons) <= {"TOKEN_INVALID", "COOLING_DOWN", "OVERLOADED"}
        said = answer(bad.admin.GetNodeStatus, request, metadata=genuine)
        assert said.reason == "COOLING_DOWN", "a token is verified where nothing is looked at"
        status = good.admin.GetNodeStatus(request, metadata=genuine)
        assert status.network_id == limited.network_id, "the operator is locked out"


def test_tokens_of_strangers_cool_their_connection(limited: NodeProcess) -> None:
    """They verify and cost as much, and say nothing of who has business with the node."""
    request, network_id = admin_pb2.GetNodeStatusRequest(), limited.network_id
    with dial(limited.grpc_address, network_id) as api:
        tokens = [token(Key.generate(), network_id) for _ in range(5)]
        reasons = [
            answer(api.admin.GetNodeStatus, request, metadata=metadata).reason
            for metadata in tokens
        ]
    assert reasons == ["PERMISSION_DENIED"] * 4 + ["COOLING_DOWN"]


def test_public_reads_are_limited_by_connection(limited: NodeProcess) -> None:
    with (
        dial(limited.grpc_address, limited.network_id) as busy,
        dial(limited.grpc_address, limited.network_id) as calm,
    ):

        def is_refused() -> bool:
            # Many at once: one by one they may be no faster than the budget comes back.
            calls = [
                busy.matching.ListMarkets.future(matching_pb2.ListMarketsRequest())
                for _ in range(100)
            ]
            errors = [error for error in (call.exception() for call in calls) if error is not None]
            budgets = {refusal_of(error).metadata.get("budget") for error in errors}
            return "connection_reads" in budgets

        wait_until(is_refused, "a refusal", seconds=20)
        _, call = calm.matching.ListMarkets.with_call(matching_pb2.ListMarketsRequest())
        assert left(call)["ratelimit-remaining"] >= 30


def test_an_overload_is_refused_and_what_is_taken_is_served(tmp_path: Path) -> None:
    """Four hundred calls at once at a node that takes sixty-four, thirty-two on a connection."""
    node = NodeProcess(tmp_path / "node", settings=("limits.calls_in_flight_max=64",)).start()
    try:
        desk, tally = Desk(node), Tally()
        clients = [UnaryClient(node.grpc_address, tally) for _ in range(2)]
        for number in range(400):
            request = orders_pb.SubmitBatchRequest(envelope=desk.sign(batch=cancels(1)))
            clients[number % 2].call(request.SerializeToString(), time.perf_counter_ns())
        settle(clients)
        assert not tally.other, tally.examples
        assert tally.refused, "no call was refused"
        assert not tally.without_retry_info, "a refusal does not say when to come back"
        assert tally.ok >= 64
        ok = tally.ok
        request = orders_pb.SubmitBatchRequest(envelope=desk.sign(batch=cancels(1)))
        clients[0].call(request.SerializeToString(), time.perf_counter_ns())
        settle(clients)
        assert tally.ok == ok + 1, "the node stays shut when the load is gone"
        for client in clients:
            client.socket.close()
    finally:
        assert node.stop() == 0


def test_a_stalled_reader_is_cut_and_resumes_where_it_was(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node").start()
    try:
        with dial(node.grpc_address, node.network_id) as api:
            operator = OperatorWire(api, token(node.operator_key, node.network_id))
            market_id = operator.open_market("STALL")
            trader = operator.trader("STALL", "USDT")
            live = Reader(node.grpc_address, market_id, 1)
            stalled = Reader(node.grpc_address, market_id, 1, stalled=True)

            def trade_and_read() -> bool:
                api.batch(
                    trader,
                    *[order(market_id, 100, 1) for _ in range(20) for order in (sell, buy)],
                )
                for reader in (live, stalled):
                    if reader.ended_at is None and select.select([reader.socket], [], [], 0)[0]:
                        reader.read()
                return stalled.ended_at is not None

            wait_until(trade_and_read, "the end of the stalled reader")
            assert live.ended_at is None, "a live reader was cut"
            last = stalled.sequences[-1] if stalled.sequences else 0
            again = Reader(node.grpc_address, market_id, last + 1)

            def caught_up() -> bool:
                for reader in (live, again):
                    if select.select([reader.socket], [], [], 0)[0]:
                        reader.read()
                return bool(again.sequences) and again.sequences[-1] == live.sequences[-1]

            wait_until(caught_up, "the resumed reader at the end of the feed")
            assert stalled.sequences + again.sequences == live.sequences, "trades were lost"
            for reader in (live, stalled, again):
                reader.socket.close()
    finally:
        assert node.stop() == 0
