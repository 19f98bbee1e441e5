"""Heads are signed over what is on disk, kept before they are shown, and never contradict."""

from __future__ import annotations

import errno
import random

import pytest
import trio

from dex.audit.v1 import audit_pb2 as pb
from dexcore.commands import ClockTick
from dexnode.audit.heads import HEADS_NAME, HeadFile, StoredHead
from dexnode.audit.log import AuditLog
from dexruntime.audit import AuditContradicted, AuditFailed
from dexruntime.audit.store import COMMIT_NAME, LEAVES_NAME, NODES_NAME
from dexruntime.journal import read_journal
from dexruntime.sequencer import DurablePoint
from dexruntime.shard import Shard
from dexsdk import Key, PeerError
from dexsdk.audit import check_continues, read_head
from tests.reference import merkle_rfc6962 as rfc
from tests.sim.disk import SimulatedDisk
from tests.unit.audit.trees import KEY, head_of, leaf_of, make_log, seed_of, sign
from tests.unit.journal.journals import IDENTITY, write_journal
from tests.unit.runtime.shards import GatedStorage, do, running, until


def audit_of(shard: Shard, journal: SimulatedDisk, disk: SimulatedDisk) -> AuditLog:
    """The audit log of a running shard."""
    return AuditLog(journal, disk, shard.identity, KEY, lambda: shard.sequencer.durable_point)


async def test_a_head_is_the_journals_root_and_the_exchanges_event_hash() -> None:
    journal, disk = SimulatedDisk(random.Random(1)), SimulatedDisk(random.Random(2))
    async with running(journal) as shard:
        audit = audit_of(shard, journal, disk)
        await audit.make_head()
        assert audit.tree_size == 0
        for count in (1, 3, 2):
            for _ in range(count):
                await do(shard, ClockTick())
            await audit.make_head()
            assert audit.newest is not None
            head = read_head(audit.newest.message(), KEY.public_bytes)
            leaves = [leaf_of(record) for record in read_journal(journal)]
            assert head.tree_size == len(leaves)
            assert head.root_hash == rfc.mth(leaves)
            assert head.event_hash == shard.exchange.event_hash
            assert head.time_ns == shard.exchange.time_ns
        # Nothing new: no head.
        await audit.make_head()
        assert audit.heads.count == 3
        assert [each.tree_size for each in audit.heads] == [1, 4, 6]


async def test_between_two_heads_records_are_taken_in_and_nothing_is_shown() -> None:
    journal, disk = SimulatedDisk(random.Random(1)), SimulatedDisk(random.Random(2))
    async with running(journal) as shard, trio.open_nursery() as nursery:
        audit = audit_of(shard, journal, disk)
        # No head in the time of this test, whose own ones are made of what lies ready.
        nursery.start_soon(audit.run, 60_000)
        for count in (3, 5):
            while shard.exchange.sequence < count:
                await do(shard, ClockTick())
            await until(lambda wanted=count: audit.store.size == wanted)  # type: ignore[misc]
            assert audit.tree_size == audit.store.committed.size < count
            await audit.make_head()
            assert audit.newest is not None
            leaves = [leaf_of(record) for record in read_journal(journal)]
            head = read_head(audit.newest.message(), KEY.public_bytes)
            assert (head.tree_size, head.root_hash) == (count, rfc.mth(leaves))
        nursery.cancel_scope.cancel()


async def test_no_head_covers_what_is_not_durable() -> None:
    storage, disk = GatedStorage(SimulatedDisk(random.Random(1))), SimulatedDisk(random.Random(2))
    async with running(storage) as shard:
        audit = audit_of(shard, storage, disk)  # type: ignore[arg-type]
        await do(shard, ClockTick())
        await audit.make_head()
        storage.gate.shut()
        promise = shard.sequencer.submit(ClockTick(), b"")
        # Applied and written, and its sync has not returned.
        await until(lambda: storage.gate.waiting > 0)
        assert shard.exchange.sequence == 2
        await audit.make_head()
        assert audit.tree_size == 1
        storage.gate.open()
        await promise.wait()
        await audit.make_head()
        assert audit.tree_size == 2


