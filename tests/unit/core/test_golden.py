"""The golden journals replay to their event hashes: in every process, on every Python, for good."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import sortedcontainers

import dexcore
from dexcore.commands import Command, decode_command
from dexcore.events import Event
from dexcore.exchange import Exchange
from tests.unit.core import replay_golden

GOLDENS = {path.stem: json.loads(path.read_text()) for path in replay_golden.PATHS}
REPLAYED = [word for path in replay_golden.PATHS for word in replay_golden.replay(path)]


def run(python: str, hash_seed: str, path: Path) -> list[str]:
    """What the program prints under another interpreter that knows only `path`."""
    environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(path), "PATH": os.defpath}
    program = [python, "-B", str(Path(replay_golden.__file__))]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder with the core and what it rests on, for interpreters without our environment."""
    for module in (dexcore, sortedcontainers):
        folder = Path(module.__file__ or "").parent
        (tmp_path / folder.name).symlink_to(folder)
    return tmp_path


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


@pytest.mark.parametrize("path", replay_golden.PATHS, ids=lambda path: path.stem)
def test_the_event_hash_is_the_committed_one(path: Path) -> None:
    assert replay_golden.replay(path)[0] == GOLDENS[path.stem]["event_hash"]


def test_hash_randomization_changes_nothing(bare_path: Path) -> None:
    seen = {tuple(run(sys.executable, hash_seed, bare_path)) for hash_seed in ("0", "1", "4711")}
    assert seen == {tuple(REPLAYED)}


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_other_pythons_agree(version: str, bare_path: Path) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"no python{version} here")
    assert run(python, "random", bare_path) == REPLAYED


def find_python(version: str) -> str | None:
    """An interpreter of this version that runs; a launcher that only complains is none."""
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = sorted(str(folder / "bin") for folder in installed.glob(f"{version}.*"))
    for place in [*places, *folders]:
        python = shutil.which(f"python{version}", path=place)
        if python and subprocess.run([python, "-V"], capture_output=True, check=False).stdout:
            return python
    return None
