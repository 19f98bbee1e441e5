"""Ids of orders and accounts: 22 lower-case hex digits on the wire, int64 keys inside.

    shard (2 digits)  epoch (4)  key (16),  key = sequence << 12 | index

`sequence` is the journal position of the command that made the thing and `index` its number within
that command, so a key is unique in its shard and epoch, needs no counter, and sorts by age.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple, final

INDEX_BITS: Final = 12
INDEX_MAX: Final = (1 << INDEX_BITS) - 1
SEQUENCE_MAX: Final = (1 << (63 - INDEX_BITS)) - 1
SHARD_MAX: Final = 0xFF
EPOCH_MAX: Final = 0xFFFF
ID_DIGITS: Final = 22

_KEY_BITS: Final = 64
_KEY_MAX: Final = (1 << 63) - 1


class ParsedId(NamedTuple):
    """The three parts of an id."""

    shard: int
    epoch: int
    key: int


def make_key(sequence: int, index: int) -> int:
    """The key of the `index`-th thing of the command at `sequence`. Raises ValueError outside
    0..SEQUENCE_MAX and 0..INDEX_MAX."""
    if not (0 <= sequence <= SEQUENCE_MAX and 0 <= index <= INDEX_MAX):
        raise ValueError(f"no key for sequence {sequence}, index {index}")
    return sequence << INDEX_BITS | index


def split_key(key: int) -> tuple[int, int]:
    """(sequence, index) of a key."""
    return key >> INDEX_BITS, key & INDEX_MAX


def parse_id(text: str) -> ParsedId:
    """The parts of an id. Raises ValueError for anything but its one spelling."""
    if len(text) == ID_DIGITS:
        try:
            value = int(text, 16)
        except ValueError:
            value = -1
        # int() also reads signs, capitals, underscores and spaces: one spelling counts.
        if value >= 0 and f"{value:022x}" == text:
            parsed = ParsedId(
                value >> (_KEY_BITS + 16),
                value >> _KEY_BITS & EPOCH_MAX,
                value & ((1 << _KEY_BITS) - 1),
            )
            if parsed.key <= _KEY_MAX:
                return parsed
    raise ValueError("an id is 22 lower-case hex digits: shard, epoch, key")


@final
class IdFormat:
    """Formats and parses the ids of one shard. A thing keeps the epoch in which it was made."""

    __slots__ = ("_first_keys", "_prefixes", "prefix")

    def __init__(self, shard: int, epoch: int, epochs: Sequence[tuple[int, int, int]] = ()) -> None:
        """``epochs`` is dexcore.Exchange.epochs, empty when there was but one. Raises ValueError
        for a shard above 255 or an epoch above 65535."""
        starts = [(sequence, began) for sequence, began, _ in epochs] or [(0, epoch)]
        if not (0 <= shard <= SHARD_MAX and all(0 <= e <= EPOCH_MAX for _, e in starts)):
            raise ValueError(f"no ids for shard {shard}, epoch {epoch}")
        self._first_keys = [make_key(sequence, 0) for sequence, _ in starts]
        self._prefixes = [f"{shard:02x}{began:04x}" for _, began in starts]
        self.prefix = self._prefixes[-1]

    @property
    def prefixes(self) -> dict[int, str]:
        """Shard and epoch in hex by the first key that has them."""
        return dict(zip(self._first_keys, self._prefixes, strict=True))

    def format(self, key: int) -> str:
        """The id of a key."""
        prefix = self.prefix if key >= self._first_keys[-1] else self._prefix_of(key)
        return f"{prefix}{key:016x}"

    def key_of(self, text: str) -> int | None:
        """The key of an id of this shard; None for any other text, which names nothing here: so
        does what was made in an earlier epoch after the backup that this one began from."""
        if len(text) != ID_DIGITS:
            return None
        digits = text[len(self.prefix) :]
        try:
            key = int(digits, 16)
        except ValueError:
            return None
        return key if 0 <= key <= _KEY_MAX and self.format(key) == text else None

    def _prefix_of(self, key: int) -> str:
        return self._prefixes[max(0, bisect_right(self._first_keys, key) - 1)]
