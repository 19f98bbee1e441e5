"""Valid inputs, spoiled: what a plain fuzzer without coverage feedback can do."""

from __future__ import annotations

import random
from collections.abc import Sequence


def mutated(chance: random.Random, corpus: Sequence[bytes]) -> bytes:
    """One input of the corpus with a few changes, or random bytes now and then."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.choice((0, 1, 7, 40, 300)))
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((1, 1, 2, 5))):
        _change(chance, data, corpus)
    return bytes(data)


def _change(chance: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    span = chance.choice((1, 2, 4, 8, 30))
    kind = chance.randrange(7)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 1 and at < len(data):
        data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
    elif kind == 2:
        data[at : at + span] = chance.choice((bytes(span), b"\xff" * span))
    elif kind == 3:
        del data[at : at + span]
    elif kind == 4:
        data[at:at] = chance.randbytes(span)
    elif kind == 5:
        data[at:at] = data[at : at + span] * chance.choice((1, 2, 50))
    else:
        # The beginning of this one and the end of another.
        other = chance.choice(corpus)
        data[at:] = other[chance.randrange(len(other) + 1) :]
