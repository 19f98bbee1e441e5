"""Checking a journal against a signed head, offline: nothing of the node is trusted.

The tree is made again from the journal's records alone. Where retention removed the first ones,
their hashes come from the node's tree: the root decides whether they were the right ones.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from dexcore import merkle
from dexcore.leaf import digests, encode_leaf
from dexcore.merkle import Frontier
from dexnode.audit.heads import HEADS_NAME
from dexruntime.audit import AuditError
from dexruntime.audit.store import ReadOnlyTree
from dexruntime.journal import Identity, JournalError, JournalReader, Record
from dexruntime.journal.segment import list_segments, read_segment_header
from dexruntime.storage import PosixStorage, Storage
from dexsdk.audit import Head

PROGRESS_EVERY: Final = 10_000
Progress = Callable[[int], None]


class Verdict(NamedTuple):
    """What became of a verification. ``problem`` is empty when the head holds."""

    tree_size: int
    checked_records: int
    first_sequence: int
    problem: str
    differing_sequence: int | None


def record_leaf_hash(record: Record) -> bytes:
    """The leaf hash of a journal record."""
    leaf = encode_leaf(record.sequence, record.time_ns, *digests(record.command, record.envelope))
    return merkle.leaf_hash(leaf)


class Recomputed:
    """A tree made of records as they come, held against a head once it has the head's size."""

    def __init__(self, frontier: Frontier | None = None) -> None:
        self.frontier = frontier or Frontier()
        self.time_ns = 0

    def add(self, record: Record) -> bytes:
        """Take in the next record; returns its leaf hash."""
        hash_ = record_leaf_hash(record)
        self.frontier.append(hash_)
        self.time_ns = record.time_ns
        return hash_

    def problem(self, head: Head) -> str:
        """How the records so far contradict a head; empty when they are what was signed."""
        size = self.frontier.size
        if size < head.tree_size:
            return (
                f"the journal ends at {size}, the head covers {head.tree_size}: records are missing"
            )
        if self.frontier.root() != head.root_hash:
            return f"the first {size} records are not those that were signed"
        if self.time_ns != head.time_ns:
            return f"record {size} has another time than the head says"
        return ""


def verify_journal(
    journal: Storage, head: Head, tree_folder: Path | None, progress: Progress
) -> Verdict:
    """Make the head's tree from the journal and say whether it is the one that was signed.

    Raises OSError; what is wrong with the journal is a verdict.
    """
    segments = list_segments(journal)
    if not segments:
        return Verdict(head.tree_size, 0, 1, "there is no journal here", None)
    first = segments[0].first_sequence
    tree: ReadOnlyTree | None = None
    checked = 0
    differing: int | None = None
    try:
        identity = identity_of(journal)
        if (identity.network_id, identity.shard) != (head.network_id, head.shard):
            return Verdict(head.tree_size, 0, first, "the head is of another journal", None)
        tree = _open_tree(tree_folder, identity)
        if first > 1 and (tree is None or tree.size < first - 1):
            problem = f"the journal begins at {first}: give the node's tree with --tree"
            return Verdict(head.tree_size, 0, first, problem, None)
        known = Frontier.of(tree, first - 1) if tree is not None and first > 1 else None
        made = Recomputed(known)
        # The node's hashes are its word; they name the place only when they are those of the head.
        told = _trusted(tree, head)
        reader = JournalReader(journal, first)
        try:
            for record in islice(reader, max(0, head.tree_size - (first - 1))):
                hash_ = made.add(record)
                checked += 1
                if told is not None and differing is None:
                    position = merkle.node_position(0, record.sequence - 1)
                    if told.hash_at(position) != hash_:
                        differing = record.sequence
                if checked % PROGRESS_EVERY == 0:
                    progress(record.sequence)
        finally:
            reader.close()
        problem = made.problem(head)
    except (JournalError, AuditError) as error:
        problem = str(error)
    finally:
        if tree is not None:
            tree.close()
    return Verdict(head.tree_size, checked, first, problem, differing if problem else None)


def _trusted(tree: ReadOnlyTree | None, head: Head) -> ReadOnlyTree | None:
    if tree is None or tree.size < head.tree_size:
        return None
    return tree if merkle.root(tree, head.tree_size) == head.root_hash else None


def identity_of(journal: Storage) -> Identity:
    """Whose journal it is, by its first segment; there must be one."""
    segment = list_segments(journal)[0]
    file = journal.open(segment.name)
    try:
        return read_segment_header(file, segment, 0).identity
    finally:
        file.close()


def _open_tree(folder: Path | None, identity: Identity) -> ReadOnlyTree | None:
    if folder is None or not (folder / HEADS_NAME).exists():
        return None
    return ReadOnlyTree(PosixStorage(folder, read_only=True), identity)
