"""A repair loses nothing: what would lose something is refused, with what and what to do."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dexruntime.journal import verify
from dexruntime.journal.segment import SPARE_NAME, list_segments
from dexruntime.recovery import recover
from dexruntime.repair import CannotRepair, apply, plan
from dexruntime.snapshot_file import list_snapshots, snapshot_name
from dexruntime.storage import PosixStorage
from tests.sim.disk import SimulatedDisk
from tests.support.command_line import call_dex
from tests.unit.runtime.shards import IDENTITY, fingerprint
from tests.unit.runtime.test_backup import make_journal


@pytest.fixture
async def disk() -> SimulatedDisk:
    """A journal of a few segments with one snapshot."""
    made = SimulatedDisk(random.Random(1))
    await make_journal(made)
    return made


def files(disk: SimulatedDisk) -> dict[str, bytes]:
    return {name: disk.contents(name) for name in disk.list_names()}


def tear(disk: SimulatedDisk) -> tuple[str, int, int]:
    """Take the last sector of the last block away; where its rest begins and ends."""
    last = list_segments(disk)[-1].name
    data = disk.contents(last)
    end = len(data.rstrip(b"\0"))
    cut = (end - 1) // 512 * 512
    disk.put(last, data[:cut] + bytes(len(data) - cut))
    start = data.rfind(b"DXBK")
    return last, start, len(data[:cut].rstrip(b"\0"))


async def test_a_torn_tail_is_zeroed_and_nothing_else(disk: SimulatedDisk) -> None:
    name, start, end = tear(disk)
    if end <= start:
        # A block of one sector is gone with it: leave the beginning of one instead.
        data = bytearray(disk.contents(name))
        data[start : start + 4] = b"DXBK"
        disk.put(name, bytes(data))
        end = start + 4
    before = files(disk)
    kept = recover(disk, IDENTITY).exchange
    steps = plan(disk)
    assert files(disk) == before, "planning changed something"
    zero = [step for step in steps if step.kind == "zero"]
    assert [(step.name, step.start, step.end) for step in zero] == [(name, start, end)]
    assert f"{kept.sequence} is the last" in zero[0].why
    apply(disk, steps)
    disk.crash()
    disk.restart()
    assert verify(disk).torn is None
    assert verify(disk).last_sequence == kept.sequence
    assert plan(disk) == []
    after = files(disk)
    changed = {n for n in before if n in after and before[n] != after[n]}
    assert changed == {name}
    assert set(before) - set(after) <= {SPARE_NAME}


async def test_left_overs_go_and_damaged_snapshots_are_set_aside(disk: SimulatedDisk) -> None:
    (sequence,) = list_snapshots(disk)
    name = snapshot_name(sequence)
    live = fingerprint(recover(disk, IDENTITY))
    damaged = disk.contents(name)[:-1]
    disk.put(name, damaged)
    disk.put(snapshot_name(99) + ".tmp", b"half")
    disk.put(SPARE_NAME, bytes(4096))
    kinds = {(step.kind, step.name) for step in plan(disk)}
    assert kinds == {
        ("set aside", name),
        ("remove", snapshot_name(99) + ".tmp"),
        ("remove", SPARE_NAME),
    }
    apply(disk, plan(disk))
    disk.crash()
    disk.restart()
    assert disk.contents(name + ".damaged") == damaged
    assert not [n for n in disk.list_names() if n.endswith(".tmp")]
    assert list_snapshots(disk) == []
    assert fingerprint(recover(disk, IDENTITY)) == live
    assert plan(disk) == []


async def test_damage_in_what_was_durable_is_refused_and_nothing_is_changed(
    disk: SimulatedDisk,
) -> None:
    live = fingerprint(recover(disk, IDENTITY))
    sound = files(disk)
    (snapshot,) = list_snapshots(disk)
    segments = list_segments(disk)
    for number, segment in enumerate(segments):
        data = bytearray(sound[segment.name])
        data[700] ^= 8
        disk.put(segment.name, bytes(data))
        before = files(disk)
        with pytest.raises(CannotRepair) as caught:
            plan(disk)
        assert files(disk) == before, "a repair changed what it refuses"
        text = str(caught.value)
        assert f"{segment.name} at byte 512" in text
        assert f"every record after sequence {segment.first_sequence - 1}" in text
        assert "dex journal restore" in text
        # Where the snapshot covers it a node starts, and nothing newer is lost.
        covered = "or start the node as it is" in text
        assert covered == any(s.first_sequence <= snapshot for s in segments[number + 1 :])
        if covered:
            assert fingerprint(recover(disk, IDENTITY)) == live
        disk.put(segment.name, sound[segment.name])


async def test_the_only_way_in_is_not_set_aside(disk: SimulatedDisk) -> None:
    (sequence,) = list_snapshots(disk)
    disk.remove(list_segments(disk)[0].name)
    assert plan(disk) is not None
    disk.put(snapshot_name(sequence), b"damaged")
    with pytest.raises(CannotRepair, match=r"no snapshot is sound: .*dex journal restore"):
        plan(disk)


async def test_a_journal_that_ends_before_its_snapshot_is_refused(disk: SimulatedDisk) -> None:
    for segment in list_segments(disk)[1:]:
        disk.remove(segment.name)
    with pytest.raises(CannotRepair, match="segments are missing at the end"):
        plan(disk)


async def test_the_command_says_what_it_would_do_and_does_it(tmp_path: Path) -> None:
    storage = PosixStorage(tmp_path / "journal")
    await make_journal(storage, count=20)
    (tmp_path / "journal" / (snapshot_name(7) + ".tmp")).write_bytes(b"half")
    folder = str(storage.directory)
    shown = call_dex("journal", "repair", folder, "--dry-run").stdout
    assert f"would remove {snapshot_name(7)}.tmp: it was never published" in shown
    assert (tmp_path / "journal" / (snapshot_name(7) + ".tmp")).exists()
    done = call_dex("journal", "repair", folder)
    assert done.stdout == shown.replace("would ", "")
    assert call_dex("journal", "repair", folder).stdout == "nothing to repair\n"
    lock = storage.lock()
    refused = call_dex("journal", "repair", folder)
    looked = call_dex("journal", "repair", folder, "--dry-run")
    lock.close()
    assert refused.returncode == 1
    assert "is in use by process" in refused.stderr
    assert (looked.returncode, looked.stdout) == (0, "nothing to repair\n")
    assert "is in use by process" in looked.stderr
    name = list_segments(storage)[0].name
    path = tmp_path / "journal" / name
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(bytes(data))
    refused = call_dex("journal", "repair", folder)
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "Ways out" in refused.stderr
    assert path.read_bytes() == bytes(data)
