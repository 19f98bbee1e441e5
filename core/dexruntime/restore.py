"""Making a data directory from a backup: the same history up to its end, then a new epoch.

What happened after the backup is lost, and clients may have seen it. So the restored journal begins
an epoch of its own (``BeginEpoch``): ids, trades and feeds go on with numbers that the lost part
cannot have used. The audit tree and the heads signed up to the backup come with it, so that the
node is held to them. The new epoch is noted in the backup before anything is published, so that two
restores of one backup are two epochs. All is built beside the target and gets its name in one
rename: a restore that was interrupted leaves nothing that a node would start from.
"""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from dexcore.commands import BeginEpoch, encode_command
from dexruntime.backup import (
    AUDIT_FOLDER,
    JOURNAL_FOLDER,
    MANIFEST_NAME,
    BackupError,
    Manifest,
    durable_end,
    is_empty,
    read_manifest,
    write_manifest,
)
from dexruntime.files import copy_file, publish_file, sync_folder
from dexruntime.journal import Identity, JournalEnd, JournalError
from dexruntime.journal.appender import BlockAppender
from dexruntime.journal.format import encode_records
from dexruntime.journal.segment import SPARE_NAME
from dexruntime.recovery import recover
from dexruntime.storage import PosixStorage

EPOCH_MAX: Final = 0xFFFF
EPOCH_NUMBERS: Final = 1 << 36
"""How many numbers each feed and market has in an epoch."""
_SUFFIX: Final = ".restoring"
_COPY_BYTES: Final = 1 << 20
_MIB: Final = 1 << 20
_ON_DISK: Final = frozenset({".dxj", ".dxs", ".dxa"})

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how many bytes are copied of how many."""


class Restored(NamedTuple):
    """What a restore made: the backup's last sequence, its event hash, and the epoch after it."""

    sequence: int
    event_hash: str
    epoch: int


