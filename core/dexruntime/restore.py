"""Making a data directory from a backup: the same history up to its end, then a new epoch.

What happened after the backup is lost, and clients may have seen it. So the restored journal begins
an epoch of its own (``BeginEpoch``): ids, trades and feeds go on with numbers that the lost part
cannot have used. The new epoch is noted in the backup before anything is published, so that two
restores of one backup are two epochs. All is built beside the target and gets its name in one
rename: a restore that was interrupted leaves nothing that a node would start from.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, NamedTuple

from dexcore.commands import BeginEpoch, encode_command
from dexruntime.backup import (
    JOURNAL_FOLDER,
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


class Restored(NamedTuple):
    """What a restore made: the backup's last sequence, its event hash, and the epoch after it."""

    sequence: int
    event_hash: str
    epoch: int


def restore(backup: Path, folder: Path, *, epoch: int | None = None) -> Restored:
    """Make the journal folder of a node from a backup, and put the node's files beside it.

    Args:
        backup: Folder of the backup.
        folder: ``<data_dir>/journal``: absent or empty.
        epoch: The epoch to begin; one more than the backup knows of unless given.

    Raises:
        BackupError: the backup is not good, the folder is not empty, or the epoch is used up.
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
    building = folder.with_name(folder.name + _SUFFIX)
    if building.exists():
        shutil.rmtree(building)
    storage = PosixStorage(building)
    for path in sorted((backup / JOURNAL_FOLDER).iterdir()):
        if path.suffix in {".dxj", ".dxs"}:
            with path.open("rb") as file:
                publish_file(building / path.name, iter(lambda: file.read(_COPY_BYTES), b""))
    restored = _begin_epoch(storage, manifest, new_epoch)
    write_manifest(backup, manifest._replace(last_epoch=new_epoch))
    for name in manifest.files:
        copy_file(backup / name, folder.parent / name)
    building.rename(folder)
    sync_folder(folder.parent)
    return restored


def _refuse_other_files(backup: Path, data_dir: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        there = data_dir / name
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
