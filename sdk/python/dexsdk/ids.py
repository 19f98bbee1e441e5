"""Ids of orders and accounts: who made them and where in the journal.

On the wire an id is 22 lower-case hex digits: shard (2), epoch (4), then
`sequence * 4096 + index` (16). Ids of one shard and epoch sort by age as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dexsdk.errors import CallerError

INDEX_BITS: Final = 12
SHARD_MAX: Final = 0xFF
EPOCH_MAX: Final = 0xFFFF
INDEX_MAX: Final = (1 << INDEX_BITS) - 1
SEQUENCE_MAX: Final = (1 << (63 - INDEX_BITS)) - 1  # the core holds the key as int64
_PATTERN: Final = re.compile(r"[0-9a-f]{22}")


@dataclass(frozen=True, slots=True)
class Id:
    """The parts of an id."""

    shard: int
    epoch: int
    sequence: int
    index: int


def format_id(shard: int, epoch: int, sequence: int, index: int) -> str:
    """The id of the thing that command `sequence` made as its `index`-th, counted from 0."""
    parts = {"shard": (shard, SHARD_MAX), "epoch": (epoch, EPOCH_MAX)}
    parts |= {"sequence": (sequence, SEQUENCE_MAX), "index": (index, INDEX_MAX)}
    for name, (value, limit) in parts.items():
        if not 0 <= value <= limit:
            raise CallerError("FIELD_INVALID", f"{name} is 0 to {limit}", field=name)
    return f"{shard:02x}{epoch:04x}{sequence << INDEX_BITS | index:016x}"


def parse_id(text: str) -> Id:
    """The parts of an id; CallerError (`id`) when it is none."""
    if not _PATTERN.fullmatch(text):
        raise CallerError("FIELD_INVALID", "an id is 22 lower-case hex digits", field="id")
    key = int(text[6:], 16)
    if key >> 63:
        raise CallerError("FIELD_INVALID", "an id's key is below 2^63", field="id")
    return Id(int(text[:2], 16), int(text[2:6], 16), key >> INDEX_BITS, key & INDEX_MAX)
