"""What was durable and has changed is found, wherever it is, and never repaired in silence."""

from __future__ import annotations

import random

import pytest

from dexruntime.journal import (
    FormatUnsupported,
    JournalDamaged,
    JournalError,
    JournalReader,
    SequenceRemoved,
    read_journal,
    verify,
)
from dexruntime.journal import format as journal_format
from dexruntime.journal.segment import list_segments, segment_name
from dexruntime.storage import SECTOR_BYTES
from tests.sim.disk import SimulatedDisk
from tests.unit.journal.journals import (
    FIRST_NAME,
    IDENTITY,
    disk_with,
    open_appender,
    seed_of,
    write_journal,
)


def read_until_error(
    disk: SimulatedDisk,
) -> tuple[list[journal_format.Record], JournalError | None]:
    records = []
    try:
        for record in read_journal(disk):
            records.append(record)  # noqa: PERF402  what came before the error is wanted
    except JournalError as error:
        return records, error
    return records, None


def read_until_damage(disk: SimulatedDisk) -> tuple[list[journal_format.Record], JournalDamaged]:
    records, error = read_until_error(disk)
    assert isinstance(error, JournalDamaged)
    return records, error


def test_every_flipped_bit_is_found() -> None:
    chance = random.Random(seed_of("every_flipped_bit"))
    disk, written, places = write_journal(chance, (1, 3, 1), segment_bytes=4096, bytes_max=60)
    data = disk.contents(FIRST_NAME)
    end = places[-1].end
    assert end < len(data)
    image = disk_with(FIRST_NAME, data)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        image.put(FIRST_NAME, bytes(flipped))
        report = verify(image)
        if bit // 8 < end:
            assert report.damage is not None, f"bit {bit} was not found"
            if bit % 16 == 0:
                assert read_until_error(image)[0] == written[: report.last_sequence]
        else:
            # Past the end nothing was ever durable: a stray byte is cut, no record with it.
            assert report.damage is None
            assert report.torn is not None
            assert report.records == len(written)


def test_damage_says_where_and_opening_for_writing_changes_nothing() -> None:
    disk, written, places = write_journal(random.Random(1), (2, 2, 2), segment_bytes=8192)
    data = bytearray(disk.contents(FIRST_NAME))
    data[places[1].start + 100] ^= 4
    image = disk_with(FIRST_NAME, bytes(data))
    records, damage = read_until_damage(image)
    assert records == written[:2]
    assert (damage.name, damage.offset, damage.sequence) == (FIRST_NAME, places[1].start, 2)
    with pytest.raises(JournalDamaged):
        open_appender(image, segment_bytes=8192)
    assert image.contents(FIRST_NAME) == bytes(data)
    assert image.calls == []


def rearranged(data: bytes, pieces: list[bytes]) -> SimulatedDisk:
    body = b"".join(pieces)
    return disk_with(FIRST_NAME, (data[:SECTOR_BYTES] + body).ljust(len(data), b"\0"))


def test_swapped_duplicated_dropped_and_stale_blocks_are_found() -> None:
    disk, written, places = write_journal(random.Random(2), (2, 2, 2, 2), segment_bytes=16384)
    data = disk.contents(FIRST_NAME)
    first, second, third, fourth = (data[place.start : place.end] for place in places)
    cases = {
        "swapped": ([first, third, second, fourth], 2),
        "swapped at the end": ([first, second, fourth, third], 4),
        "duplicated": ([first, second, second, third, fourth], 4),
        "duplicated at the end": ([first, second, third, fourth, fourth], 8),
        "stale at the end": ([first, second, third, fourth, first], 8),
        "dropped": ([first, third, fourth], 2),
        "dropped and blank": ([first, bytes(len(second)), third, fourth], 2),
    }
    for name, (pieces, sound) in cases.items():
        records, _ = read_until_damage(rearranged(data, pieces))
        assert records == written[:sound], name


def test_two_records_swapped_within_their_block_are_found() -> None:
    chance = random.Random(3)
    disk, _, places = write_journal(chance, (1, 1), segment_bytes=8192)
    records = [
        journal_format.Record(sequence, 0, b"command" * 4, b"envelope") for sequence in (3, 4)
    ]
    appender = open_appender(disk, segment_bytes=8192)
    encoded, _, time_ns, chain = journal_format.encode_records(
        [record._replace(time_ns=appender.time_ns) for record in records],
        sequence=2,
        time_ns=appender.time_ns,
        chain=appender.chain,
    )
    swapped = encoded[0][:8] + encoded[1][8:] + encoded[1][:8] + encoded[0][8:]
    appender.append(swapped, record_count=2, sequence=4, time_ns=time_ns, chain=chain)
    found, damage = read_until_damage(disk)
    assert (len(found), damage.offset) == (2, places[-1].end)


def test_a_block_of_another_segment_is_not_evidence_and_not_accepted() -> None:
    disk, written, places = write_journal(random.Random(4), (2, 2), segment_bytes=8192)
    other, _, other_places = write_journal(random.Random(5), (1, 1, 1, 1), segment_bytes=16384)
    block = other.contents(FIRST_NAME)[other_places[2].start : other_places[2].end]
    data = bytearray(disk.contents(FIRST_NAME))
    data[places[-1].end : places[-1].end + len(block)] = block
    records, damage = read_until_damage(disk_with(FIRST_NAME, bytes(data)))
    assert (records, damage.offset) == (written, places[-1].end)


