"""Records: what the journal's files and the core's codecs read back.

Garbage parses to what would be written again as the same bytes, or raises the codec's own error;
nothing passes without the checksum, the chain and the digest of its bytes; and files sealed anew
over nonsense are refused by name.
"""

from __future__ import annotations

import random
import struct
import zlib
from hashlib import blake2b

from dexcore.codec import CodecError
from dexcore.commands import (
    COMMAND_TYPES,
    RULES,
    OrderCommand,
    UnknownCommand,
    decode_command,
    encode_command,
)
from dexkline import KlineBook, TradeColumns
from dexruntime.journal import JournalError, JournalReader, Record
from dexruntime.journal import format as journal_format
from dexruntime.journal.format import BLOCK_HEADER_BYTES, CHAIN_BYTES, FormatError
from dexruntime.snapshot_file import decode_snapshot, encode_snapshot
from tests.fuzz.family import Family, Target
from tests.fuzz.memory import OneFile
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import small_world
from tests.unit.journal.journals import FIRST_NAME, IDENTITY, make_records
from tests.unit.journal.test_snapshot_file import make_snapshot

SEGMENT_BYTES = 4096
CHAIN = bytes(CHAIN_BYTES)
SLOTS = ("command", "records", "headers", "segment", "snapshot", "columns", "command", "resealed")


class Sound:
    """What was really written, to compare with whatever is taken."""

    def __init__(self) -> None:
        chain = journal_format.genesis_chain(IDENTITY)
        self.header = journal_format.encode_segment_header(
            IDENTITY,
            first_sequence=1,
            previous_time_ns=0,
            previous_chain=chain,
            segment_bytes=SEGMENT_BYTES,
            salt=b"saltsalt",
        )
        self.checksum = journal_format.decode_segment_header(self.header).checksum
        self.records = make_records(random.Random(1), 6, bytes_max=60)
        self.blocks = []
        blocks = []
        for part in (self.records[:1], self.records[1:3], self.records[3:]):
            first = part[0].sequence
            encoded, _, _, chain = journal_format.encode_records(
                part, sequence=first - 1, time_ns=0, chain=chain
            )
            blocks.append(
                journal_format.encode_block(
                    b"".join(encoded),
                    record_count=len(part),
                    first_sequence=first,
                    chain=chain,
                    segment_checksum=self.checksum,
                )
            )
            self.blocks.append(blocks[-1][:BLOCK_HEADER_BYTES])
        self.segment = (self.header + b"".join(blocks)).ljust(SEGMENT_BYTES, b"\0")
        self.snapshots = [encode_snapshot(make_snapshot(n), compress=n % 2 == 0) for n in (1, 2)]
        self.bodies: dict[bytes, bytes] = {}
        for seed in range(6):
            rows = make_records(random.Random(seed), 1 + seed % 3, bytes_max=60)
            encoded, _, _, after = journal_format.encode_records(
                rows, sequence=0, time_ns=0, chain=CHAIN
            )
            self.bodies[after] = b"".join(encoded)


def command(data: bytes) -> bool:
    """The canonical command codec: what it takes, it gives back byte for byte.

    A command of an older version comes back in today's, which means the same; orders of an older
    version keep their rules, and are only read.
    """
    try:
        decoded = decode_command(data)
    except (CodecError, UnknownCommand):
        return False
    if isinstance(decoded, OrderCommand) and decoded.rules != RULES:
        assert data[1] < COMMAND_TYPES[OrderCommand].version
        return True
    again = encode_command(decoded)
    if again[:2] == data[:2]:
        assert again == data, "a command has two spellings"
    else:
        assert (again[0], decode_command(again)) == (data[0], decoded), (
            "a command changes its sense"
        )
        assert again[1] > data[1]
    return True


def columns(data: bytes) -> bool:
    """Checkpoints of K-lines and trades, which a snapshot carries."""
    kind = KlineBook if data[:1] == b"k" else TradeColumns
    try:
        restored = kind.restore(data[1:])
    except ValueError:
        return False
    assert restored.checkpoint() == data[1:], "a checkpoint has two spellings"
    return True


