"""``dex audit``: signed heads, proofs, and checking both without the node."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from google.protobuf.message import DecodeError
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dex.audit.v1 import audit_pb2, operator_call_pb2
from dex.orders.v1 import order_intake_pb2
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexnode.audit import proof_file
from dexnode.cli.common import (
    Target,
    json_option,
    print_json,
    print_table,
    printable,
    target_options,
)
from dexsdk import DexError, SyncClient, parse_id

if TYPE_CHECKING:
    from dexnode.audit.sessions import SessionTrail
    from dexruntime.journal import Identity, Record

EXIT_MISMATCH = 1
Found = TypeVar("Found")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class PublicKeyParam(click.ParamType[bytes]):
    """An Ed25519 public key, 64 hex digits."""

    name = "hex"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        """The 32 bytes."""
        try:
            key = bytes.fromhex(str(value))
        except ValueError:
            key = b""
        if len(key) != 32:
            self.fail(f"{value!r} is not a public key of 64 hex digits", param, ctx)
        return key


HEAD_FILE = click.option(
    "--head", "head_file", type=FILE, help="A head you kept: dex audit head --output FILE."
)
PUBLIC_KEY = click.option(
    "--public-key",
    type=PublicKeyParam(),
    help="The node's audit key (dex node status); else the head's own is shown, not judged.",
)


@click.group()
def audit() -> None:
    """Check that nobody rewrote the journal: keep a head, ask for proofs, verify offline.

    \b
      dex audit head --output head.json            keep this where the node cannot change it
      dex audit head --since head.json             the new head continues it, proven
      dex audit verify data/journal --head head.json
      dex audit prove --sequence 42 --output proof.json
      dex audit check proof.json --head head.json
      dex audit envelopes data/journal             every command is what its client signed
      dex audit sessions data/journal              what clients of MAC sessions signed for
    """


@contextmanager
def _files_read() -> Iterator[None]:
    """A file that is not what it should be is said in a line."""
    try:
        yield
    except proof_file.FileProblem as error:
        raise click.ClickException(str(error)) from error


@audit.command()
@click.option("--tree-size", type=click.IntRange(min=1), help="The head of a smaller tree.")
@click.option("--since", type=FILE, help="A head you kept; the node must prove it goes on from it.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the head to this file.")
@PUBLIC_KEY
@target_options
def head(
    target: Target,
    tree_size: int | None,
    since: Path | None,
    output: Path | None,
    public_key: bytes | None,
) -> None:
    """The newest signed head. Keep it: it is all that verifying needs."""
    with _files_read():
        after = None if since is None else proof_file.read_head_file(since)
    with target.client(signed=False) as client:
        found = client.audit.get_tree_head(tree_size or 0, public_key=public_key, after=after)
    document = proof_file.head_document(found)
    if output is not None:
        output.write_text(json.dumps(document, indent=1) + "\n")
    if target.as_json:
        print_json(document)
        return
    for name in ("tree_size", "root_hash", "event_hash", "time_ns", "public_key"):
        click.echo(f"{name:11} {printable(document[name])}")
    if after is not None:
        click.echo(f"continues   the head of {after.tree_size} leaves")


@audit.command()
@click.option("--sequence", type=click.IntRange(min=1), help="Journal position, as answered.")
@click.option("--order", "order_id", help="An order's id; it names the position.")
@click.option("--envelope", "envelope_file", type=FILE, help="A serialized SignedEnvelope.")
@HEAD_FILE
@click.option("--output", type=click.Path(path_type=Path), help="Write the proof to this file.")
@target_options
def prove(
    target: Target,
    sequence: int | None,
    order_id: str | None,
    envelope_file: Path | None,
    head_file: Path | None,
    output: Path | None,
) -> None:
    """Prove that a record is in the log, for `dex audit check` on any machine.

    Of a record that your account signed the file holds the envelope too.
    """
    if sum(each is not None for each in (sequence, order_id, envelope_file)) != 1:
        raise click.UsageError("give one of --sequence, --order, --envelope")
    if order_id is not None:
        sequence = parse_id(order_id).sequence
    with _files_read():
        kept = None if head_file is None else proof_file.read_head_file(head_file)
    with _client(target) as client:
        known = kept or client.audit.get_tree_head()
        if envelope_file is None:
            proof = client.audit.get_inclusion_proof(known, sequence=sequence)
            envelope = _own_envelope(client, proof.leaf_index, proof.leaf)
        else:
            signed = _parse(envelope_file)
            proof = client.audit.get_inclusion_proof(known, envelope=signed)
            envelope = signed.SerializeToString()
    document = proof_file.proof_document(proof, envelope)
    if output is not None:
        output.write_text(json.dumps(document, indent=1) + "\n")
    if target.as_json or output is None:
        print_json(document)
    else:
        click.echo(f"record {proof.leaf_index + 1} of {known.tree_size}: {output}")


def _client(target: Target) -> SyncClient:
    """The profile's account where there is one; a proof alone needs nobody."""
    return target.client(signed=(target.profile / "account").exists())


