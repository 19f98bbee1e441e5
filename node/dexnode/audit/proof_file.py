"""Files an auditor keeps: a signed head, and a proof that needs nothing but itself and a head.

Both are JSON, with bytes in base64 as protobuf's JSON mapping has them.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError

from dex.audit.v1 import audit_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexsdk import Head, InclusionProof, PeerError
from dexsdk.audit import check_envelope, check_inclusion, read_head

HEAD_KEY: Final = "signed_tree_head"


class FileProblem(Exception):
    """A file does not hold what it should; the message names it."""


class CheckedProof(NamedTuple):
    """What a proof file shows, all of it checked."""

    head: Head
    sequence: int
    time_ns: int
    payload: payload_pb.Payload | None
    """What the client signed; None without an envelope in the file."""


def head_document(head: Head) -> dict[str, Any]:
    """A head as a document; the readable fields beside it are for people and are not read back."""
    return {
        HEAD_KEY: MessageToDict(head.signed, preserving_proto_field_name=True),
        "network_id": head.network_id,
        "shard": head.shard,
        "tree_size": head.tree_size,
        "root_hash": head.root_hash.hex(),
        "time_ns": head.time_ns,
        "event_hash": head.event_hash.hex(),
        "public_key": head.public_key.hex(),
    }


def read_head_file(path: Path, public_key: bytes | None = None) -> Head:
    """The head in a file, its signature checked; raises FileProblem or PeerError."""
    return _head_of(path, _document(path), public_key)


def proof_document(proof: InclusionProof, envelope: bytes) -> dict[str, Any]:
    """A proof as a document, with the signed envelope where there is one."""
    return {
        "head": head_document(proof.head),
        "leaf_index": proof.leaf_index,
        "leaf": _text(proof.leaf),
        "path": [_text(each) for each in proof.path],
        "envelope": _text(envelope),
    }


def check_proof_file(
    path: Path, trusted: Head | None, public_key: bytes | None = None
) -> CheckedProof:
    """Check a proof file: signature, inclusion, envelope; against a head that is kept apart.

    Raises FileProblem for a malformed file, PeerError for one that proves nothing.
    """
    document = _document(path)
    try:
        head = _head_of(path, document["head"], public_key)
        leaf, envelope = _bytes(document["leaf"]), _bytes(document["envelope"])
        hashes = [_bytes(each) for each in document["path"]]
        index = int(document["leaf_index"])
        found = pb.Leaf.FromString(leaf)
    except (KeyError, TypeError, ValueError, DecodeError) as error:
        raise FileProblem(f"{path} holds no proof as dex audit prove writes one") from error
    if trusted is not None:
        _check_same(head, trusted)
    check_inclusion(leaf, index, hashes, head.tree_size, head.root_hash)
    if found.sequence != index + 1:
        raise PeerError("PROOF_INVALID", f"leaf {index} is of record {found.sequence}")
    payload = check_envelope(leaf, envelope) if envelope else None
    return CheckedProof(head, found.sequence, found.time_ns, payload)


def _check_same(head: Head, trusted: Head) -> None:
    if head.tree_size != trusted.tree_size:
        raise PeerError(
            "PROOF_INVALID",
            f"the proof is for a tree of {head.tree_size} leaves, the head is of "
            f"{trusted.tree_size}: make it with --head",
        )
    if head.signed.tree_head != trusted.signed.tree_head:
        raise PeerError("PROOF_INVALID", f"two different heads of {head.tree_size} leaves")


def _head_of(path: Path, document: Any, public_key: bytes | None) -> Head:
    try:
        signed = ParseDict(document[HEAD_KEY], pb.SignedTreeHead())
    except (KeyError, TypeError, ValueError, AttributeError, ParseError) as error:
        # Their words are protobuf's own and run over lines.
        raise FileProblem(f"{path} holds no {HEAD_KEY} as dex audit head writes one") from error
    return read_head(signed, public_key)


def _document(path: Path) -> Any:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileProblem(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise FileProblem(f"{path} holds no JSON object")
    return document


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
