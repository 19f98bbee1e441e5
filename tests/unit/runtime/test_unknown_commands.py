"""A command of a newer release stops the start by name; nothing is guessed and nothing changed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dexcore.commands import COMMAND_TYPES, ClockTick, SetFees, encode_command
from dexruntime.journal import CommandUnreadable, Record
from dexruntime.recovery import recover
from dexruntime.storage import PosixStorage, Storage
from tests.sim.disk import SimulatedDisk
from tests.support.command_line import run_dex
from tests.unit.core.exchanges import OPERATOR, START_NS
from tests.unit.journal.journals import IDENTITY, append_block, open_appender

SEGMENT_BYTES = 1 << 20
FEES = encode_command(SetFees(OPERATOR, 0, 1, 2))
NEWER = bytes((COMMAND_TYPES[SetFees].number, COMMAND_TYPES[SetFees].version + 1)) + FEES[2:]
UNKNOWN = bytes((200, 1)) + FEES[2:]


def journal_with(storage: Storage, command: bytes) -> None:
    """Two ticks, and between them the command."""
    tick = encode_command(ClockTick())
    rows = [Record(n, START_NS + n, c, b"") for n, c in enumerate((tick, command, tick), 1)]
    appender = open_appender(storage, segment_bytes=SEGMENT_BYTES)
    append_block(appender, rows)
    appender.close()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (NEWER, f"command SetFees version {NEWER[1]}; this version of Triodex reads up to version"),
        (UNKNOWN, "command type 200 version 1; this version of Triodex reads up to type"),
        (FEES[:-1], r"a command that does not fit its type \(bytes end early\)"),
        (b"", r"a command that does not fit its type \(bytes end early\)"),
    ],
)
def test_a_start_names_the_command_it_does_not_know(command: bytes, reason: str) -> None:
    disk = SimulatedDisk(random.Random(0))
    journal_with(disk, command)
    before = {name: disk.contents(name) for name in disk.list_names()}
    with pytest.raises(CommandUnreadable, match=f"^sequence 2 holds {reason}"):
        recover(disk, IDENTITY)
    assert {name: disk.contents(name) for name in disk.list_names()} == before


def test_the_command_line_says_it_in_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "journal"
    journal_with(PosixStorage(folder), UNKNOWN)
    identity = ("--network-id", IDENTITY.network_id, "--shard", str(IDENTITY.shard))
    node = (
        *("--data-dir", str(tmp_path / "data"), "--set", f"node.network_id={IDENTITY.network_id}"),
        *("--set", f"node.shard={IDENTITY.shard}", "--set", "grpc.port=0"),
        *("--set", "flight.port=0", "--set", "metrics.port=0"),
    )
    for arguments in (
        ("journal", "dump", str(folder)),
        ("journal", "replay", str(folder), *identity),
        ("node", "run", *node),
    ):
        done = run_dex(*arguments)
        assert done.returncode == 1, arguments
        last = done.stderr.strip().splitlines()[-1]
        assert "sequence 2 holds command type 200 version 1" in last, arguments
        assert "Traceback" not in done.stderr, arguments
