"""The committed corpus holds: every input is taken or refused as it should be, and each handler
sees both. Needs no engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dexruntime.journal import JournalError
from tests.fuzz.families import FAMILIES, load
from tests.fuzz.family import SLOTS, Target, corpus_of

ROOT = Path(__file__).parents[2]
CORPUS_BYTES_MAX = 96 << 10


@pytest.mark.parametrize("name", FAMILIES)
def test_every_input_of_the_corpus_is_taken_or_refused(name: str) -> None:
    family = load(name)
    target = family.make()
    paths = corpus_of(name)
    assert len(paths) > 10
    for path in paths:
        data = path.read_bytes()
        assert len(data) <= family.bytes_max
        print(f"replay: python -m tests.fuzz {name} {path.relative_to(ROOT)}")
        target(data)
    taken = {slot for slot, count in zip(target.slots, target.taken, strict=True) if count}
    refused = {slot for slot, count in zip(target.slots, target.refused, strict=True) if count}
    # Nobody can make a signature that the target has not seen made.
    assert taken | {"envelope"} >= {*target.slots}
    assert refused == {*target.slots}


@pytest.mark.parametrize("name", FAMILIES)
def test_what_the_code_itself_writes_is_taken(name: str) -> None:
    family = load(name)
    target = family.make()
    seeds = family.seeds(target)
    for data in seeds:
        target(data)
    assert sum(target.taken) >= len(seeds) // 3


def test_the_corpus_is_small() -> None:
    sizes = [path.stat().st_size for name in FAMILIES for path in corpus_of(name)]
    assert sum(sizes) < CORPUS_BYTES_MAX


def test_a_target_dispatches_on_the_first_byte() -> None:
    fed: list[bytes] = []

    def odd(data: bytes) -> bool:
        fed.append(data)
        return bool(data)

    def refuse(_data: bytes) -> bool:
        raise JournalError("not typed for this")

    target = Target(("odd",) * (SLOTS - 1) + ("refuse",), {"odd": odd, "refuse": refuse})
    target(b"")
    target(b"\x00")
    target(bytes([SLOTS]) + b"x")
    assert fed == [b"", b"x"]
    assert (sum(target.taken), sum(target.refused)) == (1, 1)
    with pytest.raises(JournalError):
        target(target.input_for("refuse", b""))


def fuzz(*arguments: str, artifacts: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", *arguments, "--artifacts", str(artifacts)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_mutator_says_how_far_it_came(tmp_path: Path) -> None:
    arguments = ("sealed", "--engine", "mutator", "--runs", "500", "--seed", "3")
    done = fuzz(*arguments, artifacts=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "stat::number_of_executed_units: 500" in done.stderr
