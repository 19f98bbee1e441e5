"""A journal of 64 KiB with every type of command: cut at every byte, and every byte flipped.

A bit of each byte, and all bits where the format has its own: all of all bytes are the soak's
(``python -m tests.soak bits``), which takes the same way.

Each case goes through the real reader, from the last block boundary before the change on: up to
there a reader has nothing but the bytes it has read, and those are the same.
"""

from __future__ import annotations

import os
import random
import typing

import pytest

from dexcore.commands import Command, decode_command
from dexruntime.storage import SECTOR_BYTES
from tests.unit.journal.flips import (
    SEGMENT_BYTES,
    Written,
    flip,
    pauses,
    read,
    some_bits,
    write_mixed,
)
from tests.unit.journal.memory import MemoryStorage


@pytest.fixture(scope="module")
def written() -> Written:
    """The mixed journal."""
    return write_mixed()


def test_the_journal_is_a_mixed_one(written: Written) -> None:
    assert [len(data) for data in written.files.values()] == [SEGMENT_BYTES, SEGMENT_BYTES]
    assert all(len(places) > 10 for places in written.places)
    assert min(places[-1].end for places in written.places) > SEGMENT_BYTES - 4096
    types = {type(decode_command(record.command)) for record in written.records}
    assert types == set(typing.get_args(Command))
    assert {bool(record.envelope) for record in written.records} == {False, True}


@pytest.mark.parametrize("segment", [0, 1])
def test_a_flipped_bit_is_found_and_no_record_behind_it_is_read(
    written: Written, segment: int
) -> None:
    seed = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"replay: TEST_SEED={seed} pytest {__file__} -k flipped_bit")
    bits = list(some_bits(written, segment, random.Random(seed)))
    assert {offset for offset, _ in bits} == set(range(SEGMENT_BYTES))
    found, stray = flip(segment, bits)
    assert found + stray == len(bits) > SEGMENT_BYTES
    assert stray == 0 if segment == 0 else 0 < stray < len(bits) // 10


def test_a_cut_at_every_byte_keeps_all_complete_blocks_and_invents_none(written: Written) -> None:
    for segment, name in enumerate(written.files):
        whole = written.files[name]
        # What a crash leaves: zeros from the cut on, and no later segment.
        storage = MemoryStorage(dict(list(written.files.items())[: segment + 1]))
        boundaries = pauses(MemoryStorage(written.files), written)
        data = storage.files[name].data
        with_later = MemoryStorage(written.files)
        early = with_later.files[name].data
        for cut in range(SEGMENT_BYTES - 1, -1, -1):
            if not whole[cut] and cut != SEGMENT_BYTES - 1:
                # The very bytes of the cut before.
                continue
            data[cut] = early[cut] = 0
            sound = written.complete_before(segment, cut)
            before = [p for n, p in boundaries if (n, p.offset) <= (segment, cut)][-1]
            last, torn, damage = read(before.start(storage))
            if cut < SECTOR_BYTES and data[:SECTOR_BYTES] != whole[:SECTOR_BYTES]:
                # A header is durable before its file has its name: no crash cuts it.
                assert damage is not None, (name, cut)
                continue
            assert damage is None, (name, cut)
            assert last == sound, (name, cut)
            clean = not data[_end_of(written, segment, sound) :].strip(b"\0")
            assert (torn is None) == clean, (name, cut)
            if segment == 0 and whole[cut]:
                # With a later segment there the same was durable once: it is damage.
                last, _, damage = read(before.start(with_later))
                assert damage is not None, (name, cut)
                assert last == sound, (name, cut)


def test_a_file_shortened_at_any_byte_is_refused(written: Written) -> None:
    for segment, name in enumerate(written.files):
        storage = MemoryStorage(written.files)
        boundaries = pauses(storage, written)
        first = next(p for n, p in boundaries if n == segment or (n, segment) == (0, 0))
        last_of_first = [p for n, p in boundaries if n == 0][-1]
        data = storage.files[name].data
        for _ in range(SEGMENT_BYTES):
            del data[-1]
            start = first.start() if segment == 0 else last_of_first.start()
            assert read(start)[2] is not None, (name, len(data))


def _end_of(written: Written, segment: int, sequence: int) -> int:
    ends = [p.end for p in written.places[segment] if p.last_sequence <= sequence]
    return max(ends, default=SECTOR_BYTES)
