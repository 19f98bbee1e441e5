"""Audit: signed heads, proofs and records of the journal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar, final

import trio
from google.protobuf.message import DecodeError

from dex.audit.v1 import audit_pb2 as pb
from dex.errors.v1 import errors_pb2
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore import merkle
from dexcore.commands import Command, decode_command
from dexcore.leaf import digests, encode_leaf
from dexcore.limits import EXPIRY_AHEAD_NS_MAX, ITEM_INDEX_LIMIT
from dexcore.session_commands import SessionOrders
from dexnode.audit.heads import StoredHead
from dexnode.audit.log import AuditLog
from dexnode.authz import require_account
from dexnode.errors import refuse
from dexnode.ids import IdFormat
from dexnode.pagination import PageTokens
from dexnode.times import time_ns_of
from dexrpc import CallContext, RpcError, Sender
from dexruntime.journal import JournalReader, Record, SequenceRemoved
from dexsdk.audit import check_consistency, check_inclusion

log = logging.getLogger(__name__)

ENTRIES_PAGE: Final = 100
# A client's default is to take messages of 4 MiB.
PAGE_BYTES_MAX: Final = 3 << 20
# Records one page of an account's looks through.
SCANNED_MAX: Final = 50_000
HEADS_READ: Final = 64
# Reading the journal costs the loop its processor: one reader at a time.
READERS_MAX: Final = 1

Result = TypeVar("Result")


class _Page(NamedTuple):
    """Entries, and the leaf at which the next page starts; None after the last."""

    entries: list[pb.AuditEntry]
    next_index: int | None


@final
class AuditService:
    """Serves dex.audit.v1.Audit."""

    def __init__(self, audit: AuditLog, ids: IdFormat, pages: PageTokens) -> None:
        self._audit = audit
        self._ids = ids
        self._pages = pages
        self._readers = trio.CapacityLimiter(READERS_MAX)

    # --- heads

    async def get_signed_tree_head(
        self, request: pb.GetSignedTreeHeadRequest, _ctx: CallContext
    ) -> pb.GetSignedTreeHeadResponse:
        """The newest head, or that of a smaller tree."""
        self._check_shard(request.shard)
        head = self._audit.newest
        if request.tree_size:
            head = await trio.to_thread.run_sync(self._audit.heads.find, request.tree_size)
        if head is None or head.tree_size > self._audit.tree_size:
            raise _absent("tree_size")
        return pb.GetSignedTreeHeadResponse(signed_tree_head=head.message())

    async def stream_signed_tree_heads(
        self,
        request: pb.StreamSignedTreeHeadsRequest,
        _ctx: CallContext,
        send: Sender[pb.StreamSignedTreeHeadsResponse],
    ) -> None:
        """Every head, once it is durable; a slow reader reads them from the disk."""
        self._check_shard(request.shard)
        audit = self._audit
        sent = max(0, audit.shown_count - 1)
        if request.after_tree_size:
            sent = await trio.to_thread.run_sync(
                audit.heads.first_above, request.after_tree_size, audit.shown_count
            )
        while True:
            await audit.wait_for_more(sent)
            heads = await trio.to_thread.run_sync(self._heads, sent)
            await send.send_many(
                [pb.StreamSignedTreeHeadsResponse(signed_tree_head=h.message()) for h in heads]
            )
            sent += len(heads)

    def _heads(self, start: int) -> list[StoredHead]:
        end = min(self._audit.shown_count, start + HEADS_READ)
        return [self._audit.heads.read(index) for index in range(start, end)]

    # --- proofs

    async def get_inclusion_proof(
        self, request: pb.GetInclusionProofRequest, _ctx: CallContext
    ) -> pb.GetInclusionProofResponse:
        """Where a record is in the tree, and the way from there to the root."""
        self._check_shard(request.shard)
        size = request.tree_size
        if size > self._audit.tree_size:
            raise _absent("tree_size")
        if request.WhichOneof("record") == "sequence":
            index: int | None = request.sequence - 1 if request.sequence <= size else None
        else:
            index = await self._read(lambda: self._find(request.envelope, size))
        if index is None:
            raise _absent(request.WhichOneof("record") or "record")
        return await self._read(lambda: self._prove(index, size))

    def _find(self, envelope: payload_pb.SignedEnvelope, size: int) -> int | None:
        """The first record with an envelope; it was journaled before it expired."""
        try:
            payload = payload_pb.Payload.FromString(envelope.payload)
        except DecodeError:
            return None
        until_ns = time_ns_of(payload.expire_time, "envelope.payload.expire_time")
        digest = sha256(envelope.SerializeToString()).digest()
        # Exchange and clock may be a little apart, and what expired in the queue is journaled too.
        slack_ns = EXPIRY_AHEAD_NS_MAX
        from_ns = until_ns - EXPIRY_AHEAD_NS_MAX - slack_ns
        return self._audit.store.find_envelope(digest, size, from_ns, until_ns + slack_ns)

    def _prove(self, index: int, size: int) -> pb.GetInclusionProofResponse:
        store = self._audit.store
        leaf = store.leaf(index)
        path = merkle.inclusion_path(store, index, size)
        # Checked as the client will: a tree that changed on disk proves nothing to anybody.
        check_inclusion(leaf, index, path, size, merkle.root(store, size))
        return pb.GetInclusionProofResponse(leaf_index=index, leaf=leaf, path=path)

    async def get_consistency_proof(
        self, request: pb.GetConsistencyProofRequest, _ctx: CallContext
    ) -> pb.GetConsistencyProofResponse:
        """That one tree is the beginning of another."""
        self._check_shard(request.shard)
        first, second = request.first_tree_size, request.second_tree_size
        if second > self._audit.tree_size:
            raise _absent("second_tree_size")
        if first > second:
            raise refuse(
                errors_pb2.ERROR_REASON_FIELD_INVALID,
                "first_tree_size must not be above second_tree_size",
                field="first_tree_size",
            )
        return await self._read(lambda: self._compare(first, second))

    def _compare(self, first: int, second: int) -> pb.GetConsistencyProofResponse:
        store = self._audit.store
        path = merkle.consistency_path(store, first, second)
        roots = merkle.root(store, first), merkle.root(store, second)
        check_consistency(first, roots[0], second, roots[1], path)
        return pb.GetConsistencyProofResponse(path=path)

    # --- records

    async def list_audit_entries(
        self, request: pb.ListAuditEntriesRequest, _ctx: CallContext
    ) -> pb.ListAuditEntriesResponse:
        """All records, oldest first."""
        self._check_shard(request.shard)
        start = self._pages.open(request, int) or request.start_leaf_index
        size = request.page_size or ENTRIES_PAGE
        page = await self._read(lambda: self._page(start, size, lambda _record, _command: True))
        response = pb.ListAuditEntriesResponse(entries=page.entries)
        if page.next_index is not None:
            response.next_page_token = self._pages.seal(request, page.next_index)
        return response

    async def list_account_audit_entries(
        self, request: pb.ListAccountAuditEntriesRequest, ctx: CallContext
    ) -> pb.ListAccountAuditEntriesResponse:
        """The records an account signed."""
        require_account(ctx, request.account_id)
        account_key = self._ids.key_of(request.account_id)
        if account_key is None:
            raise refuse(errors_pb2.ERROR_REASON_UNKNOWN_ACCOUNT, field="account_id")
        start = self._pages.open(request, int) or request.start_leaf_index
        size = request.page_size or ENTRIES_PAGE
        mine = _signed_by(account_key)
        page = await self._read(lambda: self._page(start, size, mine))
        response = pb.ListAccountAuditEntriesResponse(entries=page.entries)
        if page.next_index is not None:
            response.next_page_token = self._pages.seal(request, page.next_index)
        return response

    def _page(self, start: int, size: int, wanted: Callable[[Record, Command], bool]) -> _Page:
        entries: list[pb.AuditEntry] = []
        bytes_left = PAGE_BYTES_MAX
        for record in self._records(start):
            index = record.sequence - 1
            if len(entries) == size or bytes_left <= 0 or index - start >= SCANNED_MAX:
                return _Page(entries, index)
            command = decode_command(record.command)
            if wanted(record, command):
                entry = self._entry(record, command)
                bytes_left -= entry.ByteSize()
                entries.append(entry)
        return _Page(entries, None)

    def _records(self, start: int) -> Iterator[Record]:
        """Records of the newest head's tree, from a leaf on."""
        end = self._audit.tree_size
        if start >= end:
            return
        reader = JournalReader(self._audit.journal, start + 1)
        try:
            for record in reader:
                if record.sequence > end:
                    return
                yield record
        finally:
            reader.close()

    def _entry(self, record: Record, command: Command) -> pb.AuditEntry:
        command_digest, envelope_digest = digests(record.command, record.envelope)
        leaf = encode_leaf(record.sequence, record.time_ns, command_digest, envelope_digest)
        kind = pb.ENVELOPE_KIND_UNSPECIFIED
        if record.envelope:
            kind = pb.ENVELOPE_KIND_OPERATOR
            if isinstance(command, SessionOrders):
                kind = pb.ENVELOPE_KIND_SESSION
            elif hasattr(command, "nonce"):
                kind = pb.ENVELOPE_KIND_SIGNED
        return pb.AuditEntry(
            leaf_index=record.sequence - 1,
            leaf=leaf,
            command=record.command,
            envelope=record.envelope,
            envelope_kind=kind,
            command_name=type(command).__name__,
        )

    # --- what they share

    def _check_shard(self, shard: int) -> None:
        if shard != self._audit.identity.shard:
            raise _absent("shard")

    async def _read(self, work: Callable[[], Result]) -> Result:
        """Run on a thread what reads files."""
        try:
            return await trio.to_thread.run_sync(work, limiter=self._readers)
        except SequenceRemoved as error:
            raise refuse(
                errors_pb2.ERROR_REASON_SEQUENCE_GONE,
                field="start_leaf_index",
                metadata={"oldest_sequence": str(error.oldest)},
            ) from None


def _signed_by(account_key: int) -> Callable[[Record, Command], bool]:
    def signed_by(record: Record, command: Command) -> bool:
        if isinstance(command, SessionOrders):
            command = command.orders
        if not hasattr(command, "nonce"):
            return False
        signer: int = getattr(command, "account_key")  # noqa: B009  # every signed command has it
        # Whoever opens an account has none yet: its key is made of the record's position.
        return signer == account_key or (
            not signer and record.sequence * ITEM_INDEX_LIMIT == account_key
        )

    return signed_by


def _absent(field: str) -> RpcError:
    return refuse(errors_pb2.ERROR_REASON_NOT_IN_AUDIT_LOG, field=field)
