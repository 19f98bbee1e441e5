"""Each command type has its versions: all that were written are read, none is guessed."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest

from dexcore.commands import (
    COMMAND_TYPES,
    ClockTick,
    Command,
    UnknownCommand,
    decode_command,
    encode_command,
    readable_commands,
)

FORMAT_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "journal-format.md"
ROW = re.compile(r"^\| (\d+) \| `(\w+)` \| ([\d, ]+) \| (\d+) \| [\d.]+ \|$", re.MULTILINE)


def test_the_format_page_lists_every_type_and_version() -> None:
    listed = {
        (int(number), name, int(written)): [int(version) for version in read.split(",")]
        for number, name, read, written in ROW.findall(FORMAT_PAGE.read_text())
    }
    readable = readable_commands()
    assert listed == {
        (known.number, command.__name__, known.version): [
            version for number, version in readable if number == known.number
        ]
        for command, known in COMMAND_TYPES.items()
    }
    assert set(COMMAND_TYPES) == set(typing.get_args(Command))
    assert len({known.number for known in COMMAND_TYPES.values()}) == len(COMMAND_TYPES)


def test_what_is_not_known_is_refused_by_name() -> None:
    names = {known.number: command.__name__ for command, known in COMMAND_TYPES.items()}
    most = {known.number: known.version for known in COMMAND_TYPES.values()}
    readable = {tuple(head) for head in readable_commands()}
    for number in range(256):
        for version in range(256):
            if (number, version) in readable:
                continue
            with pytest.raises(UnknownCommand) as caught:
                decode_command(bytes((number, version)) + bytes(80))
            if number in names:
                what, up_to = names[number], f"version {most[number]}"
            else:
                what, up_to = f"type {number}", f"type {max(names)}"
            assert str(caught.value) == (
                f"command {what} version {version}; this version of Triodex reads up to {up_to}"
            )


def test_the_newest_version_is_written() -> None:
    assert encode_command(ClockTick()) == bytes(COMMAND_TYPES[ClockTick])
    for command, known in COMMAND_TYPES.items():
        versions = [version for number, version in readable_commands() if number == known.number]
        assert versions[-1] == known.version, command