@pytest.fixture
def many_segments() -> tuple[SimulatedDisk, list[journal_format.Record]]:
    disk, written, _ = write_journal(random.Random(6), [3] * 30, segment_bytes=8192)
    assert len(list_segments(disk)) >= 4
    return disk, written


def test_a_missing_segment_is_found(
    many_segments: tuple[SimulatedDisk, list[journal_format.Record]],
) -> None:
    disk, _ = many_segments
    names = [segment.name for segment in list_segments(disk)]
    disk.remove(names[1])
    assert "is missing" in read_until_damage(disk)[1].reason
    disk.remove(names[0])
    with pytest.raises(SequenceRemoved):
        list(read_journal(disk, 1))


def test_damage_at_the_end_of_an_earlier_segment_is_never_a_torn_tail(
    many_segments: tuple[SimulatedDisk, list[journal_format.Record]],
) -> None:
    disk, _ = many_segments
    second = list_segments(disk)[1]
    data = disk.contents(FIRST_NAME)
    end = len(data.rstrip(b"\0"))
    disk.put(FIRST_NAME, data[: end - 100] + bytes(len(data) - end + 100))
    damage = read_until_damage(disk)[1]
    assert damage.name == FIRST_NAME
    assert damage.sequence < second.first_sequence - 1


def test_a_stray_byte_after_the_end_of_an_earlier_segment_is_found(
    many_segments: tuple[SimulatedDisk, list[journal_format.Record]],
) -> None:
    disk, _ = many_segments
    for segment in list_segments(disk)[:-1]:
        data = bytearray(disk.contents(segment.name))
        if not any(data[-SECTOR_BYTES:]):
            break
    assert not any(data[-SECTOR_BYTES:])
    data[-1] = 1
    disk.put(segment.name, bytes(data))
    assert "not blank" in read_until_damage(disk)[1].reason


def test_a_shortened_or_renamed_segment_is_found(
    many_segments: tuple[SimulatedDisk, list[journal_format.Record]],
) -> None:
    disk, _ = many_segments
    last = list_segments(disk)[-1]
    data = disk.contents(last.name)
    disk.put(last.name, data[:-SECTOR_BYTES])
    assert "of its" in read_until_damage(disk)[1].reason
    disk.put(last.name, data)
    before = list_segments(disk)[-2]
    disk.put(before.name, data)
    assert "another first sequence" in read_until_damage(disk)[1].reason


def test_a_rewritten_and_rehashed_first_record_breaks_the_chain_of_the_next_segment(
    many_segments: tuple[SimulatedDisk, list[journal_format.Record]],
) -> None:
    disk, written = many_segments
    forged_disk, _, _ = write_journal(random.Random(7), [3] * 30, segment_bytes=8192)
    disk.put(FIRST_NAME, forged_disk.contents(FIRST_NAME))
    damage = read_until_damage(disk)[1]
    assert "missing" in damage.reason or "chain" in damage.reason or damage.offset > 0
    assert verify(disk).last_sequence < len(written)


def test_a_newer_format_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = journal_format.FORMAT_VERSION + 1
    monkeypatch.setattr(journal_format, "FORMAT_VERSION", newer)
    disk, _, _ = write_journal(random.Random(8), (1,), segment_bytes=8192)
    monkeypatch.undo()
    with pytest.raises(FormatUnsupported, match=f"version {newer}"):
        list(read_journal(disk))


def test_a_reader_that_must_reach_a_sequence_refuses_a_journal_that_ends_before() -> None:
    disk, _, _ = write_journal(random.Random(9), (4,), segment_bytes=8192)
    for from_sequence in (1, 4, 5):
        reader = JournalReader(disk, from_sequence)
        assert [r.sequence for r in reader] == list(range(from_sequence, 5))
        assert reader.end().sequence == 4
    reader = JournalReader(disk, 6)
    assert list(reader) == []
    with pytest.raises(JournalDamaged, match="5 was durable"):
        reader.end()


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (IDENTITY._replace(network_id="triodex-other"), "of another network or shard"),
        (IDENTITY._replace(shard=IDENTITY.shard + 1), "of another network or shard"),
        (IDENTITY._replace(epoch=IDENTITY.epoch - 1), "of an earlier epoch"),
        (IDENTITY._replace(epoch=IDENTITY.epoch + 1), ""),
        (IDENTITY, ""),
    ],
)
def test_a_segment_that_does_not_belong_there_is_found(
    identity: journal_format.Identity, reason: str
) -> None:
    # It continues the chain and has no block yet, so that its identity alone is wrong.
    disk, written, _ = write_journal(random.Random(1), (2,), segment_bytes=4096)
    reader = JournalReader(disk)
    assert list(reader) == written
    end = reader.end()
    header = journal_format.encode_segment_header(
        identity,
        first_sequence=end.sequence + 1,
        previous_time_ns=end.time_ns,
        previous_chain=end.chain,
        segment_bytes=4096,
        salt=bytes(range(journal_format.SALT_BYTES)),
    )
    disk.put(segment_name(end.sequence + 1), header.ljust(4096, b"\0"))
    records, error = read_until_error(disk)
    assert records == written
    message = "" if error is None else str(error)
    assert reason in message
    assert (error is None) == (reason == "")
