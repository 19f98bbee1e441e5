"""Whatever is done to the records a signed head covers, the head alone shows it.

The attacker here rewrites the journal as a whole: checksums, chain and tree are made again and
all of them are sound. He lacks the key, and the head that somebody kept. With TEST_EVERY_ENTRY=1
each of the thousand entries is tampered with.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import pytest

from dexnode.audit.verify import Recomputed
from dexruntime.journal import Record
from dexsdk import Head
from tests.unit.audit.trees import heads_of, make_log, seed_of

SIZE_MAX = 1_000
Tampering = Callable[[random.Random, list[Record], int], list[Record]]


def numbered(records: list[Record]) -> list[Record]:
    """The records with the positions they now have: the journal has no gap."""
    return [record._replace(sequence=at) for at, record in enumerate(records, 1)]


def flip(chance: random.Random, log: list[Record], at: int) -> list[Record]:
    """One bit of the command or the envelope."""
    record = log[at]
    if record.envelope and chance.random() < 0.5:
        record = record._replace(envelope=flipped(chance, record.envelope))
    else:
        record = record._replace(command=flipped(chance, record.command))
    return [*log[:at], record, *log[at + 1 :]]


def flipped(chance: random.Random, data: bytes) -> bytes:
    """The bytes with one bit changed."""
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def drop(_chance: random.Random, log: list[Record], at: int) -> list[Record]:
    """A record is gone, the rest moved up."""
    return numbered([*log[:at], *log[at + 1 :]])


def drop_and_fill(chance: random.Random, log: list[Record], at: int) -> list[Record]:
    """The same, with another record at the end so that the count is right."""
    extra = log[-1]._replace(command=chance.randbytes(20))
    return numbered([*log[:at], *log[at + 1 :], extra])


def swap(_chance: random.Random, log: list[Record], at: int) -> list[Record]:
    """Two neighbours change places."""
    other = at + 1 if at + 1 < len(log) else at - 1
    changed = list(log)
    changed[at], changed[other] = changed[other], changed[at]
    return numbered(changed)


def truncate(_chance: random.Random, log: list[Record], at: int) -> list[Record]:
    """Everything from here on is gone."""
    return log[:at]


def rewrite(chance: random.Random, log: list[Record], at: int) -> list[Record]:
    """Another record in this place, and all that follows kept."""
    made_up = log[at]._replace(command=chance.randbytes(33), envelope=b"")
    return [*log[:at], made_up, *log[at + 1 :]]


def shift_time(_chance: random.Random, log: list[Record], at: int) -> list[Record]:
    """The record is said to be of another time."""
    return [*log[:at], log[at]._replace(time_ns=log[at].time_ns + 1), *log[at + 1 :]]


ALL: list[Tampering] = [flip, drop, drop_and_fill, swap, truncate, rewrite, shift_time]


def places(chance: random.Random) -> Iterator[int]:
    """Entries to tamper with: the ends, around powers of two, and some of the rest."""
    if os.environ.get("TEST_EVERY_ENTRY"):
        yield from range(SIZE_MAX)
        return
    powers = {(1 << power) + chance.choice((-1, 0, 1)) for power in range(1, 10)}
    yield from sorted({0, *powers, SIZE_MAX - 1, *chance.sample(range(SIZE_MAX), 10)})


@pytest.fixture(scope="module")
def log() -> list[Record]:
    return make_log(random.Random(11), SIZE_MAX)


@pytest.fixture(scope="module")
def heads(log: list[Record]) -> list[Head]:
    return heads_of(log)


def test_an_honest_log_agrees_with_every_head(log: list[Record], heads: list[Head]) -> None:
    made = Recomputed()
    for record, head in zip(log, heads, strict=True):
        made.add(record)
        assert made.problem(head) == ""


@pytest.mark.parametrize("tampering", ALL, ids=lambda each: each.__name__)
def test_tampering_is_found_at_every_size(
    log: list[Record], heads: list[Head], tampering: Tampering
) -> None:
    chance = random.Random(seed_of(tampering.__name__))
    for at in places(chance):
        made = Recomputed()
        changed = tampering(chance, log, at)
        for size in range(1, SIZE_MAX + 1):
            if size <= len(changed):
                made.add(changed[size - 1])
            # Every head that covers the place: of all sizes from there on to a thousand.
            if size > at:
                assert made.problem(heads[size - 1]), f"{tampering.__name__} at {at} of {size}"
