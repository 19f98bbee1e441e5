"""The Audit service over the real node: what it shows, a client checks without trusting it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dex.admin.v1 import admin_pb2
from dex.audit.v1 import audit_pb2 as pb
from dex.audit.v1 import audit_pb2_grpc, operator_call_pb2
from dex.orders.v1 import order_intake_pb2, signed_payload_pb2
from dexnode.audit.heads import HeadFile
from dexruntime.storage import PosixStorage
from dexsdk import CallerError, Head, SyncClient
from dexsdk.audit import check_consistency, check_envelope, read_head
from tests.support.node_process import NodeDied, NodeProcess
from tests.support.waiting import wait_until
from tests.support.wire import OperatorWire, Signer, Wire, answer, buy, dial, token

FAST = ["audit.head_interval_ms=20"]


def head_over(client: SyncClient, sequence: int) -> Head:
    """A signed head that covers a record; one is made now and then."""

    def ask() -> Head | None:
        try:
            head: Head = client.audit.get_tree_head()
        except CallerError as error:
            if error.reason != "NOT_IN_AUDIT_LOG":
                raise
            return None
        return head if head.tree_size >= sequence else None

    found = wait_until(ask, f"a head over {sequence}")
    assert found is not None
    return found


def place(api: Wire, envelope: signed_payload_pb2.SignedEnvelope) -> int:
    """Send an envelope; its journal position."""
    request = order_intake_pb2.PlaceOrderRequest(envelope=envelope)
    sequence: int = api.orders.PlaceOrder(request, timeout=20).applied.sequence
    return sequence


def operator_of(node: NodeProcess, api: Wire) -> OperatorWire:
    return OperatorWire(api, token(node.operator_key, node.network_id))


def test_a_client_proves_its_order(served: NodeProcess, operator: OperatorWire) -> None:
    market = operator.open_market("AUDIT")
    trader = operator.trader("USDT")
    order = trader.envelope(place=buy(market, 4, 1))
    sequence = place(operator.wire, order)
    with served.client(trader.key, trader.account_id) as client:
        head = head_over(client, sequence)
        by_sequence = client.audit.get_inclusion_proof(head, sequence=sequence)
        by_envelope = client.audit.get_inclusion_proof(head, envelope=order)
        assert by_sequence == by_envelope
        assert len(by_sequence.path) <= head.tree_size.bit_length() + 1
        payload = check_envelope(by_sequence.leaf, order.SerializeToString())
        assert payload.account_id == trader.account_id
        (mine,) = client.audit.list_account_entries(start_leaf_index=sequence - 1)
        assert mine.envelope == order.SerializeToString()
        assert mine.envelope_kind == pb.ENVELOPE_KIND_SIGNED
        assert mine.leaf == by_sequence.leaf
        opening = client.audit.list_account_entries(limit=1)
        assert opening[0].command_name == "RegisterKey"
        unsent = trader.envelope(place=buy(market, 4, 1))
        with pytest.raises(CallerError, match="NOT_IN_AUDIT_LOG"):
            client.audit.get_inclusion_proof(head, envelope=unsent)


def test_operators_list_everything_and_others_only_their_own(
    served: NodeProcess, operator: OperatorWire
) -> None:
    trader, other = operator.trader("USDT"), operator.wire.open_account()
    with served.operator() as client:
        status = client.admin.get_node_status()
        head_over(client, status.applied_sequence)
        everything = client.audit.list_entries()
        assert [entry.leaf_index for entry in everything] == list(range(len(everything)))
        credit = next(e for e in reversed(everything) if e.command_name == "Deposit")
        assert credit.envelope_kind == pb.ENVELOPE_KIND_OPERATOR
        call = operator_call_pb2.OperatorCall.FromString(credit.envelope)
        request = admin_pb2.CreditAccountRequest.FromString(call.request)
        assert (call.operator, request.account_id) == ("test", trader.account_id)
        assert client.audit.list_entries(start_leaf_index=3, limit=2) == everything[3:5]
    stub = audit_pb2_grpc.AuditStub(operator.wire.channel)
    asked = pb.ListAccountAuditEntriesRequest(account_id=trader.account_id)
    said = answer(stub.ListAccountAuditEntries, asked, metadata=other.token(), timeout=20)
    assert said.reason == "PERMISSION_DENIED"
    said = answer(
        stub.ListAuditEntries, pb.ListAuditEntriesRequest(), metadata=other.token(), timeout=20
    )
    assert said.reason == "PERMISSION_DENIED"


def test_the_node_refuses_what_it_has_not_signed(served: NodeProcess, api: Wire) -> None:
    stub = audit_pb2_grpc.AuditStub(api.channel)
    far, wrong_shard = 1 << 40, 9

    def refusal(method: str, request: object) -> tuple[str, str]:
        said = answer(getattr(stub, method), request, timeout=20)
        return said.reason, said.field

    absent = "NOT_IN_AUDIT_LOG"
    for method, request, field in (
        ("GetSignedTreeHead", pb.GetSignedTreeHeadRequest(tree_size=far), "tree_size"),
        ("GetSignedTreeHead", pb.GetSignedTreeHeadRequest(shard=wrong_shard), "shard"),
        ("GetInclusionProof", pb.GetInclusionProofRequest(sequence=1, tree_size=far), "tree_size"),
        ("GetInclusionProof", pb.GetInclusionProofRequest(sequence=2, tree_size=1), "sequence"),
        (
            "GetConsistencyProof",
            pb.GetConsistencyProofRequest(first_tree_size=1, second_tree_size=far),
            "second_tree_size",
        ),
    ):
        assert refusal(method, request) == (absent, field)
    backwards = pb.GetConsistencyProofRequest(first_tree_size=2, second_tree_size=1)
    assert refusal("GetConsistencyProof", backwards) == ("FIELD_INVALID", "first_tree_size")


def test_heads_are_streamed_from_where_a_watcher_stopped(
    served: NodeProcess, operator: OperatorWire
) -> None:
    market = operator.open_market("WATCH")
    trader: Signer = operator.trader("USDT")
    with served.client() as client:
        first = head_over(client, 1)
        with client.audit.stream_tree_heads(after=first) as heads:
            sequence = place(operator.wire, trader.envelope(place=buy(market, 4, 1)))
            seen = [first]
            while seen[-1].tree_size < sequence:
                seen.append(next(heads))
        sizes = [head.tree_size for head in seen]
        assert sizes == sorted(set(sizes))
        assert client.audit.get_tree_head(seen[1].tree_size) == seen[1]
        status = served.operator()
        with status:
            key = status.admin.get_node_status().audit_public_key
        assert seen[-1].public_key.hex() == key


def test_heads_survive_kill_9_and_stay_consistent(tmp_path: Path) -> None:
    """Killed while it makes heads, a node goes on from them; every two are of one history."""
    node = NodeProcess(tmp_path / "node", settings=FAST).start()
    kept: list[Head] = []
    try:
        with dial(node.grpc_address, node.network_id) as api:
            market = operator_of(node, api).open_market("KILL")
            trader = operator_of(node, api).trader("USDT")
        for _ in range(4):
            with dial(node.grpc_address, node.network_id) as api, node.client() as client:
                for _ in range(30):
                    sequence = place(api, trader.envelope(place=buy(market, 4, 1)))
                kept.append(head_over(client, sequence - 15))
            node.kill()
            node.start()
        with node.client() as client:
            for earlier in kept:
                assert client.audit.get_tree_head(earlier.tree_size) == earlier
                client.audit.check_consistent(earlier, kept[-1])
        # Stopped in order, the node has signed all it holds.
        with dial(node.grpc_address, node.network_id) as api:
            operator_of(node, api).call("Drain", admin_pb2.DrainRequest())
        assert node.wait_exit() == 0
    finally:
        node.kill()
    heads = [read_head(head.message()) for head in HeadFile(PosixStorage(node.data_dir / "audit"))]
    assert {head.tree_size for head in kept} <= {head.tree_size for head in heads}
    node.start()
    try:
        with dial(node.grpc_address, node.network_id) as api:
            stub = audit_pb2_grpc.AuditStub(api.channel)
            for number, second in enumerate(heads):
                for first in heads[: number + 1]:
                    proof = stub.GetConsistencyProof(
                        pb.GetConsistencyProofRequest(
                            first_tree_size=first.tree_size, second_tree_size=second.tree_size
                        ),
                        timeout=20,
                    )
                    check_consistency(
                        first.tree_size,
                        first.root_hash,
                        second.tree_size,
                        second.root_hash,
                        proof.path,
                    )
            assert operator_of(node, api).status().audit_tree_size == heads[-1].tree_size
    finally:
        node.kill()


def test_a_node_does_not_start_on_a_journal_that_its_head_contradicts(tmp_path: Path) -> None:
    """The journal of another node, or an older copy of its own, is not what was signed."""
    node = NodeProcess(tmp_path / "node", settings=FAST).start()
    other = NodeProcess(tmp_path / "other", settings=FAST).start()
    try:
        for each, accounts in ((node, 3), (other, 4)):
            for _ in range(accounts):
                each.open_account()
            assert each.stop() == 0
        (node.data_dir / "journal").rename(tmp_path / "journal")
        (other.data_dir / "journal").rename(node.data_dir / "journal")
        with pytest.raises(NodeDied, match="are not those whose head was signed"):
            node.start()
        (node.data_dir / "journal").rename(other.data_dir / "journal")
        (tmp_path / "journal").rename(node.data_dir / "journal")
        # The right journal again: nothing was changed by the refusal.
        node.start()
        assert node.stop() == 0
        for name in ("audit-heads.dxa", "audit-commit.dxa"):
            (node.data_dir / "audit" / name).unlink()
        (other.data_dir / "audit" / "audit-heads.dxa").rename(
            node.data_dir / "audit" / "audit-heads.dxa"
        )
        with pytest.raises(NodeDied, match="durable records are missing"):
            node.start()
    finally:
        node.kill()
        other.kill()


def test_a_deleted_tree_is_built_again(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node", settings=FAST).start()
    try:
        for _ in range(3):
            node.open_account()
        with node.client() as client:
            head = head_over(client, 3)
        node.kill()
        for name in ("audit-nodes.dxa", "audit-leaves.dxa", "audit-commit.dxa"):
            (node.data_dir / "audit" / name).unlink()
        node.start()
        with node.client() as client:
            assert client.audit.get_tree_head(after=head).tree_size >= head.tree_size
            proof = client.audit.get_inclusion_proof(head, sequence=2)
        assert proof.leaf_index == 1
    finally:
        node.kill()
