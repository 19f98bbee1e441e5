"""What the SDK returns was checked: a node that lies is caught, whatever it lies about."""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from dex.audit.v1 import audit_pb2 as pb
from dexsdk import Head, Key, PeerError
from dexsdk.audit import check_envelope
from dexsdk.audit_operations import get_inclusion_proof, get_tree_head, stream_tree_heads
from dexsdk.connection import make_session
from dexsdk.effects import Emit, Open, Read, Send
from dexsdk.signing import sign_payload
from tests.reference import merkle_rfc6962 as rfc
from tests.unit.audit.trees import NETWORK_ID, SHARD, head_of, leaf_of, make_log

LOG = make_log(random.Random(8), 21)
LEAVES = [leaf_of(record) for record in LOG]
OTHER = [LOG[0]._replace(command=b"another history"), *LOG[1:]]
SESSION = make_session(NETWORK_ID, None, None, 10.0, 10.0)
Answer = Callable[[str, bytes], Any]


def run(operation: Any, answer: Answer) -> Any:
    """Perform an operation against a scripted node; what it returns, or its first item."""
    reply: Any = None
    while True:
        try:
            effect = operation.send(reply)
        except StopIteration as ended:
            return ended.value
        if isinstance(effect, Emit):
            return effect.item
        if isinstance(effect, Send):
            reply = answer(effect.path.rpartition("/")[2], effect.request).SerializeToString()
        elif isinstance(effect, Open):
            reply = b""
        else:
            assert isinstance(effect, Read)
            reply = answer("Read", b"").SerializeToString()


def node_with(head: Head, path: list[bytes]) -> Answer:
    """A node that shows this head and this proof to everybody."""

    def answer(method: str, _request: bytes) -> Any:
        if method == "GetSignedTreeHead":
            return pb.GetSignedTreeHeadResponse(signed_tree_head=head.signed)
        if method == "Read":
            return pb.StreamSignedTreeHeadsResponse(signed_tree_head=head.signed)
        assert method == "GetConsistencyProof"
        return pb.GetConsistencyProofResponse(path=path)

    return answer


@pytest.mark.parametrize("size", [1, 8, 13, 20])
def test_a_head_that_continues_the_kept_one_is_taken(size: int) -> None:
    first, second = head_of(LOG[:size]), head_of(LOG)
    node = node_with(second, rfc.proof(size, LEAVES))
    assert run(get_tree_head(SESSION, after=first, shard=SHARD), node) == second
    assert run(stream_tree_heads(SESSION, after=first, shard=SHARD), node) == second


@pytest.mark.parametrize("size", [1, 8, 13, 20])
@pytest.mark.parametrize("operation", [get_tree_head, stream_tree_heads])
def test_a_head_of_another_history_is_refused(size: int, operation: Any) -> None:
    first, lie = head_of(LOG[:size]), head_of(OTHER)
    for proof in (rfc.proof(size, LEAVES), rfc.proof(size, [leaf_of(each) for each in OTHER]), []):
        with pytest.raises(PeerError, match="PROOF_INVALID"):
            run(operation(SESSION, after=first, shard=SHARD), node_with(lie, proof))


def test_a_head_of_another_key_or_network_is_refused() -> None:
    kept = head_of(LOG[:8])
    proof = rfc.proof(8, LEAVES)
    by_other = node_with(head_of(LOG, Key(bytes(32))), proof)
    with pytest.raises(PeerError, match="SIGNATURE_INVALID"):
        run(get_tree_head(SESSION, after=kept, shard=SHARD), by_other)
    with pytest.raises(PeerError, match="SIGNATURE_INVALID"):
        run(get_tree_head(SESSION, public_key=kept.public_key, shard=SHARD), by_other)
    elsewhere = node_with(head_of(LOG, network_id="elsewhere"), proof)
    with pytest.raises(PeerError, match="NETWORK_MISMATCH"):
        run(get_tree_head(SESSION, shard=SHARD), elsewhere)


def test_an_inclusion_proof_of_something_else_is_refused() -> None:
    head = head_of(LOG)

    def proving(index: int, leaf: bytes) -> Answer:
        path = rfc.path(index, LEAVES)
        return lambda _method, _request: pb.GetInclusionProofResponse(
            leaf_index=index, leaf=leaf, path=path
        )

    proof = run(get_inclusion_proof(SESSION, head, sequence=6), proving(5, LEAVES[5]))
    assert proof.leaf == LEAVES[5]
    for answer in (proving(5, LEAVES[6]), proving(4, LEAVES[4]), proving(4, LEAVES[5])):
        with pytest.raises(PeerError, match="PROOF_INVALID"):
            run(get_inclusion_proof(SESSION, head, sequence=6), answer)


def test_a_leaf_is_of_one_envelope_alone() -> None:
    """Two good envelopes of one key: the leaf of one proves nothing of the other."""
    key = Key(bytes(range(32)))
    mine, other = (
        sign_payload(key, payload).SerializeToString() for payload in (b"\x18\x01", b"\x18\x02")
    )
    leaf = pb.Leaf(sequence=1, envelope_digest=sha256(mine).digest()).SerializeToString()
    assert check_envelope(leaf, mine).nonce == 1
    with pytest.raises(PeerError, match="of another envelope"):
        check_envelope(leaf, other)
    # An envelope in the log whose signature is not its key's: the node journaled a forgery.
    forged = sign_payload(key, b"\x18\x03")
    forged.public_key = Key(bytes(32)).public_bytes
    data = forged.SerializeToString()
    leaf = pb.Leaf(sequence=1, envelope_digest=sha256(data).digest()).SerializeToString()
    with pytest.raises(PeerError, match="SIGNATURE_INVALID"):
        check_envelope(leaf, data)