def test_a_head_of_a_tree_that_is_not_on_disk_is_refused() -> None:
    """The pair of the rule above: whoever asks, signing looks at the commit itself."""
    chance = random.Random(5)
    journal, records, _ = write_journal(chance, [4], segment_bytes=16 << 10)
    point = DurablePoint(4, records[-1].time_ns, bytes(32))
    audit = AuditLog(journal, SimulatedDisk(chance), IDENTITY, KEY, lambda: point)
    for record in records:
        audit.store.append(record)
    with pytest.raises(AuditFailed, match="durable up to 0"):
        audit._sign(point)


def test_the_same_size_is_signed_the_same() -> None:
    chance = random.Random(5)
    journal, records, _ = write_journal(chance, [4, 3], segment_bytes=16 << 10)
    point = DurablePoint(7, records[-1].time_ns, bytes(32))
    made = []
    for number in range(2):
        audit = AuditLog(
            journal, SimulatedDisk(random.Random(number)), IDENTITY, KEY, lambda: point
        )
        trio.run(audit.make_head)
        made.append(audit.newest)
    assert made[0] is not None
    assert made[0] == made[1]


def test_a_head_that_was_shown_outlives_a_crash() -> None:
    chance = random.Random(seed_of("was_shown"))
    journal, records, _ = write_journal(chance, [4, 3], segment_bytes=16 << 10)
    point = DurablePoint(7, records[-1].time_ns, bytes(32))
    for number in range(20):
        disk = SimulatedDisk(random.Random(number))
        audit = AuditLog(journal, disk, IDENTITY, KEY, lambda: point)
        trio.run(audit.make_head)
        disk.crash()
        disk.restart()
        assert HeadFile(disk).last == audit.newest


@pytest.mark.parametrize("name", [NODES_NAME, LEAVES_NAME, COMMIT_NAME, HEADS_NAME])
def test_a_failed_sync_is_told_with_its_file_and_shows_no_head(name: str) -> None:
    journal, records, _ = write_journal(random.Random(5), [4, 3], segment_bytes=16 << 10)
    points = [DurablePoint(n, records[n - 1].time_ns, bytes(32)) for n in (4, 7)]
    point = points[0]
    failures: list[BaseException] = []
    disk = SimulatedDisk(random.Random(3))
    audit = AuditLog(journal, disk, IDENTITY, KEY, lambda: point, on_failure=failures.append)
    trio.run(audit.make_head)
    shown = audit.newest
    point = points[1]

    def fail() -> None:
        raise OSError(errno.EIO, "injected")

    files = {
        NODES_NAME: audit.store._nodes,
        LEAVES_NAME: audit.store._leaves,
        COMMIT_NAME: audit.store._commits,
        HEADS_NAME: audit.heads._file,
    }
    files[name].datasync = fail  # type: ignore[method-assign]
    with pytest.raises(AuditFailed):
        trio.run(audit.make_head)
    assert [str(error) for error in failures] == [
        f"{name} could not be made durable: [Errno {errno.EIO}] injected"
    ]
    assert audit.newest == shown


def test_a_torn_head_was_never_shown_and_a_damaged_one_is_told() -> None:
    disk = SimulatedDisk(random.Random(seed_of("torn_head")))
    heads = HeadFile(disk)
    for size in (3, 9, 10):
        heads.append(StoredHead(size, bytes(100)))
    with pytest.raises(AuditFailed, match="after 10"):
        heads.append(StoredHead(10, bytes(100)))
    sound = disk.contents(HEADS_NAME)
    for cut in (1, 511):
        disk.put(HEADS_NAME, sound[:-cut])
        found = HeadFile(disk)
        assert [head.tree_size for head in found] == [3, 9]
        found.append(StoredHead(12, bytes(90)))
        assert [head.tree_size for head in HeadFile(disk)] == [3, 9, 12]
    disk.put(HEADS_NAME, sound[:512] + bytes(512) + bytes(512))
    with pytest.raises(AuditContradicted, match="damaged"):
        HeadFile(disk)


