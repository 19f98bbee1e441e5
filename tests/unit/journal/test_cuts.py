"""An interrupted write, at every byte: recovery keeps all that was durable and invents nothing."""

from __future__ import annotations

import random

from dexruntime.journal import JournalReader, Record
from dexruntime.journal.format import BLOCK_HEADER_BYTES, RECORD_HEADER_BYTES
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
    disk, written, places = write_journal(
        random.Random(1), (1, 5, 1, 2, 12, 1, 7), segment_bytes=SEGMENT_BYTES, bytes_max=700
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


def test_a_client_that_sends_the_bytes_of_a_block_cannot_turn_a_torn_tail_into_damage() -> None:
    """What a client sends is in the records: none of it may pass for a block written later."""
    chance = random.Random(1)
    foreign, _, places = write_journal(chance, (1, 1, 1, 1), segment_bytes=SEGMENT_BYTES)
    block = foreign.contents(FIRST_NAME)[places[-1].start : places[-1].end]
    disk, written, places = write_journal(chance, (1,), segment_bytes=SEGMENT_BYTES)
    appender = open_appender(disk, segment_bytes=SEGMENT_BYTES)
    start = places[-1].end
    filler = b"f" * (SECTOR_BYTES - BLOCK_HEADER_BYTES - RECORD_HEADER_BYTES)
    append_block(appender, [Record(2, appender.time_ns, filler + block, b"")])
    data = bytearray(disk.contents(FIRST_NAME))
    assert data[start + SECTOR_BYTES :].startswith(block)
    data[start : start + SECTOR_BYTES] = bytes(SECTOR_BYTES)
    image = disk_with(FIRST_NAME, bytes(data))
    reader = JournalReader(image)
    assert list(reader) == written
    assert reader.end().torn is not None
