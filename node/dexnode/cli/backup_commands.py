"""``dex journal backup``, ``restore`` and ``repair``: what an operator does about a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dexnode.audit.backup import copy_audit
from dexnode.cli.common import json_option, print_json
from dexnode.secret import NODE_SECRET_FILE
from dexruntime.backup import AUDIT_FOLDER, BackupError, back_up
from dexruntime.journal import JournalError
from dexruntime.journal.segment import list_segments
from dexruntime.repair import CannotRepair, apply, plan
from dexruntime.restore import EPOCH_MAX, restore
from dexruntime.storage import PosixStorage, StorageInUse

EXISTING = click.Path(exists=True, file_okay=False, path_type=Path)
NEW = click.Path(file_okay=False, path_type=Path)
# What a node has beside its journal and cannot make anew without its clients noticing.
NODE_FILES = (NODE_SECRET_FILE,)


@contextmanager
def _in_a_line() -> Iterator[None]:
    try:
        yield
    except (BackupError, CannotRepair, JournalError, StorageInUse) as error:
        raise click.ClickException(str(error)) from error


@click.command("backup")
@click.argument("folder", type=EXISTING)
@click.argument("destination", type=NEW)
@click.option(
    "--without-secret",
    is_flag=True,
    help="Leave node.secret out: the key of the audit heads, page tokens and tickets then end "
    "with a restore.",
)
@json_option
def backup_command(folder: Path, destination: Path, without_secret: bool, as_json: bool) -> None:
    """Copy a node's journal, newest snapshot, audit log and secret to DESTINATION.

    A node may be running on FOLDER, its <data_dir>/journal. The copy ends at a
    record that no crash can lose any more, and is read and replayed at the end.
    With an earlier backup of the same node in DESTINATION only new segments are
    copied. The backup holds a secret: keep it as you keep the node's disk.

    \b
    Examples:
      dex journal backup data/journal backups/tuesday
    """
    files = [] if without_secret else [folder.parent / name for name in NODE_FILES]
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with _in_a_line(), Progress(*columns, transient=True, disable=as_json) as progress:
        task = progress.add_task("reading")
        manifest = back_up(
            PosixStorage(folder, read_only=True),
            destination,
            [path for path in files if path.exists()],
            lambda name: progress.update(task, description=f"copying {name}"),
            copy_audit=partial(copy_audit, folder.parent / AUDIT_FOLDER),
        )
    if manifest.audit_records < manifest.first_sequence - 1:
        click.echo(
            f"warning: the journal begins at {manifest.first_sequence} and there is no audit tree "
            "of what was before: a node restored from this backup signs no heads",
            err=True,
        )
    if as_json:
        print_json(manifest.facts())
    else:
        click.echo(
            f"backup up to sequence {manifest.sequence}, event hash {manifest.event_hash}, "
            f"checked by replay"
        )


@click.command("restore")
@click.argument("backup", type=EXISTING)
@click.argument("folder", type=NEW)
@click.option(
    "--epoch",
    type=click.IntRange(2, EPOCH_MAX),
    help="Epoch to begin: above that of every node that ran on this history ('dex node status').  "
    "[default: one more than the backup knows of]",
)
@json_option
def restore_command(backup: Path, folder: Path, epoch: int | None, as_json: bool) -> None:
    """Make FOLDER, a new <data_dir>/journal, from a backup, and begin a new epoch.

    What was acknowledged after the backup is not there. Ids and numbers of that
    part are not used again, and a client that resumes in it is told
    SEQUENCE_GONE. Stop the old node first: two nodes would be two exchanges.

    \b
    Examples:
      dex journal restore backups/tuesday restored/journal
      dex node run --data-dir restored
    """
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with _in_a_line(), Progress(*columns, transient=True, disable=as_json) as progress:
        task = progress.add_task("reading")

        def tell(what: str, done_bytes: int, total_bytes: int) -> None:
            progress.update(task, description=what, completed=done_bytes, total=total_bytes)

        restored = restore(backup, folder, epoch=epoch, progress=tell)
    if as_json:
        print_json(restored._asdict())
    else:
        click.echo(
            f"restored up to sequence {restored.sequence}, event hash {restored.event_hash}; "
            f"epoch {restored.epoch} begins"
        )


@contextmanager
def _held(storage: PosixStorage, *, dry_run: bool) -> Iterator[None]:
    """Hold the folder meanwhile; what changes nothing may also look at one that a node holds."""
    try:
        lock = storage.lock()
    except StorageInUse as error:
        if not dry_run:
            raise
        click.echo(f"note: {error}: what is said of it here may be over already", err=True)
        yield
        return
    try:
        yield
    finally:
        lock.close()


@click.command("repair")
@click.argument("folder", type=EXISTING)
@click.option("--dry-run", is_flag=True, help="Say what would be done and why; change nothing.")
@json_option
def repair_command(folder: Path, dry_run: bool, as_json: bool) -> None:
    """Put right what loses nothing: torn tails, left-overs, damaged snapshots.

    A tail that an interrupted write left is zeroed, files that were never
    published are removed, damaged snapshots are set aside. Damage in what was
    durable is refused with what is lost and the ways out. A folder that a
    running node holds is refused too; a dry run only says that what it sees
    there may move. Ends with 1 when something cannot be repaired.
    """
    with _in_a_line():
        storage = PosixStorage(folder, read_only=True)
        if not list_segments(storage):
            raise click.ClickException(f"no journal here: {folder}")
        with _held(storage, dry_run=dry_run):
            steps = plan(storage)
            if not dry_run:
                apply(storage, steps)
    if as_json:
        print_json({"dry_run": dry_run, "steps": [step._asdict() for step in steps]})
        return
    for step in steps:
        click.echo(f"{'would ' if dry_run else ''}{step}")
    if not steps:
        click.echo("nothing to repair")
    sys.stdout.flush()
