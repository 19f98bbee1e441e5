"""Checking the audit log without trusting the node: heads, inclusion, consistency, envelopes.

Nothing here asks a node for anything. Everything raises PeerError: SIGNATURE_INVALID for a head or
an envelope that its key did not sign, PROOF_INVALID for what does not add up. The tree is that of
RFC 6962, section 2.1; the checks are those of RFC 9162, sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from google.protobuf.message import DecodeError

from dex.audit.v1 import audit_pb2 as audit
from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexsdk.errors import PeerError
from dexsdk.keys import verify
from dexsdk.mac_session import next_hash, payload_hash
from dexsdk.signing import payload_signing_bytes

AUDIT_DOMAIN: Final = b"triodex.audit.v1\0"
HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Head:
    """A tree head whose signature was checked."""

    network_id: str
    shard: int
    tree_size: int
    root_hash: bytes
    time_ns: int
    """The exchange's time of the last leaf."""
    event_hash: bytes
    public_key: bytes
    signed: audit.SignedTreeHead
    """As the node sent it; keep this."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a serialized Leaf."""
    return sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees."""
    return sha256(b"\1" + left + right).digest()


def read_head(signed: audit.SignedTreeHead, public_key: bytes | None = None) -> Head:
    """Checks who signed a head: ``public_key``, the node's audit key that the caller trusts.

    Without one the head only shows that it was signed by the key it names.
    """
    if public_key is not None and signed.public_key != public_key:
        raise PeerError(
            "SIGNATURE_INVALID",
            f"the head is signed by {signed.public_key.hex()}, not by {public_key.hex()}",
            field="public_key",
        )
    if not verify(signed.public_key, AUDIT_DOMAIN + signed.tree_head, signed.signature):
        raise PeerError("SIGNATURE_INVALID", "the head's signature does not verify")
    try:
        head = audit.TreeHead.FromString(signed.tree_head)
    except DecodeError as error:
        raise PeerError("MALFORMED_MESSAGE", "the head holds no TreeHead") from error
    return Head(
        head.network_id,
        head.shard,
        head.tree_size,
        head.root_hash,
        head.time.ToNanoseconds(),
        head.event_hash,
        signed.public_key,
        signed,
    )


def check_inclusion(
    leaf: bytes, leaf_index: int, path: Sequence[bytes], tree_size: int, root_hash: bytes
) -> None:
    """Checks that a serialized leaf stands at ``leaf_index``, from 0, of this tree."""
    if not 0 <= leaf_index < tree_size:
        raise _invalid(f"leaf {leaf_index} is not in a tree of {tree_size}")
    node, last = leaf_index, tree_size - 1
    found = leaf_hash(leaf)
    for sibling in _hashes(path):
        if last == 0:
            raise _invalid("the inclusion proof is too long")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last or found != root_hash:
        raise _invalid(f"the inclusion proof of leaf {leaf_index} does not lead to the root")


def check_consistency(
    first_size: int,
    first_root: bytes,
    second_size: int,
    second_root: bytes,
    path: Sequence[bytes],
) -> None:
    """Checks that the tree of ``first_size`` leaves is the beginning of the second."""
    if not 0 < first_size <= second_size:
        raise _invalid(f"a tree of {first_size} leaves does not begin one of {second_size}")
    if first_size == second_size:
        if path or first_root != second_root:
            raise _invalid(f"two different trees of {first_size} leaves")
        return
    hashes = _hashes(path)
    if first_size & (first_size - 1) == 0:
        hashes.insert(0, first_root)
    if not hashes:
        raise _invalid("the consistency proof is empty")
    node, last = first_size - 1, second_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise _invalid("the consistency proof is too long")
        if node & 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    if last or first != first_root or second != second_root:
        raise _invalid(
            f"the tree of {second_size} leaves does not continue the one of {first_size}"
        )


def check_continues(first: Head, second: Head, path: Sequence[bytes]) -> None:
    """Checks that a later head is of the same log and continues the first."""
    if (first.network_id, first.shard) != (second.network_id, second.shard):
        raise _invalid("the heads are of different networks or shards")
    if first.tree_size == second.tree_size and first.event_hash != second.event_hash:
        raise _invalid(f"two different heads of {first.tree_size} leaves")
    check_consistency(first.tree_size, first.root_hash, second.tree_size, second.root_hash, path)


def check_envelope(leaf: bytes, envelope: bytes) -> payload_pb.Payload:
    """Checks that a leaf is of this serialized SignedEnvelope and that its key signed it.

    Returns what was signed.
    """
    try:
        found = audit.Leaf.FromString(leaf)
        signed = payload_pb.SignedEnvelope.FromString(envelope)
        payload = payload_pb.Payload.FromString(signed.payload)
    except DecodeError as error:
        raise PeerError("MALFORMED_MESSAGE", "no leaf, or no signed envelope") from error
    if found.envelope_digest != sha256(envelope).digest():
        raise _invalid("the leaf is of another envelope")
    if not verify(signed.public_key, payload_signing_bytes(signed.payload), signed.signature):
        raise PeerError("SIGNATURE_INVALID", "the envelope's signature does not verify")
    return payload


def check_session_order(
    order: bytes,
    running_hash: bytes,
    following: Sequence[bytes],
    countersignature: bytes,
    public_key: bytes,
) -> payload_pb.Payload:
    """Checks that the holder of ``public_key`` signed for this serialized SessionOrder.

    Returns its payload, whose ``account_id`` is the one that the countersignature names too.
    ``running_hash`` is the session's before it, ``following`` are the hashes of the orders after it
    up to the ``countersignature``, a serialized SignedEnvelope. Not shown here: that the key was
    the account's, which the record that registered it shows, and that all of them are in the log,
    which their leaves show.
    """
    try:
        sent = orders_pb.SessionOrder.FromString(order)
        payload = payload_pb.Payload.FromString(sent.payload)
        signed = payload_pb.SignedEnvelope.FromString(countersignature)
        signed_payload = payload_pb.Payload.FromString(signed.payload)
    except DecodeError as error:
        raise PeerError("MALFORMED_MESSAGE", "no order of a session, or no envelope") from error
    if signed.public_key != public_key:
        raise PeerError(
            "SIGNATURE_INVALID",
            f"the countersignature is by {signed.public_key.hex()}, not by {public_key.hex()}",
            field="public_key",
        )
    if not verify(public_key, payload_signing_bytes(signed.payload), signed.signature):
        raise PeerError("SIGNATURE_INVALID", "the countersignature does not verify")
    of_order = (payload.network_id, payload.account_id)
    if of_order != (signed_payload.network_id, signed_payload.account_id):
        raise _invalid("the countersignature is of another account or network than the order")
    said = signed_payload.session_countersignature
    number = sent.order_number
    found = next_hash(running_hash, number, payload_hash(sent.payload))
    for each in following:
        number += 1
        found = next_hash(found, number, each)
    if (said.session_id, said.order_number, said.running_hash) != (sent.session_id, number, found):
        raise _invalid("the countersignature is not over this order")
    return payload


def _hashes(path: Sequence[bytes]) -> list[bytes]:
    if any(len(each) != HASH_BYTES for each in path):
        raise _invalid("a proof is made of hashes of 32 bytes")
    return list(path)


def _invalid(message: str) -> PeerError:
    return PeerError("PROOF_INVALID", message)
