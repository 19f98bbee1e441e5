"""``dex journal``: check, read and replay a journal on disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dexcore.checkpoint import encode_state, state_hash
from dexcore.commands import OrderCommand
from dexcore.items import ITEM, TERMS
from dexcore.session_commands import SessionOrders
from dexnode.cli.backup_commands import backup_command, repair_command, restore_command
from dexnode.cli.common import json_option, print_json, printable
from dexruntime.journal import Identity, JournalError, JournalReader, verify
from dexruntime.journal.segment import list_segments
from dexruntime.records import command_of
from dexruntime.recovery import recover, recover_to
from dexruntime.storage import PosixStorage

FOLDER = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group()
def journal() -> None:
    """Look into the journal of a node, save it, mend it: FOLDER is <data_dir>/journal.

    All but repair only read FOLDER; a node may be running on it.
    """


journal.add_command(backup_command)
journal.add_command(restore_command)
journal.add_command(repair_command)


@contextmanager
def _readable() -> Iterator[None]:
    """What cannot be read is said in a line."""
    try:
        yield
    except JournalError as error:
        raise click.ClickException(str(error)) from error


def _journal(folder: Path) -> PosixStorage:
    storage = PosixStorage(folder, read_only=True)
    if not list_segments(storage):
        raise click.ClickException(f"no journal here: {folder}")
    return storage


@journal.command("verify")
@FOLDER
@json_option
def verify_journal(folder: Path, as_json: bool) -> None:
    """Check every checksum and the hash chain. Ends with 1 on damage."""
    with _readable():
        report = verify(_journal(folder))
    facts = {
        "segments": report.segments,
        "first_sequence": report.first_sequence,
        "last_sequence": report.last_sequence,
        "records": report.records,
        "chain": report.chain.hex(),
        "torn": None if report.torn is None else str(report.torn),
        "damage": None if report.damage is None else str(report.damage),
    }
    if as_json:
        print_json(facts)
    else:
        for name, value in facts.items():
            click.echo(f"{name:15} {'none' if value is None else value}")
    if report.damage is not None:
        sys.exit(1)


@journal.command()
@FOLDER
@click.option("--from", "from_sequence", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--limit", type=click.IntRange(min=0), default=0, help="At most this many records; 0: all."
)
@json_option
def dump(folder: Path, from_sequence: int, limit: int, as_json: bool) -> None:
    """Print the commands, one a line, oldest first."""
    reader = JournalReader(_journal(folder), from_sequence)
    try:
        for count, record in enumerate(reader):
            if limit and count >= limit:
                break
            command = command_of(record)
            name, values = type(command).__name__, command._asdict()
            if isinstance(command, SessionOrders):
                command = command.orders
                values |= values.pop("orders")._asdict()
            fields = {
                each: value.hex() if isinstance(value, bytes) else value
                for each, value in values.items()
            }
            if isinstance(command, OrderCommand):
                fields["items"] = list(ITEM.iter_unpack(command.items))
                fields["terms"] = list(TERMS.iter_unpack(command.terms))
            row = {
                "sequence": record.sequence,
                "time_ns": record.time_ns,
                "command": name,
                **fields,
            }
            if as_json:
                print_json(row)
            else:
                click.echo(" ".join(f"{each}={printable(value)}" for each, value in row.items()))
    except JournalError as error:
        raise click.ClickException(str(error)) from error
    finally:
        reader.close()


@journal.command()
@FOLDER
@click.option("--network-id", default="triodex-demo", show_default=True)
@click.option("--shard", type=click.IntRange(0, 255), default=0, show_default=True)
@click.option("--use-snapshot", is_flag=True, help="Start at the newest snapshot.")
@click.option(
    "--to-sequence", type=click.IntRange(min=1), help="Stop after this record.  [default: the last]"
)
@json_option
def replay(
    folder: Path,
    network_id: str,
    shard: int,
    use_snapshot: bool,
    to_sequence: int | None,
    as_json: bool,
) -> None:
    """Apply every command again and print the hashes; a live node shows the same.

    Compare event_hash with `dex node status` of a node: give its applied_sequence
    as --to-sequence, for a live node moves on.
    """
    if use_snapshot and to_sequence is not None:
        raise click.UsageError("--to-sequence starts at the first record: leave out --use-snapshot")
    storage = _journal(folder)
    identity = Identity(network_id, shard, 1)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with _readable(), Progress(*columns, transient=True, disable=as_json) as progress:
        task = progress.add_task("replaying")

        def tell(sequence: int) -> None:
            progress.update(task, description=f"replayed to {sequence}")

        if to_sequence is None:
            recovered = recover(storage, identity, use_snapshot=use_snapshot, progress=tell)
            exchange, snapshot_sequence = recovered.exchange, recovered.snapshot_sequence
        else:
            exchange, snapshot_sequence = recover_to(storage, identity, to_sequence, tell), 0
    facts = {
        "sequence": exchange.sequence,
        "event_hash": exchange.event_hash.hex(),
        "state_hash": state_hash(encode_state(exchange)),
        "replayed": exchange.sequence - snapshot_sequence,
        "snapshot_sequence": snapshot_sequence,
    }
    if as_json:
        print_json(facts)
    else:
        for name, value in facts.items():
            click.echo(f"{name:18} {value}")
