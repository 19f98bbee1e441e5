"""A backup has nothing that a crash can take from the original, and a restore is a new epoch."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from dexruntime import restore as restore_module
from dexruntime.backup import (
    JOURNAL_FOLDER,
    MANIFEST_NAME,
    BackupError,
    back_up,
    read_manifest,
)
from dexruntime.journal import JournalDamaged, read_journal
from dexruntime.journal.segment import list_segments
from dexruntime.recovery import recover, recover_to
from dexruntime.restore import restore
from dexruntime.shard import Shard
from dexruntime.snapshot_file import list_snapshots, snapshot_name
from dexruntime.snapshotter import take_snapshot
from dexruntime.storage import PosixStorage
from tests.sim.disk import SimulatedDisk
from tests.unit.core.exchanges import Trader
from tests.unit.runtime.shards import (
    IDENTITY,
    GatedStorage,
    do,
    dying,
    fingerprint,
    open_market,
    random_orders,
    running,
    until,
)

SEGMENT_BYTES = 16 << 10


async def trade(shard: Shard, traders: list[Trader], count: int, seed: int = 1) -> None:
    stream = random_orders(random.Random(seed), traders[0])
    for _ in range(count):
        await do(shard, next(stream))


async def make_journal(storage: Any, count: int = 200) -> None:
    """A journal of a few segments, with a snapshot before its end."""
    async with running(storage, segment_bytes=SEGMENT_BYTES) as shard:
        traders = await open_market(shard)
        await trade(shard, traders, count)
    take_snapshot(storage, IDENTITY)
    async with running(storage, segment_bytes=SEGMENT_BYTES) as shard:
        await trade(shard, traders, 30, seed=2)


async def test_what_is_restored_is_what_was_and_then_another_epoch(tmp_path: Path) -> None:
    source = PosixStorage(tmp_path / "node" / "journal")
    await make_journal(source)
    secret = tmp_path / "node" / "node.secret"
    secret.write_bytes(bytes(range(32)))
    live = recover(source, IDENTITY)
    names: list[str] = []
    manifest = back_up(source, tmp_path / "backup", [secret], names.append)
    assert manifest.sequence == live.exchange.sequence
    assert manifest.event_hash == live.exchange.event_hash.hex()
    assert manifest.snapshot_sequence == list_snapshots(source)[-1]
    assert len([name for name in names if name.endswith(".dxj")]) == len(list_segments(source)) > 2
    done = restore(tmp_path / "backup", tmp_path / "new" / "journal")
    assert (done.sequence, done.event_hash) == (manifest.sequence, manifest.event_hash)
    assert done.epoch == IDENTITY.epoch + 1
    assert (tmp_path / "new" / "node.secret").read_bytes() == secret.read_bytes()
    assert (tmp_path / "new" / "node.secret").stat().st_mode & 0o777 == 0o600
    storage = PosixStorage(tmp_path / "new" / "journal")
    copied = list(read_journal(storage))
    assert copied[:-1] == list(read_journal(source))
    at = recover_to(storage, IDENTITY, manifest.sequence, lambda _: None)
    assert at.event_hash.hex() == manifest.event_hash
    async with running(storage, segment_bytes=SEGMENT_BYTES) as shard:
        assert shard.identity.epoch == done.epoch, "the node goes on in the old epoch"
        assert shard.exchange.epochs[-1][1] == done.epoch
        traders = [
            Trader(account.key, account.public_keys[0])
            for account in shard.exchange.accounts.by_key.values()
        ]
        await trade(shard, traders, 20, seed=3)
        again = fingerprint(shard)
    assert fingerprint(recover(storage, IDENTITY, use_snapshot=False)) == again


async def test_two_restores_of_one_backup_are_two_epochs(tmp_path: Path) -> None:
    source = PosixStorage(tmp_path / "journal")
    await make_journal(source)
    back_up(source, tmp_path / "backup", [])
    epochs = [restore(tmp_path / "backup", tmp_path / str(n) / "journal").epoch for n in range(2)]
    assert epochs == [8, 9], "a restore has the epoch of another"
    # Going on with the backup does not forget them.
    back_up(source, tmp_path / "backup", [])
    assert restore(tmp_path / "backup", tmp_path / "3" / "journal").epoch == 10
    with pytest.raises(BackupError, match="epoch 10 is not above 10"):
        restore(tmp_path / "backup", tmp_path / "4" / "journal", epoch=10)
    assert restore(tmp_path / "backup", tmp_path / "4" / "journal", epoch=40).epoch == 40


async def test_a_backup_has_nothing_that_a_crash_takes_from_the_original(tmp_path: Path) -> None:
    lost = 0
    for attempt in range(12):
        disk = SimulatedDisk(random.Random(attempt))
        gated = GatedStorage(disk)
        folder = tmp_path / str(attempt)
        with dying():
            async with running(
                gated, segment_bytes=1 << 16, on_failure=lambda _error: None
            ) as shard:
                traders = await open_market(shard)
                gated.gate.shut()
                stream = random_orders(random.Random(attempt), traders[0])
                for _ in range(5):
                    shard.sequencer.submit(next(stream))
                gate = gated.gate
                await until(lambda gate=gate: gate.waiting > 0)  # type: ignore[misc]
                manifest = back_up(disk, folder, [])
                disk.crash()
                gated.gate.open()
                disk.restart()
        kept = recover(disk, IDENTITY).exchange
        assert kept.sequence >= manifest.sequence, "the backup has what the original lost"
        lost += kept.sequence > manifest.sequence
    assert not lost


async def test_a_backup_is_gone_on_with(tmp_path: Path) -> None:
    source = PosixStorage(tmp_path / "journal")
    await make_journal(source)
    backup = tmp_path / "backup"
    first = back_up(source, backup, [])
    segments = list_segments(source)
    async with running(source, segment_bytes=SEGMENT_BYTES) as shard:
        traders = await open_market(shard)
        await trade(shard, traders, 150, seed=5)
    take_snapshot(source, IDENTITY)
    names: list[str] = []
    second = back_up(source, backup, [], names.append)
    assert second.sequence > first.sequence
    # The last segment of before was not full then; the ones before it are there already.
    assert segments[0].name not in names
    assert segments[-1].name in names
    done = restore(backup, tmp_path / "new" / "journal")
    assert done.event_hash == recover(source, IDENTITY).exchange.event_hash.hex()
    # An older history, another one, and a folder of something else are not gone on with.
    async with running(PosixStorage(tmp_path / "new" / "journal")) as shard:
        await open_market(shard)
    other = PosixStorage(tmp_path / "other")
    await make_journal(other, count=20)
    before = {path.name: path.read_bytes() for path in (backup / JOURNAL_FOLDER).iterdir()}
    with pytest.raises(BackupError, match="holds another history"):
        back_up(other, backup, [])
    assert {p.name: p.read_bytes() for p in (backup / JOURNAL_FOLDER).iterdir()} == before
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "photo").touch()
    with pytest.raises(BackupError, match="not empty and holds no backup"):
        back_up(source, tmp_path / "things", [])


async def test_an_interrupted_backup_leaves_the_one_before_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PosixStorage(tmp_path / "journal")
    await make_journal(source)
    backup = tmp_path / "backup"
    first = back_up(source, backup, [])
    async with running(source, segment_bytes=SEGMENT_BYTES) as shard:
        traders = await open_market(shard)
        await trade(shard, traders, 150, seed=5)
    take_snapshot(source, IDENTITY)
    copied: list[str] = []
    stop_after = 0

    class Interrupted(Exception):
        """In the place of a power cut."""

    def interrupt(name: str) -> None:
        copied.append(name)
        # The last segment and the snapshot are copied each time.
        if len(copied) > stop_after:
            raise Interrupted

    for attempt in range(4):
        stop_after = min(attempt, 1)
        copied.clear()
        with pytest.raises(Interrupted):
            back_up(source, backup, [], interrupt)
        assert read_manifest(backup).sequence == first.sequence
        done = restore(backup, tmp_path / str(attempt) / "journal")
        assert done.sequence >= first.sequence
    # And a restore that was interrupted leaves nothing that a node would start from.
    monkeypatch.setattr(restore_module, "_append", lambda *_: interrupt("epoch"))
    with pytest.raises(Interrupted):
        restore(backup, tmp_path / "half" / "journal")
    assert not (tmp_path / "half" / "journal").exists()
    monkeypatch.undo()
    restore(backup, tmp_path / "half" / "journal")


async def test_damage_is_refused_on_both_sides(tmp_path: Path) -> None:
    source = PosixStorage(tmp_path / "journal")
    await make_journal(source)
    backup = tmp_path / "backup"
    back_up(source, backup, [])
    name = list_segments(source)[1].name
    for folder in (source.directory, backup / JOURNAL_FOLDER):
        path = folder / name
        data = bytearray(path.read_bytes())
        data[2_000] ^= 1
        path.write_bytes(bytes(data))
    with pytest.raises(JournalDamaged):
        back_up(source, tmp_path / "another", [])
    assert not (tmp_path / "another").exists()
    # The snapshot would hide it, and a restore is no place to find out later.
    with pytest.raises(BackupError, match="the backup is not good"):
        restore(backup, tmp_path / "new" / "journal")
    assert not (tmp_path / "new" / "journal").exists()
    (backup / MANIFEST_NAME).unlink()
    with pytest.raises(BackupError, match=r"it has no backup\.json"):
        restore(backup, tmp_path / "new" / "journal")


async def test_a_restore_takes_no_folder_that_holds_something(tmp_path: Path) -> None:
    source = PosixStorage(tmp_path / "node" / "journal")
    await make_journal(source, count=20)
    secret = tmp_path / "node" / "node.secret"
    secret.write_bytes(bytes(32))
    back_up(source, tmp_path / "backup", [secret])
    with pytest.raises(BackupError, match="is not empty"):
        restore(tmp_path / "backup", source.directory)
    shutil.copytree(tmp_path / "node", tmp_path / "other")
    (tmp_path / "other" / "node.secret").write_bytes(bytes(31) + b"1")
    with pytest.raises(BackupError, match="another node's"):
        restore(tmp_path / "backup", tmp_path / "other" / "new")
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "backup", tmp_path / "empty")


async def test_with_retention_a_backup_keeps_what_the_journal_lost(tmp_path: Path) -> None:
    source = PosixStorage(tmp_path / "journal")
    await make_journal(source)
    backup = tmp_path / "backup"
    back_up(source, backup, [])
    (source.directory / list_segments(source)[0].name).unlink()
    async with running(source, segment_bytes=SEGMENT_BYTES) as shard:
        traders = await open_market(shard)
        await trade(shard, traders, 60, seed=9)
    second = back_up(source, backup, [])
    restore(backup, tmp_path / "new" / "journal")
    full = PosixStorage(tmp_path / "new" / "journal")
    assert recover_to(full, IDENTITY, second.sequence, lambda _: None).event_hash.hex() == (
        second.event_hash
    )
    # A backup of it alone begins with its snapshot.
    back_up(source, tmp_path / "late", [])
    (tmp_path / "late" / JOURNAL_FOLDER / snapshot_name(second.snapshot_sequence)).exists()
    restore(tmp_path / "late", tmp_path / "late_node" / "journal")


async def test_a_restore_says_beforehand_that_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PosixStorage(tmp_path / "journal")
    await make_journal(source)
    back_up(source, tmp_path / "backup", [])
    copied = sum(path.stat().st_size for path in (tmp_path / "backup" / "journal").iterdir())
    needed = copied + 2 * SEGMENT_BYTES
    usage = shutil.disk_usage(tmp_path)
    free = needed - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=free))
    with pytest.raises(BackupError, match=r"no room in .*: the restore takes 1 MiB, and 0 MiB are"):
        restore(tmp_path / "backup", tmp_path / "new" / "journal")
    assert not (tmp_path / "new").exists(), "it had begun to copy"
    free = needed
    told: list[tuple[int, int]] = []
    restore(
        tmp_path / "backup",
        tmp_path / "new" / "journal",
        progress=lambda _what, done, total: told.append((done, total)),
    )
    assert told == sorted(told)
    assert told[-1] == (copied, copied)