def test_heads_are_found_by_size() -> None:
    disk = SimulatedDisk(random.Random(1))
    heads = HeadFile(disk)
    sizes = sorted(random.Random(4).sample(range(1, 500), 60))
    for size in sizes:
        heads.append(StoredHead(size, b"%d" % size))
    for size in range(502):
        found = heads.find(size)
        assert (found is not None) == (size in sizes)
        assert found is None or found.signed == b"%d" % size
        assert heads.first_above(size, heads.count) == sum(each <= size for each in sizes)


@pytest.mark.parametrize("change", ["shorter", "other", "network"])
def test_a_last_head_that_the_journal_contradicts_stops_the_start(change: str) -> None:
    chance = random.Random(seed_of("contradicts"))
    journal, records, _ = write_journal(chance, [4, 3], segment_bytes=16 << 10)
    point = DurablePoint(7, records[-1].time_ns, bytes(32))
    disk = SimulatedDisk(chance)
    audit = AuditLog(journal, disk, IDENTITY, KEY, lambda: point)
    trio.run(audit.make_head)
    AuditLog(journal, disk, IDENTITY, KEY, lambda: point).check()
    if change == "shorter":
        point = point._replace(sequence=4)
        message = "durable records are missing"
    elif change == "other":
        journal, _, _ = write_journal(chance, [4, 3, 2], segment_bytes=16 << 10)
        message = "are not those whose head was signed"
    else:
        other = sign(pb.TreeHead(network_id="another", shard=IDENTITY.shard, tree_size=8))
        audit.heads.append(StoredHead(8, other.SerializeToString()))
        message = "another network"
    with pytest.raises(AuditContradicted, match=message):
        AuditLog(journal, disk, IDENTITY, KEY, lambda: point).check()


def test_a_tree_damaged_inside_is_built_again_before_it_is_believed() -> None:
    chance = random.Random(seed_of("damaged_inside"))
    journal, records, _ = write_journal(chance, [40, 30], segment_bytes=64 << 10)
    points = [DurablePoint(n, records[n - 1].time_ns, bytes(32)) for n in (40, 70)]
    point = points[0]
    disk = SimulatedDisk(chance)
    audit = AuditLog(journal, disk, IDENTITY, KEY, lambda: point)
    trio.run(audit.make_head)
    file = disk.open("audit-nodes.dxa", "write")
    file.write(62 * 32, bytes(32))
    again = AuditLog(journal, disk, IDENTITY, KEY, lambda: point)
    again.check()
    assert again.store.committed.size == 40


def test_a_forged_head_is_refused() -> None:
    log = make_log(random.Random(3), 9)
    head = head_of(log)
    forger = Key(bytes(32))
    forged = head_of([*log[:-1], log[-1]._replace(command=b"forged")], forger).signed
    with pytest.raises(PeerError, match="SIGNATURE_INVALID"):
        read_head(forged, head.public_key)
    # The forger's content under the node's name and signature.
    mixed = pb.SignedTreeHead(
        tree_head=forged.tree_head, signature=head.signed.signature, public_key=head.public_key
    )
    with pytest.raises(PeerError, match="SIGNATURE_INVALID"):
        read_head(mixed, head.public_key)
    with pytest.raises(PeerError, match="SIGNATURE_INVALID"):
        read_head(mixed)


def test_two_heads_of_one_size_are_told() -> None:
    log = make_log(random.Random(3), 9)
    other = [*log[:-1], log[-1]._replace(command=b"another history")]
    for second in (head_of(other), head_of(log, event_hash=bytes([1]) * 32)):
        with pytest.raises(PeerError, match="PROOF_INVALID"):
            check_continues(head_of(log), second, [])
    check_continues(head_of(log), head_of(log), [])
