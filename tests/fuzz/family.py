"""A family of inputs: handlers behind one dispatching byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, final

CORPUS = Path(__file__).with_name("corpus")
SLOTS = 8

Handler = Callable[[bytes], bool]
"""Feeds one input; True if it was taken, False if it was refused as it should be. Whatever it
raises is a finding."""


@final
class Target:
    """Dispatches on the first byte of an input and counts how its inputs ended.

    A handler may have several of the slots, as a weight. A new one replaces such a second slot, so
    that the corpus keeps its meaning.
    """

    def __init__(self, slots: tuple[str, ...], handlers: Mapping[str, Handler]) -> None:
        assert len(slots) == SLOTS
        assert {*slots} == {*handlers}
        self._handlers = [handlers[name] for name in slots]
        self.slots = slots
        self.taken = [0] * SLOTS
        self.refused = [0] * SLOTS

    def __call__(self, data: bytes) -> None:
        """Feed one input."""
        if not data:
            return
        slot = data[0] % SLOTS
        if self._handlers[slot](data[1:]):
            self.taken[slot] += 1
        else:
            self.refused[slot] += 1

    def name_of(self, data: bytes) -> str:
        """The handler of an input."""
        return self.slots[data[0] % SLOTS] if data else "none"

    def input_for(self, name: str, data: bytes) -> bytes:
        """The input that feeds `data` to a handler."""
        return bytes([self.slots.index(name)]) + data


class Family(NamedTuple):
    """Inputs that come from one kind of stranger."""

    invariant: str
    make: Callable[[], Target]
    seeds: Callable[[Target], list[bytes]]
    """Valid inputs to begin with."""
    bytes_max: int


def corpus_of(name: str) -> list[Path]:
    """The committed inputs of a family."""
    return sorted((CORPUS / name).glob("*.bin"))
