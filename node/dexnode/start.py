"""How a start fails: with one line that says what is in the way."""

from __future__ import annotations


class CannotStart(Exception):
    """What keeps the node from starting, for its operator."""


def start_failure(group: BaseExceptionGroup[BaseException]) -> CannotStart | None:
    """The CannotStart inside a nursery's group; what else failed then, failed because of it."""
    for error in group.exceptions:
        if isinstance(error, CannotStart):
            return error
        if isinstance(error, BaseExceptionGroup):
            found = start_failure(error)
            if found is not None:
                return found
    return None
