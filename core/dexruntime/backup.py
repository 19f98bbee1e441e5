"""A copy of a node's journal and newest snapshot that a restore can start from.

Theory of operation. A node may be writing while the copy is made. The journal is read to its end,
which checks all of it; then the segment read last is synced, since the node may not have waited for
that yet: from there on no crash of the node can lose what the backup has. Segments are copied up to
that end and no further, then the newest good snapshot, and last of all the manifest. Each file gets
its name only when it is whole and durable, and nothing that an earlier backup in the same folder
needs is taken away, so a backup that was interrupted leaves the one before it good. At the end the
copy itself is read and replayed.

Layout: ``backup.json`` (the manifest), ``journal/`` (segments and snapshots as in a data
directory), ``audit/`` (the audit tree and its signed heads), and the files the node needs beside
its journal. What is in ``audit/`` is copied by who knows it; here it is a folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from dexruntime.files import copy_file, publish_file
from dexruntime.journal import Identity, JournalEnd, JournalError, JournalMismatch, JournalReader
from dexruntime.journal.segment import list_segments
from dexruntime.recovery import recover
from dexruntime.snapshot_file import list_snapshots, newest_good_snapshot, snapshot_name
from dexruntime.storage import PosixStorage, Storage

MANIFEST_NAME: Final = "backup.json"
JOURNAL_FOLDER: Final = "journal"
AUDIT_FOLDER: Final = "audit"
MANIFEST_VERSION: Final = 1
_CHUNK_BYTES: Final = 1 << 20
_Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Sequence = Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]
_Short = Annotated[int, Meta(ge=0, le=0xFFFF)]
# What a node keeps beside its journal. Whoever made the backup may have written any name here, and
# a restore makes files of these names: no path, and nothing that configures a node.
_NodeFile = Annotated[str, Meta(pattern=r"\A[a-z][a-z_-]{0,63}\.secret\Z")]

Progress = Callable[[str], None]
"""Called with the name of each file that is copied."""
CopyAudit = Callable[[Path, Storage, JournalEnd], int]
"""Copies into a folder what is beside a journal that ends there; returns the tree's records."""


