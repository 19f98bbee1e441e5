"""What can be wrong with a journal, as exceptions a caller tells apart by type."""

from __future__ import annotations

from typing import Literal


class JournalError(Exception):
    """Base of all errors of the journal and the snapshot files."""


class JournalDamaged(JournalError):
    """Bytes that were once durable are not what was written; nothing was changed or cut.

    ``name`` and ``offset`` (bytes) say where, ``sequence`` is the last one read soundly before it.
    """

    def __init__(self, name: str, offset: int, sequence: int, reason: str) -> None:
        super().__init__(f"{name} at byte {offset}, after sequence {sequence}: {reason}")
        self.name = name
        self.offset = offset
        self.sequence = sequence
        self.reason = reason


class FormatUnsupported(JournalError):
    """The file is sound but written in a format version this build does not know."""

    def __init__(self, name: str, version: int, supported: int) -> None:
        super().__init__(
            f"{name} is of format version {version}; this build reads up to {supported}: "
            "use the release that wrote it, or a newer one"
        )
        self.name = name
        self.version = version


class JournalMismatch(JournalError):
    """The data directory belongs to another network, shard or a later epoch."""


class CommandUnreadable(JournalError):
    """A sound record holds a command that this release does not read, and nothing guesses at it.

    Its type or version is of a newer release; or the bytes do not fit their type, which only a
    fault of the release that wrote them explains.
    """

    def __init__(self, sequence: int, reason: str) -> None:
        super().__init__(
            f"sequence {sequence} holds {reason}: use the release that wrote it, or a newer one"
        )
        self.sequence = sequence
        self.reason = reason


class SequenceRemoved(JournalError):
    """The segment that held the sequence was removed by retention; ``oldest`` is what is left."""

    def __init__(self, sequence: int, oldest: int) -> None:
        super().__init__(
            f"sequence {sequence} was removed by retention; the oldest kept is {oldest}: "
            "start from a snapshot, or read a backup that still has it"
        )
        self.sequence = sequence
        self.oldest = oldest


class JournalFull(JournalError):
    """Nothing of the batch was taken: the disk has no space, or the backlog is at its limit.

    Both may pass: intake refuses and tries again later. ``reason`` tells them apart.
    """

    def __init__(self, reason: Literal["no space", "backlog"]) -> None:
        super().__init__(f"journal takes no records: {reason}")
        self.reason = reason


class JournalFailed(JournalError):
    """A write or sync of the journal has failed; the process is about to end."""
