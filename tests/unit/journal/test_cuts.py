"""An interrupted write, at every byte: recovery keeps all that was durable and invents nothing."""

from __future__ import annotations

import random

from dexruntime.journal import JournalReader
from dexruntime.storage import SECTOR_BYTES
from tests.unit.journal.journals import (
    FIRST_NAME,
    append_block,
    disk_with,
    make_records,
    open_appender,
    seed_of,
    write_journal,
)

SEGMENT_BYTES = 24 * 1024


def test_a_mixed_journal_cut_at_every_byte_keeps_exactly_its_complete_blocks() -> None:
    chance = random.Random(seed_of("every_byte"))
    disk, written, places = write_journal(
        chance, (1, 5, 1, 12, 1, 1, 30, 2, 1, 17), segment_bytes=SEGMENT_BYTES
    )
    data = disk.contents(FIRST_NAME)
    assert places[-1].end >= 16 * 1024
    image = disk_with(FIRST_NAME, data)
    checked = 0
    for cut in range(SECTOR_BYTES, places[-1].end + 1):
        image.put(FIRST_NAME, data[:cut] + bytes(len(data) - cut))
        complete = [p.last_sequence for p in places if len(data[: p.end].rstrip(b"\0")) <= cut]
        reader = JournalReader(image)
        assert list(reader) == written[: max(complete, default=0)], f"cut at {cut}"
        torn = reader.end().torn
        at_block_end = any(len(data[: p.end].rstrip(b"\0")) <= cut <= p.end for p in places)
        assert (torn is None) == (at_block_end or cut == SECTOR_BYTES), f"cut at {cut}"
        checked += 1
    assert checked == places[-1].end + 1 - SECTOR_BYTES


def test_any_lost_sectors_of_the_last_block_are_a_torn_tail_and_appending_goes_on() -> None:
    chance = random.Random(seed_of("lost_sectors"))
    disk, written, places = write_journal(chance, (3, 2, 20), segment_bytes=SEGMENT_BYTES)
    data = disk.contents(FIRST_NAME)
    start, end, _ = places[-1]
    durable = places[-2].last_sequence
    for _ in range(300):
        torn = bytearray(data)
        sectors = range(start, end, SECTOR_BYTES)
        for sector in chance.sample(sectors, chance.randint(1, len(sectors))):
            torn[sector : sector + SECTOR_BYTES] = bytes(SECTOR_BYTES)
        image = disk_with(FIRST_NAME, bytes(torn))
        assert list(JournalReader(image)) == written[:durable]
        appender = open_appender(image, segment_bytes=SEGMENT_BYTES)
        assert not image.contents(FIRST_NAME)[start:].strip(b"\0")
        more = make_records(chance, 2, after=durable, time_ns=appender.time_ns)
        append_block(appender, more)
        image.crash()
        image.restart()
        assert list(JournalReader(image)) == written[:durable] + more
