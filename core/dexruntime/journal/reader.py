"""Reading a journal: every byte is checked on the way, nothing is changed.

Theory of operation. A reader walks the blocks of one segment after another and holds the chain
hash, so that it can only ever go on with the record that was written next. Where no sound block
stands it asks, in this order: does a later segment exist (then this one must be blank from here
on), or is this the end (then ``judge_tail`` decides between end, torn tail and damage).

It also follows the files of a live node. There a block may be half written while it is read, so
a verdict is given only after the same bytes were read again. ``iter(reader)`` goes on where the
last iteration ended. What it finds at the end of a live journal may not be durable yet: whoever
acts on it must bound it by the writer's ``durable_sequence``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dexruntime.journal.errors import JournalDamaged, JournalError, SequenceRemoved
from dexruntime.journal.format import (
    BLOCK_HEADER_BYTES,
    END_MARK,
    FIRST_BLOCK_OFFSET,
    FormatError,
    Record,
    SegmentHeader,
    decode_block_header,
    decode_records,
    genesis_chain,
)
from dexruntime.journal.segment import (
    SegmentName,
    TornTail,
    judge_tail,
    list_segments,
    read_segment_header,
)
from dexruntime.storage import Storage, StorageFile

_CHUNK_BYTES = 1 << 20


class JournalEnd(NamedTuple):
    """Where a journal ends and a writer goes on; ``header`` is None while there is no segment.

    ``offset`` is where the next block goes, ``last_block`` where the last one starts (0: none).
    """

    header: SegmentHeader | None
    name: str
    offset: int
    last_block: int
    sequence: int
    time_ns: int
    chain: bytes
    torn: TornTail | None


class Report(NamedTuple):
    """What ``verify`` found. ``damage`` is the error that ended it, None if all is sound."""

    segments: int
    first_sequence: int
    last_sequence: int
    records: int
    chain: bytes
    torn: TornTail | None
    damage: JournalError | None


class JournalReader:
    """Iterates over the records from ``from_sequence`` on, oldest first.

    Raises, while iterating: JournalDamaged, FormatUnsupported, SequenceRemoved. ``sequence``,
    ``time_ns`` and ``chain`` tell of the block last read; ``end()`` of the whole, once exhausted.
    """

    def __init__(self, storage: Storage, from_sequence: int = 1) -> None:
        self._storage = storage
        self._from = from_sequence
        self._segment = SegmentName(0, "")
        self._header: SegmentHeader | None = None
        self._file: StorageFile | None = None
        self._offset = 0
        self._last_block = 0
        self._chunk = b""
        self._chunk_start = 0
        self._torn: TornTail | None = None
        self.sequence = 0
        self.time_ns = 0
        self.chain = b""

    def __iter__(self) -> Iterator[Record]:
        """Yield records up to the present end; iterate again to go on from there."""
        if self._file is None and not self._open_first():
            return
        while True:
            records = self._next_block()
            if records is None:
                if not self._open_next():
                    return
            elif records[0].sequence >= self._from:
                yield from records
            elif records[-1].sequence >= self._from:
                yield from records[self._from - records[0].sequence :]

    def end(self) -> JournalEnd:
        """Where the journal ends; only after an iteration ran to its end.

        Raises JournalDamaged if that is before ``from_sequence - 1``: a snapshot knows more.
        """
        if self.sequence < self._from - 1:
            raise self._damaged(f"the journal ends here, but {self._from - 1} was durable")
        return JournalEnd(
            self._header,
            self._segment.name,
            self._offset,
            self._last_block,
            self.sequence,
            self.time_ns,
            self.chain,
            self._torn,
        )

    def close(self) -> None:
        """Close the file it reads."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open_first(self) -> bool:
        segments = list_segments(self._storage)
        if not segments:
            return False
        candidates = [item for item in segments if item.first_sequence <= self._from]
        if not candidates:
            raise SequenceRemoved(self._from, segments[0].first_sequence)
        self._open(candidates[-1])
        header = self._sound_header()
        self.sequence = header.first_sequence - 1
        self.time_ns = header.previous_time_ns
        self.chain = header.previous_chain
        if header.first_sequence == 1 and self.chain != genesis_chain(header.identity):
            raise self._damaged("chain does not begin at the genesis of its network and shard")
        return True

    def _open_next(self) -> bool:
        """Go on to the segment after this one, if there is one; else judge the end."""
        later = [item for item in list_segments(self._storage) if item > self._segment]
        if self._next_is_sound():
            return True
        if not later:
            self._torn = self._judge()
            return False
        if self._judge() is not None:
            raise self._damaged("segment is not blank up to its end, yet a later one exists")
        self._open_later(later[0])
        return True

    def _open_later(self, segment: SegmentName) -> None:
        before = self._sound_header()
        if segment.first_sequence != self.sequence + 1:
            reason = f"next segment is {segment.name}: {self.sequence + 1} is missing"
            raise self._damaged(reason)
        self._open(segment)
        header = self._sound_header()
        if header.identity[:2] != before.identity[:2]:
            raise self._damaged("segment is of another network or shard")
        if header.identity.epoch < before.identity.epoch:
            raise self._damaged("segment is of an earlier epoch than the one before it")
        if header.previous_chain != self.chain or header.previous_time_ns != self.time_ns:
            raise self._damaged("segment does not continue the chain of the one before it")

    def _open(self, segment: SegmentName) -> None:
        self.close()
        self._segment = segment
        self._file = self._storage.open(segment.name)
        self._offset = self._last_block = 0
        self._chunk = b""
        self._header = read_segment_header(self._file, segment, self.sequence)
        self._offset = FIRST_BLOCK_OFFSET

    def _next_block(self) -> list[Record] | None:
        """Read the block at the offset and step past it; None if there is no sound one."""
        header = self._sound_header()
        data, start = self._at(BLOCK_HEADER_BYTES)
        block = decode_block_header(data, start, header.checksum)
        if block is None or self._offset + block.block_bytes() > header.segment_bytes:
            return None
        if block.first_sequence != self.sequence + 1:
            reason = f"block begins at sequence {block.first_sequence}"
            raise self._damaged(reason)
        size = block.block_bytes()
        data, start = self._at(size)
        body_start = start + BLOCK_HEADER_BYTES
        body_end = body_start + block.body_bytes
        tail = data[body_end : start + size]
        if tail != END_MARK.ljust(len(tail), b"\0"):
            return None
        try:
            records, chain = decode_records(
                data[body_start:body_end],
                sequence=self.sequence,
                time_ns=self.time_ns,
                chain=self.chain,
            )
        except FormatError:
            return None
        if chain != block.chain or len(records) != block.record_count or not records:
            return None
        self._last_block = self._offset
        self._offset += size
        self.sequence, self.time_ns, self.chain = records[-1].sequence, records[-1].time_ns, chain
        return records

    def _at(self, length: int) -> tuple[bytes, int]:
        """Bytes that hold ``[offset, offset + length)``, and where in them it starts."""
        start = self._offset - self._chunk_start
        if start < 0 or start + length > len(self._chunk):
            self._chunk = self._open_file().read(self._offset, max(length, _CHUNK_BYTES))
            self._chunk_start = self._offset
            start = 0
        return self._chunk, start

    def _next_is_sound(self) -> bool:
        """Whether a fresh look finds a block now; a live writer may just have finished it."""
        self._chunk = b""
        before = self.sequence, self.time_ns, self.chain, self._offset, self._last_block
        sound = self._next_block() is not None
        self.sequence, self.time_ns, self.chain, self._offset, self._last_block = before
        return sound

    def _judge(self) -> TornTail | None:
        """Judge the tail; a verdict of damage stands only if a second look agrees."""
        arguments = self._sound_header(), self._segment.name, self._offset, self.sequence
        try:
            return judge_tail(self._open_file(), *arguments)
        except JournalDamaged:
            if self._next_is_sound():
                return None
            return judge_tail(self._open_file(), *arguments)

    def _sound_header(self) -> SegmentHeader:
        if self._header is None:
            raise self._damaged("no segment is open")
        return self._header

    def _open_file(self) -> StorageFile:
        if self._file is None:
            raise self._damaged("no segment is open")
        return self._file

    def _damaged(self, reason: str) -> JournalDamaged:
        return JournalDamaged(self._segment.name, self._offset, self.sequence, reason)


def read_journal(storage: Storage, from_sequence: int = 1) -> Iterator[Record]:
    """Yield the records from ``from_sequence`` on; JournalReader says what it raises."""
    reader = JournalReader(storage, from_sequence)
    try:
        yield from reader
    finally:
        reader.close()


def verify(storage: Storage) -> Report:
    """Check every byte of every segment; never raises for what it finds in them."""
    segments = list_segments(storage)
    first = segments[0].first_sequence if segments else 1
    reader = JournalReader(storage, first)
    records = 0
    damage: JournalError | None = None
    try:
        for _ in reader:
            records += 1
    except JournalError as error:
        damage = error
    finally:
        reader.close()
    end = reader.end()
    return Report(len(segments), first, end.sequence, records, end.chain, end.torn, damage)
