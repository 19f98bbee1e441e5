"""What can be put right in a journal folder without losing anything that was durable.

Three things can: the tail that an interrupted write left, files that were never published, and
snapshots that are damaged while another way in is left. Damage in what was once durable is not
repaired, for there is nothing to repair it from: it is refused with what is lost and the ways out.
A plan is made by reading alone; applying it is a matter of those same few verbs.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from dexruntime.journal import JournalDamaged, JournalError, JournalReader, SequenceRemoved
from dexruntime.journal.segment import SPARE_NAME, list_segments
from dexruntime.snapshot_file import SnapshotDamaged, list_snapshots, read_snapshot, snapshot_name
from dexruntime.storage import Storage

DAMAGED_SUFFIX: Final = ".damaged"
_TEMPORARY_SUFFIX: Final = ".tmp"


class CannotRepair(Exception):
    """What was durable is damaged; the message says what is lost and what the ways out are."""


class Step(NamedTuple):
    """One thing to do, and why it loses nothing. ``start`` and ``end`` are bytes to be zeroed."""

    kind: Literal["zero", "remove", "set aside"]
    name: str
    why: str
    start: int = 0
    end: int = 0

    def __str__(self) -> str:
        where = f" bytes {self.start} to {self.end - 1} of" if self.kind == "zero" else ""
        return f"{self.kind}{where} {self.name}: {self.why}"


def plan(storage: Storage) -> list[Step]:
    """What a repair would do; changes nothing.

    Raises:
        CannotRepair: there is damage that only a backup mends.
        JournalError: a file is of a newer release.
    """
    steps, good = _snapshots(storage)
    segments = list_segments(storage)
    first = segments[0].first_sequence if segments else 1
    reader = JournalReader(storage, first)
    try:
        for _ in reader:
            pass
        end = reader.end()
    except JournalDamaged as damage:
        raise CannotRepair(_ways_out(storage, damage, good)) from damage
    finally:
        reader.close()
    if not good and first > 1:
        raise CannotRepair(
            f"the journal begins at sequence {first} and no snapshot is sound: what was before it "
            f"is in no file here. Restore a backup (dex journal restore); it has the history up to "
            f"its own end, and what came after is lost"
        )
    if good and good[-1] > end.sequence:
        raise CannotRepair(
            f"the journal ends at sequence {end.sequence}, but {snapshot_name(good[-1])} says that "
            f"{good[-1]} was durable: segments are missing at the end. Put them back, or restore a "
            f"backup (dex journal restore)"
        )
    if end.torn is not None:
        why = f"an interrupted write left it; nothing in it was durable, {end.sequence} is the last"
        steps.append(Step("zero", end.name, why, end.torn.start, end.torn.end))
    steps += [
        Step("remove", name, _why_temporary(name))
        for name in storage.list_names()
        if name.endswith(_TEMPORARY_SUFFIX)
    ]
    return steps


def apply(storage: Storage, steps: list[Step]) -> None:
    """Do what ``plan`` said; the caller holds the lock of the folder.

    Raises:
        OSError: the disk failed; planning again says what is left to do.
    """
    for step in steps:
        if step.kind == "zero":
            file = storage.open(step.name, "write")
            try:
                file.write(step.start, bytes(step.end - step.start))
                file.datasync()
            finally:
                file.close()
        elif step.kind == "remove":
            storage.remove(step.name)
        else:
            storage.rename(step.name, step.name + DAMAGED_SUFFIX)
    storage.sync_directory()


def _snapshots(storage: Storage) -> tuple[list[Step], list[int]]:
    """What to do about damaged snapshots, and the sequences of the good ones."""
    steps, good = [], []
    for sequence in list_snapshots(storage):
        try:
            read_snapshot(storage, sequence)
            good.append(sequence)
        except SnapshotDamaged as damage:
            why = f"{damage}; a start takes an older one, or the journal"
            steps.append(Step("set aside", snapshot_name(sequence), why))
    return steps, good


def _why_temporary(name: str) -> str:
    if name == SPARE_NAME:
        return "the preallocated next segment; a start makes it anew"
    return "it was never published"


def _ways_out(storage: Storage, damage: JournalDamaged, good: list[int]) -> str:
    later = [item for item in list_segments(storage) if item.first_sequence > damage.sequence + 1]
    known = later[-1].first_sequence - 1 if later else damage.sequence
    known = max([known, *good])
    lost = f"every record after sequence {damage.sequence}"
    if known > damage.sequence:
        lost += f", which was durable up to {known} at least"
    text = (
        f"{damage}. This was durable once, and nothing here mends it: nothing was changed. It puts "
        f"in question {lost}. Ways out: put the whole file back from another copy of the disk "
        f"(RAID, file system snapshot); or restore the newest backup (dex journal restore): it has "
        f"the history up to its own end, and all that was acknowledged after that is lost"
    )
    covering = [sequence for sequence in good if _opens_at(storage, sequence)]
    if covering:
        text += (
            f"; or start the node as it is: {snapshot_name(covering[-1])} and the journal after it "
            f"are whole, and only a replay of the history before them is lost"
        )
    return text


def _opens_at(storage: Storage, sequence: int) -> bool:
    """Whether a start from the snapshot of this sequence reads the journal to its end."""
    begins = [s.first_sequence for s in list_segments(storage) if s.first_sequence == sequence + 1]
    reader = JournalReader(storage, begins[0] if begins else max(1, sequence))
    try:
        for _ in reader:
            pass
        reader.end()
    except (JournalError, SequenceRemoved):
        return False
    finally:
        reader.close()
    return True