def resealed(data: bytes) -> bool:
    """Nonsense under a good checksum: a snapshot or a segment header of broken software."""
    body = data[1:]
    try:
        if data[:1] == b"s":
            decode_snapshot(body + blake2b(body, digest_size=16).digest(), "snapshot")
        else:
            body = body[:508].ljust(508, b"\0")
            journal_format.decode_segment_header(body + struct.pack("<I", zlib.crc32(body)))
    except (FormatError, JournalError):
        return False
    return True


class Files:
    """What each handler needs, and the handlers."""

    def __init__(self) -> None:
        self.sound = Sound()

    def records(self, data: bytes) -> bool:
        """Records of a block: only an untouched body has the chain hash of its header."""
        try:
            _, after = journal_format.decode_records(data, sequence=0, time_ns=0, chain=CHAIN)
        except FormatError:
            return False
        assert self.sound.bodies.get(after, data) == data, "other records have the same chain hash"
        return after in self.sound.bodies

    def headers(self, data: bytes) -> bool:
        """Segment and block headers: what is taken has the checksum of every byte it says.

        Coverage lets the fuzzer see what a checksum is compared with, and so forge one; that
        nothing forged is read is what the chain is for, and handler ``segment``.
        """
        header = data[1:]
        try:
            if data[:1] == b"s":
                journal_format.decode_segment_header(header)
                said, checksum = header[508:512], zlib.crc32(header[:508])
            elif journal_format.decode_block_header(header, 0, self.sound.checksum) is None:
                return False
            else:
                said, checksum = header[36:40], zlib.crc32(header[:36], self.sound.checksum)
        except FormatError:
            return False
        assert said == checksum.to_bytes(4, "little"), "a changed header was taken"
        return True

    def segment(self, data: bytes) -> bool:
        """A whole segment: it gives the records that were written, up to a torn tail, or damage."""
        reader = JournalReader(OneFile(FIRST_NAME, data))
        read: list[Record] = []
        try:
            read += reader
            end = reader.end()
        except JournalError:
            return False
        assert read == self.sound.records[: len(read)], "a record was read that nobody wrote"
        return end.torn is None

    def snapshot(self, data: bytes) -> bool:
        """A snapshot: what is taken has the digest of its bytes."""
        try:
            decode_snapshot(data, "snapshot")
        except JournalError:
            return False
        digest = blake2b(data[:-16], digest_size=16).digest()
        assert data[-16:] == digest, "a changed snapshot was taken"
        return True


def make() -> Target:
    """All handlers."""
    on = Files()
    return Target(
        SLOTS,
        {
            "command": command,
            "records": on.records,
            "headers": on.headers,
            "segment": on.segment,
            "snapshot": on.snapshot,
            "columns": columns,
            "resealed": resealed,
        },
    )


def seeds(target: Target) -> list[bytes]:
    """What was written by the code itself."""
    sound = Sound()
    world = small_world()
    maker = CommandMaker(random.Random(1), world.exchange, world.traders)
    found = {type(made): made for made in (maker.next()[1] for _ in range(400))}
    inputs = [target.input_for("command", encode_command(made)) for made in found.values()]
    inputs += [target.input_for("records", body) for body in sound.bodies.values()]
    inputs += [target.input_for("headers", b"s" + sound.header)]
    inputs += [target.input_for("headers", b"b" + block) for block in sound.blocks]
    inputs += [target.input_for("segment", sound.segment)]
    inputs += [target.input_for("snapshot", data) for data in sound.snapshots]
    inputs += [target.input_for("resealed", b"s" + data[:-16]) for data in sound.snapshots]
    inputs += [target.input_for("resealed", b"j" + sound.header[:508])]
    book, trades = KlineBook(7), TradeColumns()
    book.add_trades(1, [(10**9 * n, n, 100 + n, 5) for n in range(1, 4)])
    trades.append_many([(10**9 * n, n, 100 + n, 5, 1, 9, 8) for n in range(1, 4)])
    inputs += [target.input_for("columns", b"k" + book.checkpoint())]
    return [*inputs, target.input_for("columns", b"t" + trades.checkpoint())]


FAMILY = Family(
    "Files of the journal and what is in them: read back exactly, or refused with the error of "
    "their format, and nothing passes without its checksum.",
    make,
    seeds,
    bytes_max=4200,
)