def _own_envelope(client: SyncClient, leaf_index: int, leaf: bytes) -> bytes:
    """The envelope of a record, when the account of the profile signed it."""
    if not client.account_id:
        return b""
    try:
        found = client.audit.list_account_entries(start_leaf_index=leaf_index, limit=1)
    except DexError:
        return b""
    return found[0].envelope if found and found[0].leaf == leaf else b""


def _parse(path: Path) -> payload_pb.SignedEnvelope:
    try:
        return payload_pb.SignedEnvelope.FromString(path.read_bytes())
    except DecodeError as error:
        raise click.ClickException(f"{path} holds no serialized SignedEnvelope") from error


@audit.command()
@click.argument("proof", type=FILE)
@HEAD_FILE
@PUBLIC_KEY
@json_option
def check(proof: Path, head_file: Path | None, public_key: bytes | None, as_json: bool) -> None:
    """Check a proof without the node. Ends with 1 when it proves nothing.

    What the client signed is in the log, at this position and time, if the head is genuine: give
    the one you kept, or the node's key.
    """
    with _files_read():
        trusted = None if head_file is None else proof_file.read_head_file(head_file, public_key)
        found = proof_file.check_proof_file(proof, trusted, public_key)
    facts = {
        "sequence": found.sequence,
        "time_ns": found.time_ns,
        "tree_size": found.head.tree_size,
        "public_key": found.head.public_key.hex(),
        "signed": None if found.payload is None else found.payload.WhichOneof("action"),
        "account_id": None if found.payload is None else found.payload.account_id,
        "nonce": None if found.payload is None else found.payload.nonce,
    }
    _say(facts, as_json)


@audit.command()
@click.option("--from", "start", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--mine", is_flag=True, help="What your account signed; else all, for operators.")
@target_options
def entries(target: Target, start: int, limit: int, mine: bool) -> None:
    """Records of the log from a position on: what was done, when, and who asked for it."""
    with target.client() if mine else target.operator() as client:
        list_ = client.audit.list_account_entries if mine else client.audit.list_entries
        found = list_(start_leaf_index=start - 1, limit=limit)
    if target.as_json:
        print_json(found)
        return
    print_table(
        ("sequence", "time_ns", "command", "by", "proof", "method"), [_row(each) for each in found]
    )


def _row(entry: audit_pb2.AuditEntry) -> tuple[object, ...]:
    time_ns = audit_pb2.Leaf.FromString(entry.leaf).time_ns
    by = proof = method = ""
    if entry.envelope_kind == audit_pb2.ENVELOPE_KIND_OPERATOR:
        call = operator_call_pb2.OperatorCall.FromString(entry.envelope)
        by, method = call.operator, call.method
        proof = call.certificate_name or call.public_key.hex()[:16]
    elif entry.envelope_kind == audit_pb2.ENVELOPE_KIND_SESSION:
        order = order_intake_pb2.SessionOrder.FromString(entry.envelope)
        payload = payload_pb.Payload.FromString(order.payload)
        by, proof = payload.account_id, f"session {order.session_id}"
        method = payload.WhichOneof("action") or ""
    elif entry.envelope_kind == audit_pb2.ENVELOPE_KIND_SIGNED:
        signed = payload_pb.SignedEnvelope.FromString(entry.envelope)
        payload = payload_pb.Payload.FromString(signed.payload)
        by, proof = payload.account_id, signed.public_key.hex()[:16]
        method = payload.WhichOneof("action") or ""
    return entry.leaf_index + 1, time_ns, entry.command_name, by, proof, method


@audit.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--head", "head_file", type=FILE, required=True, help="The head you kept.")
@PUBLIC_KEY
@click.option(
    "--tree",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The node's tree: names the first changed record, and stands in for removed segments.  "
    "[default: FOLDER/../audit]",
)
@json_option
def verify(
    folder: Path, head_file: Path, public_key: bytes | None, tree: Path | None, as_json: bool
) -> None:
    """Make the head's tree from the journal in FOLDER (<data_dir>/journal) and compare.

    Needs no node and trusts none; one may be running on the folder. Ends with 1 when a record that
    the head covers was changed, dropped, moved or cut off. Which one (differs_at) only the node's
    tree can say: without --tree or FOLDER/../audit it is none, whatever is wrong.
    """
    from dexnode.audit.verify import verify_journal
    from dexruntime.storage import PosixStorage

    with _files_read():
        kept = proof_file.read_head_file(head_file, public_key)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, transient=True, disable=as_json) as progress:
        task = progress.add_task("verifying")

        def tell(sequence: int) -> None:
            progress.update(task, description=f"verified {sequence} of {kept.tree_size}")

        storage = PosixStorage(folder, read_only=True)
        verdict = verify_journal(storage, kept, tree or folder.parent / "audit", tell)
    facts: dict[str, object] = {
        "tree_size": kept.tree_size,
        "checked": verdict.checked_records,
        "first_sequence": verdict.first_sequence,
        "public_key": kept.public_key.hex(),
        "problem": verdict.problem or None,
        "differs_at": verdict.differing_sequence,
    }
    _say(facts, as_json)
    if verdict.problem:
        sys.exit(EXIT_MISMATCH)


