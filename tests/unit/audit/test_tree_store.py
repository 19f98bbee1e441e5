"""The tree on a disk that forgets, tears and fills up: it is the journal's tree or begins anew."""

from __future__ import annotations

import errno
import random
from hashlib import sha256

import pytest

from dexcore import merkle
from dexruntime.audit import AuditFailed, AuditFull, TreeFollower, TreeStore
from dexruntime.audit.store import COMMIT_NAME, LEAVES_NAME, NODES_NAME
from dexruntime.journal import JournalMismatch, Record, SequenceRemoved
from dexruntime.journal.segment import list_segments
from tests.reference import merkle_rfc6962 as rfc
from tests.sim.disk import SimulatedCrash, SimulatedDisk
from tests.unit.audit.trees import leaf_of, seed_of
from tests.unit.journal.journals import IDENTITY, write_journal

BLOCKS = (3, 1, 7, 20, 2, 9, 40, 5)
SEEDS = 40


def journal_of(chance: random.Random) -> tuple[SimulatedDisk, list[Record], list[int]]:
    """A journal, its records, and after which of them a block ends."""
    disk, records, _ = write_journal(chance, BLOCKS, segment_bytes=16 << 10, bytes_max=90)
    ends = [sum(BLOCKS[: count + 1]) for count in range(len(BLOCKS))]
    return disk, records, ends


def check_tree(store: TreeStore, records: list[Record]) -> None:
    """The tree is that of the first records, proofs and leaves included."""
    size = store.committed.size
    leaves = [leaf_of(record) for record in records[:size]]
    assert store.committed.root == merkle.root(store, size) == rfc.mth(leaves)
    for index in range(size):
        assert store.leaf(index) == leaves[index]
    for index in range(size % 7, size, 7):
        assert merkle.inclusion_path(store, index, size) == rfc.path(index, leaves)


def follow(journal: SimulatedDisk, disk: SimulatedDisk, ends: list[int]) -> TreeStore:
    """What a node does from its start on: check, then catch up batch by batch."""
    store = TreeStore(disk, IDENTITY)
    follower = TreeFollower(journal, store)
    for end in ends:
        assert follower.follow(end)
        assert follower.applied_sequence == max(end, store.committed.size)
    return store


def test_the_tree_is_the_journals() -> None:
    journal, records, ends = journal_of(random.Random(seed_of("the_tree_is")))
    store = follow(journal, SimulatedDisk(random.Random(1)), ends)
    assert store.committed.size == len(records)
    check_tree(store, records)


def test_a_crash_at_every_step_leaves_a_tree_of_some_batch() -> None:
    seed = seed_of("crash_at_every_step")
    journal, records, ends = journal_of(random.Random(seed))
    whole = SimulatedDisk(random.Random(seed))
    follow(journal, whole, ends)
    crashes = 0
    for step in range(1, whole.steps + 1):
        chance = random.Random(seed + step)
        disk = SimulatedDisk(chance, crash_at=step)
        with pytest.raises(SimulatedCrash):
            follow(journal, disk, ends)
        crashes += 1
        disk.restart()
        found = TreeStore(disk, IDENTITY)
        assert found.committed.size in {0, *ends}
        check_tree(found, records)
        check_tree(follow(journal, disk, ends), records)
    assert crashes > 4 * len(BLOCKS)


def test_what_was_committed_outlives_a_crash() -> None:
    journal, records, ends = journal_of(random.Random(seed_of("outlives")))
    for number in range(SEEDS):
        disk = SimulatedDisk(random.Random(number))
        store = follow(journal, disk, ends[:5])
        # Appended and written, but never committed.
        for record in records[ends[4] : ends[4] + 10]:
            store.append(record)
        store.flush(0)
        disk.crash()
        disk.restart()
        found = TreeStore(disk, IDENTITY)
        assert found.committed.size == ends[4]
        check_tree(found, records)


def test_a_torn_tail_is_not_believed() -> None:
    """Rows that did not reach the disk, under a commit that did: the commit before counts."""
    journal, records, ends = journal_of(random.Random(seed_of("torn_tail")))
    for name in (NODES_NAME, LEAVES_NAME):
        disk = SimulatedDisk(random.Random(3))
        follow(journal, disk, ends)
        file = disk.open(name, "write")
        size = file.size()
        last = size % 512 or 512
        file.write(size - last, bytes(last))
        found = TreeStore(disk, IDENTITY)
        assert found.committed.size in {0, *ends[:-1]}
        check_tree(found, records)
        check_tree(follow(journal, disk, ends), records)


