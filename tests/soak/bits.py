"""Every bit of a journal of 64 KiB flipped, on all cores; `make test` flips one of each byte."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator

from tests.soak.job import Run
from tests.unit.journal.flips import SEGMENT_BYTES, Flips, every_bit, flip, write_mixed

BITS: int = 2 * 8 * SEGMENT_BYTES
BYTES_AT_A_TIME = 64
Part = tuple[int, int, int]
"""Segment, and the bytes of it from and to."""


def work(run: Run) -> None:
    """Part by part; a bit that is not found is an AssertionError that names it."""
    assert len(write_mixed().files) == 2
    with multiprocessing.get_context("spawn").Pool(os.cpu_count() or 1) as pool:
        done = pool.imap_unordered(flip_part, parts(run.goal))
        while run.goes_on():
            flips = next(done)
            run.counts["found as damage"] += flips.found
            run.counts["cut behind the end"] += flips.stray
            run.done += flips.found + flips.stray


def parts(goal: int) -> Iterator[Part]:
    """From the end on, where the few bits are that are not damage, up to a goal of bits."""
    bits = 0
    for segment in (1, 0):
        for stop in range(SEGMENT_BYTES, 0, -BYTES_AT_A_TIME):
            if bits < goal:
                yield segment, stop - BYTES_AT_A_TIME, stop
            bits += 8 * BYTES_AT_A_TIME


def flip_part(part: Part) -> Flips:
    """Every bit of the part."""
    segment, start, stop = part
    return flip(segment, every_bit(start, stop))
