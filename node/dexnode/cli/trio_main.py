"""Runs a command on Trio and lets its errors out as they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import trio

_Result = TypeVar("_Result")


def run_trio(command: Callable[..., Awaitable[_Result]], *arguments: object) -> _Result:
    """`trio.run`, but what fails in a nursery is raised without its exception group.

    Several tasks may fail of one cause, and a user is told one; Ctrl-C goes before all else.
    """
    try:
        return trio.run(command, *arguments)
    except BaseExceptionGroup as group:
        causes = sorted(_leaves(group), key=lambda cause: isinstance(cause, Exception))
        raise causes[0] from None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
