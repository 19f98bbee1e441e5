"""Checks that stay on in production."""

from __future__ import annotations


class InvariantError(Exception):
    """The exchange's own books contradict themselves; the shard must stop."""


def check(condition: bool, why: str) -> None:
    """Raise :class:`InvariantError` unless ``condition`` holds.

    A function instead of ``assert``, which ``python -O`` would strip.
    """
    if not condition:
        raise InvariantError(why)
