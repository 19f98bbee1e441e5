"""The four families; imports none of them, so that an engine can watch what they import."""

from __future__ import annotations

import importlib
from typing import Final, NamedTuple

from tests.fuzz.family import Family


class Entry(NamedTuple):
    """How a family is fuzzed."""

    packages: tuple[str, ...]
    """What a coverage-guided engine watches: our own code that reads the input."""
    share: int
    """Of a hundred executions; fast families have more."""


FAMILIES: Final[dict[str, Entry]] = {
    "requests": Entry(
        ("dexnode.intake", "dexnode.ids", "dexnode.times", "dexnode.validation", "dexflight.query"),
        40,
    ),
    "records": Entry(
        (
            "dexcore.codec",
            "dexcore.commands",
            "dexkline",
            "dexruntime.journal",
            "dexruntime.snapshot_file",
        ),
        35,
    ),
    "wire": Entry(("dexrpc",), 10),
    "sealed": Entry(
        ("dexflight.ticket", "dexnode.pagination", "dexnode.tokens", "dexnode.validation"), 15
    ),
}
assert sum(entry.share for entry in FAMILIES.values()) == 100


def load(name: str) -> Family:
    """Import a family."""
    family: Family = importlib.import_module(f"tests.fuzz.{name}").FAMILY
    return family
