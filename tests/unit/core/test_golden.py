"""The golden journals of all releases replay to their hashes, for good."""

from __future__ import annotations

import json
import typing
from hashlib import sha256
from pathlib import Path

import pytest

from dexcore.commands import Command, decode_command
from dexcore.events import Event
from dexcore.exchange import Exchange
from tests.unit.core import goldens
from tests.unit.core.replay import replay

PATHS = sorted(goldens.FOLDER.glob("*.json"))
GOLDENS = {path.stem: json.loads(path.read_text()) for path in PATHS}
# Once a line stands here and in SHA256SUMS it stays: such journals are in the field.
DIGESTS = {
    "0.1.0.json": "49ebd089aa0d126051c49ddff38becc8f4d460a502a5c0b35f3954b7510a89cd",
    "0.2.0-operations.json": "f8a94e77f60cbe4a923ae192556cb640ce43f19b140eb5b622a4c9bf4f33bc37",
    "0.2.0-epochs.json": "63b65606cae656f2f779f301e79d1c3992291ca8892bc6c47568885f6c5fefd6",
    "0.2.0-keys.json": "3af123904227f60b3670ebd8c64509ff9b76f703c73c10e0ef522797340eb376",
    "0.2.0-terms.json": "41278f870a6b44f205a4f507bd228903b13722af222e5a81147df3a095a66a9e",
    "0.2.0-pools.json": "55d5aaca3a2bd749bff9a87bbdea57b534e898261a38884a5aa43a3f37fab294",
    "0.2.0-times.json": "455d4b503c3acef6f5d5d0043ad00721218494b611e8986920683b22397e6b5b",
    "0.2.0-waiting.json": "ebc080bc9bf234e0e90c09ca76ecd7563a50e4dd5f9e4892121a59e306bd610c",
    "0.2.0-quotes.json": "7c1eee706a8c9d0a3a7867e0520d4b11c620551d235ef066090055652ca039f0",
    "0.2.0-sessions.json": "016f501c32596a54db7de7e309bc3108f8880579eb2c591e314659cd9049dd9f",
}


def test_no_golden_journal_was_changed() -> None:
    found = {path.name: sha256(path.read_bytes()).hexdigest() for path in PATHS}
    assert found == DIGESTS, "a golden journal was changed, or a new one is not listed here"
    lines = goldens.SUMS.read_text().splitlines()
    assert lines == [f"{digest}  {name}" for name, digest in DIGESTS.items()]


def test_the_golden_journals_have_every_command_and_event() -> None:
    commands: set[type] = set()
    events: set[type] = set()
    for golden in GOLDENS.values():
        exchange = Exchange()
        for sequence, (time_ns, data) in enumerate(golden["commands"], 1):
            command = decode_command(bytes.fromhex(data))
            commands.add(type(command))
            outcome = exchange.apply(sequence, time_ns, command)
            events.update(type(event) for event in outcome.events)
    assert commands == set(typing.get_args(Command))
    assert events == set(typing.get_args(Event))


@pytest.mark.parametrize("name", GOLDENS)
def test_a_golden_journal_gives_the_events_of_its_release(name: str) -> None:
    golden = GOLDENS[name]
    last = replay(golden["commands"])[-1]
    assert last.event_hash == golden["event_hash"]


@pytest.mark.parametrize("name", GOLDENS)
def test_a_golden_journal_gives_the_state_of_its_release(name: str) -> None:
    golden = GOLDENS[name]
    last = replay(golden["commands"])[-1]
    assert last.state_hash == golden["state_hash"]


def test_a_golden_journal_is_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goldens, "FOLDER", tmp_path)
    line = goldens.record("9.9.9")
    golden = json.loads((tmp_path / "9.9.9.json").read_text())
    assert line.endswith("  9.9.9.json\n")
    assert replay(golden["commands"])[-1][1:3] == (golden["event_hash"], golden["state_hash"])
    with pytest.raises(FileExistsError):
        goldens.record("9.9.9")
