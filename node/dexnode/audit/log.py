"""The audit log of a running node: follows the journal and signs heads.

Theory of operation. Once an interval, when there are new durable records, a thread brings the tree
on disk up to the end of the last durable batch, commits it, signs size, root and the event hash the
exchange had there, makes the head durable, and only then is it shown. Records are taken in all the
time between two heads: a second's worth at once would hold up the loop, with which the thread
shares the interpreter, for a tenth of one. All of a head is a function of the journal, so the same
size is signed the same for ever; before it serves anything, a node holds its last head against its
journal and does not start when they disagree.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, final

import trio

from dex.audit.v1 import audit_pb2 as pb
from dexcore import merkle
from dexnode.audit.heads import HeadFile, StoredHead
from dexnode.render import timestamp
from dexruntime.audit import (
    AuditContradicted,
    AuditError,
    AuditFailed,
    AuditFull,
    TreeFollower,
    TreeStore,
)
from dexruntime.journal import Identity, JournalError, SequenceRemoved
from dexruntime.journal.writer import end_process
from dexruntime.sequencer import DurablePoint
from dexruntime.storage import Storage
from dexsdk import Key
from dexsdk.audit import AUDIT_DOMAIN, read_head

log = logging.getLogger(__name__)
_end_process: Final = partial(end_process, what="audit log")
Progress = Callable[[int], None]
# Between two heads records are taken in so often.
TAKE_IN_SECONDS: Final = 0.02
# A tree that is further behind catches up in one go, with commits on the way.
BEHIND_MAX: Final = 100_000


@final
class AuditLog:
    """Tree and heads of one shard. ``open`` checks them, ``run`` keeps them up."""

    def __init__(
        self,
        journal: Storage,
        storage: Storage,
        identity: Identity,
        key: Key,
        point: Callable[[], DurablePoint],
        on_failure: Callable[[BaseException], object] = _end_process,
    ) -> None:
        """``point`` says up to which record everything is durable, and the event hash there.

        ``on_failure`` is called when a running log cannot go on; it ends the process.
        """
        self.identity = identity
        self.public_key: Final = key.public_bytes
        self.journal: Final = journal
        self._key = key
        self._point = point
        self._on_failure = on_failure
        self.store: Final = TreeStore(storage, identity)
        self.heads: Final = HeadFile(storage)
        self.follower: Final = TreeFollower(journal, self.store)
        self._stopping = threading.Event()
        self._gone = False
        self._making = trio.Lock()
        self._shown = trio.Event()
        self.newest: StoredHead | None = self.heads.last
        self.shown_count = self.heads.count

    @property
    def tree_size(self) -> int:
        """Leaves of the newest head; what lies beyond is not shown."""
        return 0 if self.newest is None else self.newest.tree_size

    # --- starting

    def check(self, progress: Progress | None = None) -> None:
        """Hold the last head against the journal; blocks while the tree catches up with it.

        Raises:
            AuditContradicted: they disagree. The node must not start.
            JournalError, AuditError, OSError: the tree cannot be built.
        """
        last = self.heads.last
        if last is None:
            return
        signed = last.message()
        head = pb.TreeHead.FromString(signed.tree_head)
        if (head.network_id, head.shard) != (self.identity.network_id, self.identity.shard):
            raise AuditContradicted("the signed heads are of another network or shard")
        if signed.public_key != self.public_key:
            log.warning("the audit key is a new one; the heads so far have the old one")
        durable_sequence = self._point().sequence
        if head.tree_size > durable_sequence:
            raise AuditContradicted(
                f"a head over {head.tree_size} records was signed, but the journal ends at "
                f"{durable_sequence}: durable records are missing"
            )
        if not self._agrees(head, progress):
            # A tree that changed on disk says nothing of the journal: build it again, then judge.
            log.warning("the audit tree does not match the last head; building it again")
            self.follower.rebuild()
            if not self._agrees(head, progress):
                raise AuditContradicted(
                    f"the journal's first {head.tree_size} records are not those whose head was "
                    "signed: a record was changed, or the journal is another one"
                )

    def _agrees(self, head: pb.TreeHead, progress: Progress | None) -> bool:
        if self.store.committed.size < head.tree_size:
            try:
                self.follower.follow(head.tree_size, progress=progress)
            except SequenceRemoved as error:
                raise AuditContradicted(
                    f"the audit tree ends at {self.store.committed.size} and the journal begins "
                    f"at {error.oldest}: bring the folder of the tree back from a backup"
                ) from error
        return (
            merkle.root(self.store, head.tree_size) == head.root_hash
            and self.store.time_ns(head.tree_size - 1) == head.time.ToNanoseconds()
        )

    # --- running

    async def run(self, interval_ms: int) -> None:
        """Make a head every ``interval_ms`` milliseconds, when there is something new."""
        while True:
            left = interval_ms / 1_000
            while left > TAKE_IN_SECONDS:
                await trio.sleep(TAKE_IN_SECONDS)
                left -= TAKE_IN_SECONDS
                async with self._making:
                    await self._on_thread(self._take_in)
            await trio.sleep(left)
            await self.make_head()

    async def make_head(self) -> None:
        """Sign what is durable now, unless it is signed already.

        What cannot be made durable, or reads back otherwise, goes to ``on_failure`` and is raised:
        after a failed sync nobody knows what is on disk (as in dexruntime.journal).
        """
        async with self._making:
            made = await self._on_thread(self._make)
            if made is not None:
                self.newest = made
                self.shown_count = self.heads.count
                self._shown.set()
                self._shown = trio.Event()

    async def _on_thread(
        self, work: Callable[[DurablePoint], StoredHead | None]
    ) -> StoredHead | None:
        """Do it for what is durable now, when that is more than the newest head is over."""
        point = self._point()
        if point.sequence <= self.tree_size or self._gone:
            return None
        try:
            return await trio.to_thread.run_sync(work, point)
        except AuditFull:
            log.exception("no head was made")
        except SequenceRemoved:
            # Trading goes on without heads: there is no tree, and no head that it would break.
            log.exception("the journal's beginning is gone: no head can be made")
            self._gone = True
        except (AuditError, JournalError, OSError) as error:
            self._on_failure(error)
            raise
        return None

    async def finish(self) -> None:
        """The last head of a node that stops; one that is far behind its journal makes none."""
        self._stopping.set()
        await self.make_head()

    async def wait_for_more(self, count: int) -> None:
        """Wait until there are more heads than ``count``."""
        while self.shown_count <= count:
            await self._shown.wait()

    def close(self) -> None:
        """Close the files."""
        self.follower.close()
        self.store.close()
        self.heads.close()

    def _take_in(self, point: DurablePoint) -> None:
        """On a thread: the tree, without a commit; no more than a bounded part of it."""
        if point.sequence - self.store.committed.size <= BEHIND_MAX:
            self.follower.take_in(point.sequence)

    def _make(self, point: DurablePoint) -> StoredHead | None:
        """On a thread: tree, commit, signature, head file."""
        behind = point.sequence - self.store.committed.size
        go_on = (lambda: not self._stopping.is_set()) if behind > BEHIND_MAX else (lambda: True)
        if not self.follower.follow(point.sequence, go_on=go_on):
            return None
        head = self._sign(point)
        self.heads.append(head)
        return head

    def _sign(self, point: DurablePoint) -> StoredHead:
        committed = self.store.committed
        # A head is a promise: it is made of what is on disk and of nothing else.
        if committed.size != point.sequence or committed.time_ns != point.time_ns:
            raise AuditFailed(
                f"the tree is durable up to {committed.size}, the head would be of {point.sequence}"
            )
        tree_head = pb.TreeHead(
            network_id=self.identity.network_id,
            shard=self.identity.shard,
            tree_size=committed.size,
            root_hash=merkle.root(self.store, committed.size),
            time=timestamp(point.time_ns),
            event_hash=point.event_hash,
        ).SerializeToString(deterministic=True)
        signed = pb.SignedTreeHead(
            tree_head=tree_head,
            signature=self._key.sign(AUDIT_DOMAIN + tree_head),
            public_key=self.public_key,
        )
        # Checked as a client will, before it is one.
        if read_head(signed, self.public_key).root_hash != committed.root:
            raise AuditFailed(f"the head of {committed.size} leaves has another root than its tree")
        return StoredHead(committed.size, signed.SerializeToString(deterministic=True))