class BackupError(Exception):
    """There is no backup to be had, or the folder holds something else; the message says what."""


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. ``last_epoch`` is the newest that the journal or a restore of it has;
    ``audit_records`` is how many are in its audit tree, 0 without one."""

    version: int
    network_id: Annotated[str, Meta(min_length=1, max_length=64)]
    shard: _Short
    last_epoch: _Short
    sequence: _Sequence
    chain: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    event_hash: Annotated[str, Meta(pattern=r"\A(?:[0-9a-f]{2}){16,64}\Z")]
    first_sequence: _Sequence
    snapshot_sequence: _Count
    audit_records: _Count
    files: list[_NodeFile]

    @property
    def identity(self) -> Identity:
        """Whose journal it is."""
        return Identity(self.network_id, self.shard, self.last_epoch)

    def facts(self) -> dict[str, Any]:
        """Its fields by name, as they stand in the file."""
        return msgspec.structs.asdict(self)


class _Versioned(msgspec.Struct):
    """What the manifest of every version has."""

    version: Annotated[int, Meta(ge=1)]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup; raises BackupError, OSError.

    It may come from anywhere: a field that is not what this build would write is refused by name.
    """
    try:
        text = (folder / MANIFEST_NAME).read_bytes()
    except FileNotFoundError:
        raise BackupError(f"no backup in {folder}: it has no {MANIFEST_NAME}") from None
    try:
        version = msgspec.json.decode(text, type=_Versioned).version
        if version > MANIFEST_VERSION:
            raise BackupError(
                f"{folder} is of backup version {version}; this build reads up to "
                f"{MANIFEST_VERSION}: use the release that made it, or a newer one"
            )
        return msgspec.json.decode(text, type=Manifest)
    except (ValueError, RecursionError) as error:
        # The reason names the field, as in "Expected `int`, got `str` - at `$.sequence`".
        raise BackupError(f"{folder / MANIFEST_NAME} is not a manifest: {error}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Publish the manifest durably."""
    text = json.dumps(manifest.facts(), indent=1) + "\n"
    publish_file(folder / MANIFEST_NAME, [text.encode()])


def back_up(
    source: Storage,
    folder: Path,
    extras: Iterable[Path],
    progress: Progress = lambda _name: None,
    *,
    copy_audit: CopyAudit | None = None,
) -> Manifest:
    """Copy a journal, its newest snapshot, its audit folder and the extra files into ``folder``,
    and check the copy.

    ``folder`` is empty, absent, or an earlier backup of the same history, which is gone on with.

    Raises:
        JournalError: the journal is damaged or unreadable; the folder is as it was.
        BackupError: the folder holds something else, or the copy is not what was read.
        OSError: a disk failed; an earlier backup in the folder is still good.
    """
    before = _earlier(folder)
    snapshot = newest_good_snapshot(source)
    end, chain = durable_end(source, before.sequence if before is not None else 0)
    if end.header is None:
        raise BackupError("the journal has no record yet: there is nothing to back up")
    identity = end.header.identity
    if before is not None and (chain != before.chain or identity[:2] != before.identity[:2]):
        raise BackupError(
            f"{folder} holds another history, up to sequence {before.sequence} of network "
            f"{before.network_id!r} shard {before.shard}: back this one up into another folder"
        )
    journal = folder / JOURNAL_FOLDER
    journal.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = PosixStorage(journal)
    _copy_segments(source, target, end, progress)
    if snapshot is not None:
        name = snapshot_name(snapshot.sequence)
        progress(name)
        publish_file(journal / name, _bytes_of(source, name))
    names = []
    for path in extras:
        progress(path.name)
        copy_file(path, folder / path.name)
        names.append(path.name)
    manifest = _check(target, identity, end, sorted(names))
    if copy_audit is not None:
        progress(AUDIT_FOLDER)
        copied = copy_audit(folder / AUDIT_FOLDER, target, end)
        # What an earlier backup had is a beginning of the same tree.
        kept = before.audit_records if before is not None else 0
        manifest = msgspec.structs.replace(manifest, audit_records=max(copied, kept))
    if before is not None:
        newest = max(before.last_epoch, manifest.last_epoch)
        manifest = msgspec.structs.replace(manifest, last_epoch=newest)
    write_manifest(folder, manifest)
    for sequence in list_snapshots(target)[:-1]:
        target.remove(snapshot_name(sequence))
    return manifest


def _earlier(folder: Path) -> Manifest | None:
    """The manifest of the backup that is in the folder already; None if the folder is empty."""
    if is_empty(folder):
        return None
    if not (folder / MANIFEST_NAME).exists():
        raise BackupError(
            f"{folder} is not empty and holds no backup: take another folder, or remove what an "
            "interrupted first backup left there"
        )
    return read_manifest(folder)


def durable_end(source: Storage, at_sequence: int = 0) -> tuple[JournalEnd, str]:
    """Where the journal ends, with everything before it durable; and its chain at a sequence."""
    segments = list_segments(source)
    reader = JournalReader(source, segments[0].first_sequence if segments else 1)
    chain = ""
    try:
        for record in reader:
            if record.sequence == at_sequence:
                chain = reader.chain.hex()
        end = reader.end()
    finally:
        reader.close()
    if end.name:
        file = source.open(end.name)
        try:
            file.datasync()
        finally:
            file.close()
    return end, chain


def _copy_segments(
    source: Storage, target: PosixStorage, end: JournalEnd, progress: Progress
) -> None:
    there = {segment.name for segment in list_segments(target)}
    for segment in list_segments(source):
        if segment.name > end.name:
            break
        # One that is there may have been the last, not yet full, when it was copied.
        earlier = segment.name < end.name and segment.name in there
        if earlier and _is_same(source, target, segment.name):
            continue
        progress(segment.name)
        length = end.offset if segment.name == end.name else None
        publish_file(target.directory / segment.name, _bytes_of(source, segment.name, length))


def _bytes_of(storage: Storage, name: str, length: int | None = None) -> Iterator[bytes]:
    """The bytes of a file; zeros from ``length`` on, where nothing is durable."""
    file = storage.open(name)
    try:
        size = file.size()
        kept = size if length is None else length
        for offset in range(0, kept, _CHUNK_BYTES):
            yield file.read(offset, min(_CHUNK_BYTES, kept - offset))
        for offset in range(kept, size, _CHUNK_BYTES):
            yield bytes(min(_CHUNK_BYTES, size - offset))
    finally:
        file.close()


def _is_same(source: Storage, target: Storage, name: str) -> bool:
    pairs = zip(_bytes_of(source, name), _bytes_of(target, name), strict=False)
    return all(ours == theirs for ours, theirs in pairs)


def _check(target: PosixStorage, identity: Identity, end: JournalEnd, files: list[str]) -> Manifest:
    """Read and replay the copy, and say what it holds."""
    try:
        recovered = recover(target, identity)
        full, _ = durable_end(target)
    except JournalError as error:
        raise BackupError(f"the copy is not good: {error}") from error
    if (full.sequence, full.chain) != (end.sequence, end.chain):
        raise BackupError(
            f"the copy ends at sequence {full.sequence}, not at {end.sequence} as it was read"
        )
    if recovered.exchange.sequence != end.sequence:
        raise JournalMismatch("the copy does not replay to its end")
    return Manifest(
        MANIFEST_VERSION,
        identity.network_id,
        identity.shard,
        identity.epoch,
        end.sequence,
        end.chain.hex(),
        recovered.exchange.event_hash.hex(),
        list_segments(target)[0].first_sequence,
        recovered.snapshot_sequence,
        0,
        files,
    )


def is_empty(folder: Path) -> bool:
    """Whether there is nothing at this place, or an empty folder."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