def _say(facts: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        click.echo(f"{name:14} {'none' if value is None else printable(value)}")


def _followed(
    folder: Path,
    as_json: bool,
    follow: Callable[[Iterable[Record], Identity, Callable[[int], None]], list[Found]],
) -> list[Found]:
    """What is found in a journal that is gone through from its first record on."""
    from dexcore.invariant import InvariantError
    from dexnode.audit.verify import identity_of
    from dexruntime.journal import JournalError, JournalReader
    from dexruntime.journal.segment import list_segments
    from dexruntime.storage import PosixStorage

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, transient=True, disable=as_json) as progress:
        task = progress.add_task("reading")

        def tell(sequence: int) -> None:
            progress.update(task, description=f"read {sequence} records")

        try:
            storage = PosixStorage(folder, read_only=True)
            if not list_segments(storage):
                raise click.ClickException(f"no journal here: {folder}")
            with closing(JournalReader(storage)) as reader:
                return follow(reader, identity_of(storage), tell)
        except (JournalError, InvariantError) as error:
            raise click.ClickException(str(error)) from error


@audit.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def envelopes(folder: Path, as_json: bool) -> None:
    """Check that each signed command in the journal in FOLDER (<data_dir>/journal) is what its
    client signed, without the node.

    Every signature is verified, and each payload translated once more: account, items, prices,
    quantities and all else of the command must come out. Orders of MAC sessions too; who signed for
    those says `dex audit sessions`. Needs the journal from its first record on. Ends with 1 when
    something does not hold.
    """
    from dexnode.audit.envelopes import EnvelopeCheck

    signed = 0

    def follow(
        records: Iterable[Record], identity: Identity, tell: Callable[[int], None]
    ) -> list[tuple[int, str]]:
        nonlocal signed
        check, problems = EnvelopeCheck(identity), []
        for record in records:
            checked = check.take(record)
            signed += checked.is_signed
            if checked.problem:
                problems.append((record.sequence, checked.problem))
            if record.sequence % 10_000 == 0:
                tell(record.sequence)
        return problems

    problems = _followed(folder, as_json, follow)
    facts: dict[str, object] = {
        "signed": signed,
        "problems": len(problems),
        "first_at": problems[0][0] if problems else None,
        "first": problems[0][1] if problems else None,
    }
    _say(facts, as_json)
    if problems:
        sys.exit(EXIT_MISMATCH)


@audit.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--from", "start", type=click.IntRange(min=1), default=1, show_default=True)
@json_option
def sessions(folder: Path, start: int, as_json: bool) -> None:
    """Check every MAC session in the journal in FOLDER (<data_dir>/journal), without the node.

    Each handshake and countersignature is verified, each order held against its payload, and the
    running hash made again from the payloads: up to `signed` the client cannot deny what it sent.
    Needs the journal from its first record on; --from leaves out sessions that opened before. Ends
    with 1 when something does not hold. That the journal is the node's own says `dex audit verify`.
    """
    from dexnode.audit.sessions import trails

    def follow(
        records: Iterable[Record], identity: Identity, tell: Callable[[int], None]
    ) -> list[SessionTrail]:
        return [each for each in trails(records, identity, tell) if each.first_sequence >= start]

    found = _followed(folder, as_json, follow)
    rows = [
        {
            "opened_at": trail.first_sequence,
            "account_id": trail.account_id,
            "public_key": trail.public_key.hex(),
            "orders": trail.orders,
            "sent": trail.sent,
            "signed": trail.signed,
            "problem": trail.problem or None,
        }
        for trail in found
    ]
    if as_json:
        for row in rows:
            print_json(row)
    elif rows:
        print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        click.echo("no sessions")
    if any(trail.problem for trail in found):
        sys.exit(EXIT_MISMATCH)