def restore(
    backup: Path,
    folder: Path,
    *,
    epoch: int | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Restored:
    """Make the journal folder of a node from a backup, and put the node's files beside it.

    Args:
        backup: Folder of the backup.
        folder: ``<data_dir>/journal``: absent or empty.
        epoch: The epoch to begin; one more than the backup knows of unless given.

    Raises:
        BackupError: the backup is not good, the folder is not empty, the disk has no room for it,
            or the epoch is used up.
        OSError: a disk failed; the folder is as it was.
    """
    manifest = read_manifest(backup)
    if not is_empty(folder):
        raise BackupError(f"{folder} is not empty: restore into a new folder, and keep the old one")
    new_epoch = manifest.last_epoch + 1 if epoch is None else epoch
    if not manifest.last_epoch < new_epoch <= EPOCH_MAX:
        raise BackupError(
            f"epoch {new_epoch} is not above {manifest.last_epoch}, which this backup or a restore "
            f"of it has, and at most {EPOCH_MAX}"
        )
    _refuse_other_files(backup, folder.parent, manifest)
    _refuse_other_tree(backup, folder.parent)
    copying = _Copying(backup, folder.parent, progress)
    copying.check_room()
    building = copying.copy(JOURNAL_FOLDER, folder)
    copying.say("replaying")
    restored = _begin_epoch(PosixStorage(building), manifest, new_epoch)
    write_manifest(backup, msgspec.structs.replace(manifest, last_epoch=new_epoch))
    for name in manifest.files:
        copy_file(backup / name, folder.parent / name)
    audit = folder.parent / AUDIT_FOLDER
    if (backup / AUDIT_FOLDER).is_dir() and is_empty(audit):
        copying.copy(AUDIT_FOLDER, audit).rename(audit)
    building.rename(folder)
    sync_folder(folder.parent)
    return restored


class _Copying:
    """The large files of a backup, how many bytes they have, and how many are copied."""

    def __init__(self, backup: Path, data_dir: Path, progress: Progress) -> None:
        self._backup = backup
        self._data_dir = data_dir
        self._progress = progress
        self._files = {name: _files_in(backup / name) for name in (JOURNAL_FOLDER, AUDIT_FOLDER)}
        sizes = {path: path.stat().st_size for paths in self._files.values() for path in paths}
        self._done_bytes = 0
        self._total_bytes = sum(sizes.values())
        # The new epoch begins a segment, and makes the one after it.
        segments = [size for path, size in sizes.items() if path.suffix == ".dxj"]
        self._needed_bytes = self._total_bytes + 2 * max(segments, default=0)

    def check_room(self) -> None:
        """Raises BackupError where the disk has too little room, before anything is written."""
        there = next(path for path in (self._data_dir, *self._data_dir.parents) if path.exists())
        free_bytes = shutil.disk_usage(there).free
        if free_bytes < self._needed_bytes:
            raise BackupError(
                f"no room in {self._data_dir}: the restore takes {-(-self._needed_bytes // _MIB)} "
                f"MiB, and {free_bytes // _MIB} MiB are free"
            )

    def say(self, what: str) -> None:
        """Show what is being done."""
        self._progress(what, self._done_bytes, self._total_bytes)

    def copy(self, name: str, folder: Path) -> Path:
        """Copy a folder of the backup beside where it will be; returns the copy."""
        building = folder.with_name(folder.name + _SUFFIX)
        if building.exists():
            shutil.rmtree(building)
        PosixStorage(building)
        for path in self._files[name]:
            publish_file(building / path.name, self._parts(path))
        return building

    def _parts(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            while part := file.read(_COPY_BYTES):
                yield part
                self._done_bytes += len(part)
                self.say(f"copying {path.name}")


def _files_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in _ON_DISK)


def _refuse_other_tree(backup: Path, data_dir: Path) -> None:
    """Only what an interrupted restore of this backup left there may be in the way."""
    there = data_dir / AUDIT_FOLDER
    if is_empty(there):
        return
    copied = [path.name for path in _files_in(backup / AUDIT_FOLDER)]
    same = sorted(path.name for path in there.iterdir()) == copied and all(
        filecmp.cmp(backup / AUDIT_FOLDER / name, there / name, shallow=False) for name in copied
    )
    if not same:
        raise BackupError(
            f"{there} holds another tree: restore into a data directory of its own, and keep this "
            "one, it says what had been signed"
        )


def _refuse_other_files(backup: Path, data_dir: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        there = data_dir / name
        if not (backup / name).is_file():
            raise BackupError(f"{backup} names {name} in {MANIFEST_NAME}, and does not have it")
        if there.exists() and there.read_bytes() != (backup / name).read_bytes():
            raise BackupError(
                f"{there} is another node's: restore into a data directory of its own"
            )


def _begin_epoch(storage: PosixStorage, manifest: Manifest, epoch: int) -> Restored:
    """Check what was copied and journal the new epoch behind it."""
    try:
        # All of it: a start from the snapshot would not look at what is before.
        durable_end(storage)
        recovered = recover(storage, manifest.identity)
    except JournalError as error:
        raise BackupError(f"the backup is not good: {error}") from error
    end, exchange = recovered.end, recovered.exchange
    event_hash = exchange.event_hash.hex()
    if end.header is None or end.sequence < manifest.sequence:
        raise BackupError(f"the backup ends at {end.sequence}, and had {manifest.sequence}")
    if end.sequence == manifest.sequence and event_hash != manifest.event_hash:
        raise BackupError("the backup replays to another event hash than it had")
    if epoch <= end.header.identity.epoch:
        raise BackupError(
            f"epoch {epoch} is not above {end.header.identity.epoch}, which the journal has"
        )
    command = BeginEpoch(end.header.identity.epoch, epoch, (epoch - 1) * EPOCH_NUMBERS)
    _append(storage, end, manifest.identity._replace(epoch=epoch), encode_command(command))
    after = recover(storage, manifest.identity)
    if after.exchange.epochs[-1][:2] != (end.sequence + 1, epoch):
        raise BackupError("the new epoch was refused by the exchange")
    return Restored(end.sequence, event_hash, epoch)


def _append(storage: PosixStorage, end: JournalEnd, identity: Identity, command: bytes) -> None:
    assert end.header is not None
    appender = BlockAppender(storage, end, identity, segment_bytes=end.header.segment_bytes)
    records = [(end.sequence + 1, end.time_ns + 1, command, b"")]
    encoded, sequence, time_ns, chain = encode_records(
        records, sequence=end.sequence, time_ns=end.time_ns, chain=end.chain
    )
    appender.append(
        b"".join(encoded), record_count=1, sequence=sequence, time_ns=time_ns, chain=chain
    )
    appender.close()
    if SPARE_NAME in storage.list_names():
        storage.remove(SPARE_NAME)
        storage.sync_directory()
