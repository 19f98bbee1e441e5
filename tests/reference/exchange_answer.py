"""What the naive twin of the exchange answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.reference.exchange_books import Deeds
from tests.reference.exchange_rules import Result


@dataclass
class Answer:
    """What became of a command; the deeds are this command's own, the rest may be an earlier's."""

    sequence: int
    time_ns: int
    reason: str = "NONE"
    where: str = ""
    repeated: bool = False
    key: int = 0
    counts: tuple[int, int] = (0, 0)
    # What moved between an account and a pool.
    amounts: tuple[int, ...] = ()
    items: list[Result] = field(default_factory=list)
    deeds: Deeds = field(default_factory=Deeds)
