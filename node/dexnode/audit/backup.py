"""The audit folder in a backup: the tree as far as the backup goes, and the heads signed by then.

A journal whose beginning retention removed cannot make its tree again, and a node without its last
head is held to nothing: both go with the journal. Heads over later records stay behind; after a
restore those records are not there.
"""

from __future__ import annotations

from pathlib import Path

from dex.audit.v1 import audit_pb2 as pb
from dexcore import merkle
from dexnode.audit.heads import HEADS_NAME, StoredHead, encode_head, stored_heads
from dexruntime.audit import AuditError
from dexruntime.audit.copy import check_tree, copy_tree, tree_up_to
from dexruntime.audit.store import COMMIT_NAME, Commit, ReadOnlyTree
from dexruntime.backup import BackupError
from dexruntime.files import publish_file
from dexruntime.journal import Identity, JournalEnd, JournalError
from dexruntime.journal.segment import list_segments
from dexruntime.storage import PosixStorage, Storage


def copy_audit(source: Path, target: Path, journal: Storage, end: JournalEnd) -> int:
    """Copy the audit folder beside a journal that ends there; returns the records in the tree.

    A tree that is absent or not good is left out, where the journal can make it again.

    Raises:
        BackupError: the tree is needed and not good, or a signed head contradicts the journal.
        OSError: a disk failed; what an earlier backup has is still good.
    """
    if end.header is None or not source.is_dir():
        return 0
    identity = end.header.identity
    tree = PosixStorage(source, read_only=True)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    heads = [head for head in stored_heads(tree) if head.tree_size <= end.sequence]
    commit = _good_tree(tree, journal, identity, end)
    if commit is not None:
        if heads:
            _hold(heads[-1], tree, identity, commit)
        copy_tree(tree, PosixStorage(target), identity, commit)
    if heads:
        publish_file(target / HEADS_NAME, map(encode_head, heads))
    return commit.size if commit is not None else 0


def _good_tree(
    tree: Storage, journal: Storage, identity: Identity, end: JournalEnd
) -> Commit | None:
    first = list_segments(journal)[0].first_sequence
    try:
        if COMMIT_NAME not in tree.list_names():
            return None
        commit = tree_up_to(tree, journal, identity, end)
        check_tree(tree, journal, commit)
    except (AuditError, JournalError) as error:
        if first == 1:
            return None
        raise BackupError(
            f"{error}; and the journal begins at {first}, so that nothing else has its beginning"
        ) from error
    return commit


def _hold(last: StoredHead, tree: Storage, identity: Identity, commit: Commit) -> None:
    head = pb.TreeHead.FromString(last.message().tree_head)
    if head.tree_size > commit.size:
        return
    nodes = ReadOnlyTree(tree, identity)
    try:
        root = merkle.root(nodes, head.tree_size)
    finally:
        nodes.close()
    if root != head.root_hash:
        raise BackupError(
            f"the signed head of {head.tree_size} records is not that of this journal: a node "
            "would not start on it"
        )
