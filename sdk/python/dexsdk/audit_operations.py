"""Operations on the audit log (dex.audit.v1.Audit): whatever they return was checked."""

from __future__ import annotations

from dataclasses import dataclass

from dex.audit.v1 import audit_pb2 as audit
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexsdk import methods
from dexsdk.audit import Head, check_continues, check_inclusion, read_head
from dexsdk.effects import Backoff, Emit, Feed, Open, Operation, Read, ask, decode
from dexsdk.errors import CallerError, PeerError, Unavailable
from dexsdk.order_operations import page_size
from dexsdk.session import Session

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That a record is in the tree of a head; checked."""

    head: Head
    leaf_index: int
    leaf: bytes
    """Serialized dex.audit.v1.Leaf."""
    path: tuple[bytes, ...]


def get_tree_head(
    session: Session,
    tree_size: int = 0,
    *,
    public_key: bytes | None = None,
    after: Head | None = None,
    shard: int = 0,
) -> Operation[Head]:
    """The newest signed head, or that of a smaller tree.

    ``public_key`` is the node's audit key as you know it. With ``after``, a head you kept, the node
    must prove that the new one continues it; the key must be the same unless you name the new one.
    """
    request = audit.GetSignedTreeHeadRequest(shard=shard, tree_size=tree_size)
    response = yield from ask(session, methods.GET_SIGNED_TREE_HEAD, request)
    if public_key is None and after is not None:
        public_key = after.public_key
    head = _own(session, shard, read_head(response.signed_tree_head, public_key))
    if tree_size and head.tree_size != tree_size:
        raise PeerError("PROOF_INVALID", f"asked for a head of {tree_size}, got {head.tree_size}")
    if after is not None:
        yield from check_consistent(session, after, head)
    return head


def check_consistent(session: Session, first: Head, second: Head) -> Operation[None]:
    """Has the node prove that the larger of two heads continues the smaller; PROOF_INVALID if not.

    Raises CallerError (NOT_IN_AUDIT_LOG) when the node does not have the larger tree.
    """
    if first.tree_size > second.tree_size:
        first, second = second, first
    path: list[bytes] = []
    if first.tree_size != second.tree_size:
        request = audit.GetConsistencyProofRequest(
            shard=second.shard,
            first_tree_size=first.tree_size,
            second_tree_size=second.tree_size,
        )
        response = yield from ask(session, methods.GET_CONSISTENCY_PROOF, request)
        path = list(response.path)
    check_continues(first, second, path)


def get_inclusion_proof(
    session: Session,
    head: Head,
    *,
    sequence: int | None = None,
    envelope: payload_pb.SignedEnvelope | None = None,
) -> Operation[InclusionProof]:
    """Proves that a record, by its journal position or its signed envelope, is in a head's tree."""
    if (sequence is None) == (envelope is None):
        raise CallerError("FIELD_INVALID", "give a sequence or an envelope", field="record")
    request = audit.GetInclusionProofRequest(shard=head.shard, tree_size=head.tree_size)
    if sequence is not None:
        request.sequence = sequence
    if envelope is not None:
        request.envelope.CopyFrom(envelope)
    answer = yield from ask(session, methods.GET_INCLUSION_PROOF, request)
    path = tuple(answer.path)
    check_inclusion(answer.leaf, answer.leaf_index, path, head.tree_size, head.root_hash)
    if sequence is not None and answer.leaf_index != sequence - 1:
        raise PeerError("PROOF_INVALID", f"asked for {sequence}, got leaf {answer.leaf_index}")
    return InclusionProof(head, answer.leaf_index, answer.leaf, path)


def list_entries(
    session: Session, *, start_leaf_index: int = 0, limit: int | None = None, shard: int = 0
) -> Operation[list[audit.AuditEntry]]:
    """Records with everything they say, oldest first (operators only); at most ``limit``."""
    entries: list[audit.AuditEntry] = []
    request = audit.ListAuditEntriesRequest(
        shard=shard, start_leaf_index=start_leaf_index, page_size=page_size(limit, _PAGE)
    )
    while True:
        page = yield from ask(session, methods.LIST_AUDIT_ENTRIES, request)
        entries += page.entries
        request.page_token = page.next_page_token
        if not request.page_token or (limit is not None and len(entries) >= limit):
            return entries[:limit]


def list_account_entries(
    session: Session, *, start_leaf_index: int = 0, limit: int | None = None
) -> Operation[list[audit.AuditEntry]]:
    """The records this client's account signed, oldest first; at most ``limit``."""
    entries: list[audit.AuditEntry] = []
    request = audit.ListAccountAuditEntriesRequest(
        account_id=session.account_id,
        start_leaf_index=start_leaf_index,
        page_size=page_size(limit, _PAGE),
    )
    while True:
        page = yield from ask(session, methods.LIST_ACCOUNT_AUDIT_ENTRIES, request)
        entries += page.entries
        request.page_token = page.next_page_token
        if not request.page_token or (limit is not None and len(entries) >= limit):
            return entries[:limit]


def stream_tree_heads(
    session: Session,
    *,
    after: Head | None = None,
    public_key: bytes | None = None,
    shard: int = 0,
) -> Feed[Head]:
    """Signed heads as they are made, from ``after`` on, each proven to continue the one before."""
    outage: Backoff | None = None
    last = after
    while True:
        size = 0 if last is None else last.tree_size
        request = audit.StreamSignedTreeHeadsRequest(shard=shard, after_tree_size=size)
        try:
            path = methods.STREAM_SIGNED_TREE_HEADS.path
            yield Open(path, (request.SerializeToString(),), ())
            while True:
                data = yield Read()
                if data is None:
                    raise Unavailable("UNAVAILABLE", "the node ended the stream")
                message = decode(methods.STREAM_SIGNED_TREE_HEADS, data)
                outage = None
                key = last.public_key if public_key is None and last is not None else public_key
                head = _own(session, shard, read_head(message.signed_tree_head, key))
                if last is not None:
                    yield from check_consistent(session, last, head)
                last = head
                yield Emit(head)
        except Unavailable as error:
            outage = outage or Backoff(session, session.now_ns() + session.reconnect_timeout_ns)
            yield outage.after(error)


def _own(session: Session, shard: int, head: Head) -> Head:
    if (head.network_id, head.shard) != (session.network_id, shard):
        raise PeerError("NETWORK_MISMATCH", "the head is of another network or shard")
    return head
