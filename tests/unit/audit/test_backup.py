"""A backup has the tree its journal cannot make again, and no head its node would break."""

from __future__ import annotations

import random
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from dexcore import merkle
from dexcore.commands import ClockTick
from dexnode.audit.backup import copy_audit
from dexnode.audit.heads import HEADS_NAME, stored_heads
from dexnode.audit.log import AuditLog
from dexruntime.audit import AuditContradicted, TreeStore
from dexruntime.audit.store import COMMIT_NAME, LEAVES_NAME, NODES_NAME
from dexruntime.backup import AUDIT_FOLDER, BackupError, Manifest, back_up
from dexruntime.journal import read_journal
from dexruntime.journal.segment import list_segments
from dexruntime.restore import restore
from dexruntime.shard import Shard
from dexruntime.snapshotter import take_snapshot
from dexruntime.storage import PosixStorage
from dexsdk import Head
from dexsdk.audit import check_continues, read_head
from tests.reference import merkle_rfc6962 as rfc
from tests.unit.audit.trees import KEY, leaf_of
from tests.unit.runtime.shards import IDENTITY, do, running

SEGMENT_BYTES = 8 << 10
TICKS = 40


class Made(NamedTuple):
    """A node's folder, the leaves of all its records, and its heads, oldest first."""

    folder: Path
    leaves: list[bytes]
    heads: list[Head]

    @property
    def journal(self) -> PosixStorage:
        return PosixStorage(self.folder / "journal")


def open_audit(shard: Shard, folder: Path) -> AuditLog:
    """The audit log of a shard on a folder."""
    journal, audit = PosixStorage(folder / "journal"), PosixStorage(folder / "audit")
    log = AuditLog(journal, audit, shard.identity, KEY, lambda: shard.sequencer.durable_point)
    log.check()
    return log


async def make_heads(shard: Shard, audit: AuditLog, count: int) -> list[Head]:
    """Records, and a head after each lot of them."""
    heads = []
    for _ in range(count):
        for _ in range(TICKS):
            await do(shard, ClockTick())
        await audit.make_head()
        assert audit.newest is not None
        heads.append(read_head(audit.newest.message(), KEY.public_bytes))
    return heads


async def make_node(folder: Path, *, trimmed: bool = True) -> Made:
    """A node that made heads; without its first segments, when it is trimmed."""
    journal = PosixStorage(folder / "journal")
    async with running(journal, segment_bytes=SEGMENT_BYTES) as shard:
        audit = open_audit(shard, folder)
        heads = await make_heads(shard, audit, 6)
        audit.close()
    take_snapshot(journal, IDENTITY)
    leaves = [leaf_of(record) for record in read_journal(journal)]
    segments = list_segments(journal)
    assert len(segments) > 3
    for segment in segments[:2] if trimmed else ():
        journal.remove(segment.name)
    return Made(folder, leaves, heads)


def back_up_node(folder: Path, backup: Path) -> Manifest:
    """What `dex journal backup` does."""
    return back_up(
        PosixStorage(folder / "journal", read_only=True),
        backup,
        [],
        copy_audit=partial(copy_audit, folder / "audit"),
    )


async def test_a_trimmed_journal_is_restored_with_its_tree_and_new_heads_continue_the_old(
    tmp_path: Path,
) -> None:
    made = await make_node(tmp_path / "node")
    manifest = back_up_node(made.folder, tmp_path / "backup")
    assert manifest.first_sequence > 1
    assert manifest.audit_records == manifest.sequence == len(made.leaves)
    restore(tmp_path / "backup", tmp_path / "new" / "journal")
    store = TreeStore(PosixStorage(tmp_path / "new" / "audit"), IDENTITY)
    assert store.size == manifest.sequence, "the tree is not in the backup"
    assert store.committed.root == rfc.mth(made.leaves)
    store.close()
    new = PosixStorage(tmp_path / "new" / "journal")
    async with running(new, segment_bytes=SEGMENT_BYTES) as shard:
        audit = open_audit(shard, tmp_path / "new")
        [newest] = await make_heads(shard, audit, 1)
        # BeginEpoch and the ticks.
        assert newest.tree_size == manifest.sequence + 1 + TICKS
        for head in made.heads:
            path = merkle.consistency_path(audit.store, head.tree_size, newest.tree_size)
            check_continues(head, newest, path)
        audit.close()
    later = [leaf_of(record) for record in read_journal(new, manifest.sequence + 1)]
    assert newest.root_hash == rfc.mth([*made.leaves, *later[: 1 + TICKS]])


