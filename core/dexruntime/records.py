"""The command in a journal record; the journal itself does not look into it."""

from __future__ import annotations

from dexcore.codec import CodecError
from dexcore.commands import Command, UnknownCommand, decode_command
from dexruntime.journal import CommandUnreadable, Record


def command_of(record: Record) -> Command:
    """The command a record holds.

    Raises:
        CommandUnreadable: of a type or version this release does not know, or malformed.
    """
    try:
        return decode_command(record.command)
    except UnknownCommand as error:
        raise CommandUnreadable(record.sequence, str(error)) from None
    except CodecError as error:
        reason = f"a command that does not fit its type ({error})"
        raise CommandUnreadable(record.sequence, reason) from None