def test_a_flipped_bit_in_a_commit_is_found() -> None:
    journal, records, ends = journal_of(random.Random(seed_of("flipped_bit")))
    disk = SimulatedDisk(random.Random(3))
    follow(journal, disk, ends)
    sound = disk.contents(COMMIT_NAME)
    leaves = [leaf_of(record) for record in records]
    roots = {size: rfc.mth(leaves[:size]) for size in ends[-2:]}
    for at in range(0, len(sound), 7):
        changed = bytearray(sound)
        changed[at] ^= 1 << at % 8
        disk.put(COMMIT_NAME, bytes(changed))
        found = TreeStore(disk, IDENTITY)
        size = found.committed.size
        assert size in {ends[-2], ends[-1]}
        assert found.committed.root == roots[size]


def test_the_tree_of_another_journal_begins_anew() -> None:
    chance = random.Random(seed_of("another_journal"))
    journal, _, ends = journal_of(chance)
    other, others, _ = journal_of(chance)
    disk = SimulatedDisk(chance)
    follow(journal, disk, ends)
    store = TreeStore(disk, IDENTITY)
    assert store.committed.size == ends[-1]
    TreeFollower(other, store)
    assert store.committed.size == 0
    check_tree(follow(other, disk, ends), others)
    with pytest.raises(JournalMismatch):
        TreeStore(disk, IDENTITY._replace(network_id="another"))


def test_a_full_disk_loses_nothing_and_goes_on_with_room() -> None:
    journal, records, ends = journal_of(random.Random(seed_of("full_disk")))
    disk = SimulatedDisk(random.Random(3))
    store = TreeStore(disk, IDENTITY)
    follower = TreeFollower(journal, store)
    for end in ends:
        disk.fail_once("write", errno.ENOSPC)
        with pytest.raises(AuditFull):
            follower.follow(end)
        assert follower.applied_sequence < end
        assert follower.follow(end)
    check_tree(store, records)


@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_failed_sync_is_never_a_commit(which: int) -> None:
    journal, _, ends = journal_of(random.Random(seed_of("failed_sync")))
    disk = SimulatedDisk(random.Random(3))
    store = follow(journal, disk, ends[:2])
    follower = TreeFollower(journal, store)
    before = store.committed
    failing = [store._nodes, store._leaves, store._commits][which - 1]

    def fail() -> None:
        raise OSError(errno.EIO, "injected")

    failing.datasync = fail  # type: ignore[method-assign]
    with pytest.raises(AuditFailed):
        follower.follow(ends[3])
    assert store.committed == before


def test_an_envelope_is_found_by_its_digest_and_time() -> None:
    journal, records, ends = journal_of(random.Random(seed_of("by_its_digest")))
    store = follow(journal, SimulatedDisk(random.Random(3)), ends)
    size = len(records)
    for index, record in enumerate(records):
        digest = sha256(record.envelope).digest()
        near = record.time_ns - 1, record.time_ns + 1
        # Short ones come twice.
        if record.envelope and [each.envelope for each in records].count(record.envelope) == 1:
            assert store.find_envelope(digest, size, *near) == index
            assert store.find_envelope(digest, index, *near) is None
            assert store.find_envelope(digest, size, record.time_ns + 1, 1 << 62) is None
        if record.command not in [each.envelope for each in records]:
            command_digest = sha256(record.command).digest()
            assert store.find_envelope(command_digest, size, 0, 1 << 62) is None


def test_retention_waits_for_the_tree_and_the_tree_lives_without_the_beginning() -> None:
    chance = random.Random(seed_of("retention"))
    journal, records, _ = write_journal(chance, [30] * 12, segment_bytes=8 << 10, bytes_max=90)
    disk = SimulatedDisk(chance)
    follower = TreeFollower(journal, TreeStore(disk, IDENTITY))
    assert (follower.name, follower.applied_sequence) == ("audit", 0)
    assert follower.follow(180)
    assert follower.applied_sequence == 180
    starts = [segment.first_sequence for segment in list_segments(journal)]
    needed = max(start for start in starts if start <= 181)
    for segment in list_segments(journal):
        if segment.first_sequence < needed:
            journal.remove(segment.name)
    assert len(list_segments(journal)) < len(starts)
    check_tree(follow(journal, disk, [360]), records)
    # Without the tree there is no beginning to build it from.
    with pytest.raises(SequenceRemoved):
        follow(journal, SimulatedDisk(chance), [360])