async def test_heads_of_what_is_not_in_the_backup_stay_behind(tmp_path: Path) -> None:
    """The tree and the heads of a running node are ahead of the journal that was copied."""
    made = await make_node(tmp_path / "node", trimmed=False)
    early = made.heads[2].tree_size
    backup = tmp_path / "backup"
    older = tmp_path / "older"
    shutil.copytree(made.folder / "journal", older)
    cut_after(PosixStorage(older), early)
    # As if more was journaled and signed between the copy of the journal and that of the tree.
    of_now = partial(copy_audit, made.folder / "audit")
    manifest = back_up(PosixStorage(older), backup, [], copy_audit=of_now)
    assert early <= manifest.sequence < made.heads[-1].tree_size
    kept = [head.tree_size for head in stored_heads(PosixStorage(backup / AUDIT_FOLDER))]
    assert kept == [h.tree_size for h in made.heads if h.tree_size <= manifest.sequence] != []
    assert manifest.audit_records == manifest.sequence
    restore(backup, tmp_path / "new" / "journal")
    async with running(PosixStorage(tmp_path / "new" / "journal")) as shard:
        open_audit(shard, tmp_path / "new").close()
        # Beside the old heads the restored journal is refused: it is another history from there.
        shutil.rmtree(tmp_path / "new" / "audit")
        shutil.copytree(made.folder / "audit", tmp_path / "new" / "audit")
        with pytest.raises(AuditContradicted, match="durable records are missing"):
            open_audit(shard, tmp_path / "new")


def cut_after(journal: PosixStorage, sequence: int) -> None:
    """Leave whole segments alone, up to the one that has this record; and no snapshot."""
    for path in journal.directory.iterdir():
        if path.suffix != ".dxj":
            path.unlink()
    for segment in list_segments(journal):
        if segment.first_sequence > sequence:
            journal.remove(segment.name)


@pytest.mark.parametrize("name", [NODES_NAME, LEAVES_NAME, COMMIT_NAME])
async def test_a_damaged_tree_is_left_out_or_refused_where_it_is_needed(
    tmp_path: Path, name: str
) -> None:
    for trimmed in (False, True):
        made = await make_node(tmp_path / str(trimmed), trimmed=trimmed)
        path = made.folder / "audit" / name
        data = bytearray(path.read_bytes())
        places = [0, 512] if name == COMMIT_NAME else [random.Random(name).randrange(len(data))]
        for place in places:
            data[place + 100 if name == COMMIT_NAME else place] ^= 1
        path.write_bytes(data)
        if trimmed:
            with pytest.raises(BackupError, match="nothing else has its beginning"):
                back_up_node(made.folder, tmp_path / "backup_trimmed")
            continue
        manifest = back_up_node(made.folder, tmp_path / "backup")
        assert manifest.audit_records == 0
        restore(tmp_path / "backup", tmp_path / "new" / "journal")
        assert [path.name for path in (tmp_path / "new" / "audit").iterdir()] == [HEADS_NAME]
        async with running(PosixStorage(tmp_path / "new" / "journal")) as shard:
            audit = open_audit(shard, tmp_path / "new")
            assert audit.store.committed.size >= made.heads[-1].tree_size
            audit.close()


async def test_a_backup_that_is_gone_on_with_keeps_the_tree(tmp_path: Path) -> None:
    made = await make_node(tmp_path / "node")
    backup = tmp_path / "backup"
    first = back_up_node(made.folder, backup)
    async with running(made.journal, segment_bytes=SEGMENT_BYTES) as shard:
        audit = open_audit(shard, made.folder)
        heads = await make_heads(shard, audit, 1)
        audit.close()
    second = back_up_node(made.folder, backup)
    assert second.audit_records == heads[-1].tree_size > first.audit_records
    # And when the node has none any more, what is there stays.
    shutil.rmtree(made.folder / "audit")
    assert back_up_node(made.folder, backup).audit_records == second.audit_records
    restore(backup, tmp_path / "new" / "journal")
    async with running(PosixStorage(tmp_path / "new" / "journal")) as shard:
        open_audit(shard, tmp_path / "new").close()


async def test_a_restore_takes_no_tree_of_another(tmp_path: Path) -> None:
    made = await make_node(tmp_path / "node")
    back_up_node(made.folder, tmp_path / "backup")
    (tmp_path / "new" / "audit").mkdir(parents=True)
    (tmp_path / "new" / "audit" / HEADS_NAME).write_bytes(bytes(512))
    with pytest.raises(BackupError, match="holds another tree"):
        restore(tmp_path / "backup", tmp_path / "new" / "journal")
    # What an interrupted restore left is no obstacle.
    shutil.rmtree(tmp_path / "new" / "audit")
    shutil.copytree(tmp_path / "backup" / AUDIT_FOLDER, tmp_path / "new" / "audit")
    restore(tmp_path / "backup", tmp_path / "new" / "journal")
