"""`dex audit` offline: a journal rewritten as a whole is sound to every check but the kept head.

The attacker has the files and all of our code: he decodes the journal of a real node, changes it,
and writes it again with good lengths, checksums and chain, and a tree and heads of his own key.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from dexnode.audit.log import AuditLog
from dexnode.audit.proof_file import head_document
from dexnode.cli.root import main
from dexnode.secret import derive_key, load_node_secret
from dexruntime.journal import Identity, JournalReader, Record, read_journal, verify
from dexruntime.journal.appender import BlockAppender
from dexruntime.journal.format import encode_records
from dexruntime.sequencer import DurablePoint
from dexruntime.storage import PosixStorage
from dexsdk import Head, Key
from dexsdk.audit import read_head
from tests.integration.test_audit import head_over, operator_of, place
from tests.support.node_process import NETWORK_ID, NodeProcess
from tests.support.wire import buy, dial

IDENTITY = Identity(NETWORK_ID, 0, 1)
SEGMENT_BYTES = 1 << 20
RECORDS_PER_BLOCK = 7
ORDERS = 40


class Kept(NamedTuple):
    """What a node left behind, and what its client kept apart from it."""

    node: NodeProcess
    data_dir: Path
    head: Path
    sequence: int
    """Of the client's last order."""
    envelope: Path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """A node that has traded and still runs; a head and an envelope kept by a client."""
    folder = tmp_path_factory.mktemp("audited")
    settings = [f"journal.segment_bytes={SEGMENT_BYTES}", "audit.head_interval_ms=50"]
    node = NodeProcess(folder / "node", settings=settings).start()
    with dial(node.grpc_address, node.network_id) as api:
        market = operator_of(node, api).open_market("OFF")
        trader = operator_of(node, api).trader("USDT")
        for _ in range(ORDERS):
            envelope = trader.envelope(place=buy(market, 4, 1))
            sequence = place(api, envelope)
        (folder / "envelope").write_bytes(envelope.SerializeToString())
        with node.client() as client:
            head = head_over(client, sequence)
        # The log goes on; the head that was kept stays what it is.
        for _ in range(5):
            place(api, trader.envelope(place=buy(market, 5, 1)))
    (folder / "head.json").write_text(json.dumps(head_document(head)))
    yield Kept(node, node.data_dir, folder / "head.json", sequence, folder / "envelope")
    node.kill()


def dex(*arguments: object) -> int:
    """Run the command line; its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    code: int = ended.value.code  # type: ignore[assignment]
    return code


def verdict(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    """Exit code and answer of `dex audit verify`."""
    capsys.readouterr()
    code = dex("audit", "verify", *arguments, "--json")
    return code, json.loads(capsys.readouterr().out)


def write_anew(folder: Path, records: list[Record]) -> None:
    """A sound journal of these records: lengths, checksums and chain as the node makes them."""
    folder.mkdir(parents=True)
    storage = PosixStorage(folder)
    reader = JournalReader(storage)
    list(reader)
    appender = BlockAppender(storage, reader.end(), IDENTITY, segment_bytes=SEGMENT_BYTES)
    for start in range(0, len(records), RECORDS_PER_BLOCK):
        encoded, sequence, time_ns, chain = encode_records(
            records[start : start + RECORDS_PER_BLOCK],
            sequence=appender.sequence,
            time_ns=appender.time_ns,
            chain=appender.chain,
        )
        appender.append(
            b"".join(encoded),
            record_count=len(encoded),
            sequence=sequence,
            time_ns=time_ns,
            chain=chain,
        )
        appender.prepare_spare()
    appender.close()


def numbered(records: list[Record]) -> list[Record]:
    """Positions without a gap, times that do not fall: what a sound journal has."""
    made: list[Record] = []
    for at, record in enumerate(records, 1):
        time_ns = max(record.time_ns, made[-1].time_ns if made else 0)
        made.append(record._replace(sequence=at, time_ns=time_ns))
    return made


def flip(records: list[Record], at: int) -> list[Record]:
    command = bytearray(records[at].command)
    command[-1] ^= 1
    return [*records[:at], records[at]._replace(command=bytes(command)), *records[at + 1 :]]


def drop(records: list[Record], at: int) -> list[Record]:
    return numbered([*records[:at], *records[at + 1 :]])


def swap(records: list[Record], at: int) -> list[Record]:
    other = at - 1 if at else 1
    changed = list(records)
    changed[at], changed[other] = changed[other], changed[at]
    return numbered(changed)


def truncate(records: list[Record], at: int) -> list[Record]:
    return records[:at]


def other_envelope(records: list[Record], at: int) -> list[Record]:
    return [*records[:at], records[at]._replace(envelope=b"somebody"), *records[at + 1 :]]


@pytest.mark.parametrize("tampering", [flip, drop, swap, truncate, other_envelope])
@pytest.mark.parametrize("place_", ["first", "middle", "last"])
def test_a_rewritten_journal_is_found_by_the_head_alone(
    kept: Kept,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tampering: Callable[[list[Record], int], list[Record]],
    place_: str,
) -> None:
    records = list(read_journal(PosixStorage(kept.data_dir / "journal", read_only=True)))
    size = json.loads(kept.head.read_text())["tree_size"]
    at = {"first": 0, "middle": size // 2, "last": size - 1}[place_]
    forged = tmp_path / "journal"
    write_anew(forged, tampering(records, at))
    # Nothing else finds it.
    report = verify(PosixStorage(forged, read_only=True))
    assert report.damage is None
    assert report.torn is None
    code, said = verdict(capsys, forged, "--head", kept.head)
    assert code == 1
    assert said["problem"]
    # With the honest node's tree beside it, the first changed record is named.
    tree = kept.data_dir / "audit"
    code, said = verdict(capsys, forged, "--head", kept.head, "--tree", tree)
    assert code == 1
    if tampering is not truncate:
        assert said["differs_at"] == (at if tampering is swap and at else at + 1)


def test_the_honest_journal_is_what_was_signed_while_the_node_runs(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept.node.running
    code, said = verdict(capsys, kept.data_dir / "journal", "--head", kept.head)
    assert (code, said["problem"], said["differs_at"]) == (0, None, None)
    assert said["checked"] == said["tree_size"]
    with kept.node.operator() as client:
        key = client.admin.get_node_status().audit_public_key
    assert said["public_key"] == key
    code, _ = verdict(capsys, kept.data_dir / "journal", "--head", kept.head, "--public-key", key)
    assert code == 0
    assert (
        dex(
            *("audit", "verify", kept.data_dir / "journal", "--head", kept.head),
            *("--public-key", "00" * 32),
        )
        == 1
    )
    assert "SIGNATURE_INVALID" in capsys.readouterr().err


def test_a_forged_tree_and_head_beside_the_journal_change_nothing(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = list(read_journal(PosixStorage(kept.data_dir / "journal", read_only=True)))
    changed = flip(records, 20)
    write_anew(tmp_path / "journal", changed)
    last = changed[-1]
    forger = Key(bytes(32))
    audit = AuditLog(
        PosixStorage(tmp_path / "journal", read_only=True),
        PosixStorage(tmp_path / "audit"),
        IDENTITY,
        forger,
        lambda: DurablePoint(last.sequence, last.time_ns, bytes(32)),
    )
    trio.run(audit.make_head)
    assert audit.newest is not None
    made = tmp_path / "forged.json"
    made.write_text(json.dumps(head_document(read_head(audit.newest.message()))))
    # Sound in itself, and not what was kept, nor of the key that was pinned.
    assert verdict(capsys, tmp_path / "journal", "--head", made)[0] == 0
    code, said = verdict(capsys, tmp_path / "journal", "--head", kept.head)
    assert code == 1
    assert "not those that were signed" in said["problem"]
    key = json.loads(kept.head.read_text())["public_key"]
    assert dex(*("audit", "verify", tmp_path / "journal", "--head", made, "--public-key", key)) == 1


def test_removed_segments_are_made_up_for_by_the_tree(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = list(read_journal(PosixStorage(kept.data_dir / "journal", read_only=True)))
    # A journal whose first segment holds the first records alone.
    first = tmp_path / "split"
    write_anew(first, records[:14])
    reader = JournalReader(PosixStorage(first))
    list(reader)
    other = Identity(NETWORK_ID, 0, 2)
    appender = BlockAppender(PosixStorage(first), reader.end(), other, segment_bytes=SEGMENT_BYTES)
    encoded, sequence, time_ns, chain = encode_records(
        records[14:], sequence=appender.sequence, time_ns=appender.time_ns, chain=appender.chain
    )
    appender.append(
        b"".join(encoded),
        record_count=len(encoded),
        sequence=sequence,
        time_ns=time_ns,
        chain=chain,
    )
    appender.close()
    segments = sorted(first.glob("journal-*.dxj"))
    assert len(segments) == 2
    segments[0].unlink()
    code, said = verdict(capsys, first, "--head", kept.head)
    assert (code, said["first_sequence"]) == (1, 15)
    assert "--tree" in said["problem"]
    tree = kept.data_dir / "audit"
    code, said = verdict(capsys, first, "--head", kept.head, "--tree", tree)
    assert (code, said["problem"]) == (0, None)
    assert said["checked"] == said["tree_size"] - 14
    # A tree with other hashes for what is gone makes another root.
    shutil.copytree(tree, tmp_path / "tree")
    nodes = tmp_path / "tree" / "audit-nodes.dxa"
    data = bytearray(nodes.read_bytes())
    data[14 * 32] ^= 1
    nodes.write_bytes(data)
    assert verdict(capsys, first, "--head", kept.head, "--tree", tmp_path / "tree")[0] == 1


def prove(kept: Kept, output: Path, *arguments: object) -> int:
    """Run `dex audit prove` against the node."""
    return dex(
        *("audit", "prove", "--address", kept.node.grpc_address),
        *("--network-id", NETWORK_ID, "--home", output.parent / "nobody"),
        *("--head", kept.head, "--output", output, *arguments),
    )


def test_a_proof_file_needs_nothing_but_the_head(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = tmp_path / "proof.json"
    assert prove(kept, proof, "--envelope", kept.envelope) == 0
    capsys.readouterr()
    assert dex("audit", "check", proof, "--head", kept.head, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["sequence"], said["signed"]) == (kept.sequence, "place")
    assert prove(kept, tmp_path / "by_sequence.json", "--sequence", kept.sequence) == 0
    assert dex("audit", "check", tmp_path / "by_sequence.json", "--head", kept.head) == 0


def test_a_changed_proof_file_proves_nothing(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = tmp_path / "proof.json"
    assert prove(kept, proof, "--envelope", kept.envelope) == 0
    sound = json.loads(proof.read_text())
    leaf, envelope = (base64.b64decode(sound[name]) for name in ("leaf", "envelope"))
    forger = Key(bytes(32))

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    def turned(data: bytes, at: int) -> str:
        changed = bytearray(data)
        changed[at] ^= 1
        return text(bytes(changed))

    wrong: dict[str, dict[str, Any]] = {
        "another envelope": {"envelope": turned(envelope, 12)},
        "another leaf": {"leaf": turned(leaf, len(leaf) - 1)},
        "another place": {"leaf_index": sound["leaf_index"] - 1},
        "a hash left out": {"path": sound["path"][1:]},
        "a hash changed": {"path": [text(bytes(32)), *sound["path"][1:]]},
        "another key": {"head": _signed_by(forger, sound["head"])},
    }
    for what, change in wrong.items():
        proof.write_text(json.dumps({**sound, **change}))
        assert dex("audit", "check", proof, "--head", kept.head) == 1, what
        assert "Traceback" not in capsys.readouterr().err
    proof.write_text("{}")
    assert dex("audit", "check", proof, "--head", kept.head) == 1
    assert "holds no proof" in capsys.readouterr().err
    proof.write_text(json.dumps(sound))
    assert dex("audit", "check", proof, "--head", kept.head) == 0


def _signed_by(key: Key, document: dict[str, Any]) -> dict[str, Any]:
    signed = dict(document["signed_tree_head"])
    data = base64.b64decode(signed["tree_head"])
    signature = key.sign(b"triodex.audit.v1\0" + data)
    signed["signature"] = base64.b64encode(signature).decode()
    return {**document, "signed_tree_head": signed}


def test_the_next_head_continues_the_kept_one(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = ("--address", kept.node.grpc_address, "--network-id", NETWORK_ID)
    newer = tmp_path / "newer.json"
    arguments = ("audit", "head", "--since", kept.head, "--output", newer, *target)
    assert dex(*arguments) == 0
    assert "continues" in capsys.readouterr().out
    assert dex("audit", "head", "--since", newer, *target) == 0
    # A head of the node's own key over another history.
    other: Head = read_head(_head_of_another_history(kept, tmp_path).message())
    (tmp_path / "forged.json").write_text(json.dumps(head_document(other)))
    capsys.readouterr()
    assert dex("audit", "head", "--since", tmp_path / "forged.json", *target) == 1
    assert "PROOF_INVALID" in capsys.readouterr().err


def _head_of_another_history(kept: Kept, folder: Path) -> Any:
    """What the node would have signed, had its journal been another one."""
    records = list(read_journal(PosixStorage(kept.data_dir / "journal", read_only=True)))
    changed = flip(records, 3)[:20]
    write_anew(folder / "another", changed)
    audit = AuditLog(
        PosixStorage(folder / "another", read_only=True),
        PosixStorage(folder / "another-audit"),
        IDENTITY,
        Key(derive_key(load_node_secret(kept.data_dir), "audit heads")),
        lambda: DurablePoint(20, changed[-1].time_ns, bytes(32)),
    )
    trio.run(audit.make_head)
    assert audit.newest is not None
    return audit.newest


def test_entries_say_who_asked(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    target = (
        *("--address", kept.node.grpc_address, "--network-id", NETWORK_ID),
        *("--operator-key", kept.node.operator_key_path),
    )
    assert dex("audit", "entries", "--limit", 3, *target) == 0
    said = capsys.readouterr().out
    assert "dex.admin.v1.Admin/CreateMarket" in said
    assert "register_key" in said
