"""Decoders of the core, the journal and the wire: spoiled input gives their own error, no other."""

from __future__ import annotations

import random
from collections.abc import Callable

from dexcore.codec import CodecError as CommandError
from dexcore.commands import decode_command, encode_command
from dexrpc.codec import Codec
from dexrpc.codec import CodecError as WireError
from dexruntime.journal import JournalError
from dexruntime.journal import format as journal_format
from dexruntime.snapshot_file import decode_snapshot, encode_snapshot
from tests.soak.mutate import mutated
from tests.unit.core.exchanges import CommandMaker, small_world
from tests.unit.journal.journals import FIRST_NAME, make_records, write_journal
from tests.unit.journal.test_snapshot_file import make_snapshot
from tests.unit.rpc.wire import CODECS, HELLO, LIMITS, RecordingSink, request

Target = Callable[[], bool]
"""Feeds one input; True if it was taken, False if it was refused as it should be."""


def commands(chance: random.Random) -> Target:
    """The canonical command codec: what it takes, it gives back byte for byte."""
    world = small_world()
    maker = CommandMaker(random.Random(1), world.exchange, world.traders)
    corpus = [encode_command(maker.next()[1]) for _ in range(400)]

    def target() -> bool:
        data = mutated(chance, corpus)
        try:
            command = decode_command(data)
        except CommandError:
            return False
        assert encode_command(command) == data
        return True

    return target


def records(chance: random.Random) -> Target:
    """The records of a journal block: only an untouched body has the chain hash of its header."""
    chain = bytes(journal_format.CHAIN_BYTES)
    sound: dict[bytes, bytes] = {}
    for seed in range(30):
        rows = make_records(random.Random(seed), 1 + seed % 5, bytes_max=80)
        encoded, _, _, after = journal_format.encode_records(
            rows, sequence=0, time_ns=0, chain=chain
        )
        sound[after] = b"".join(encoded)
    corpus = list(sound.values())

    def target() -> bool:
        data = mutated(chance, corpus)
        try:
            _, after = journal_format.decode_records(data, sequence=0, time_ns=0, chain=chain)
        except journal_format.FormatError:
            return False
        assert sound.get(after, data) == data
        return after in sound

    return target


def headers(chance: random.Random) -> Target:
    """Segment headers, block headers and snapshots: nothing changed passes its checksum."""
    disk, _, places = write_journal(random.Random(1), (1, 2, 3), segment_bytes=8192)
    data = disk.contents(FIRST_NAME)
    segment = data[: journal_format.FIRST_BLOCK_OFFSET]
    checksum = journal_format.decode_segment_header(segment).checksum
    blocks = [data[place.start : place.start + 44] for place in places]
    snapshots = [encode_snapshot(make_snapshot(n), compress=n % 2 == 0) for n in range(1, 5)]

    def target() -> bool:
        kind = chance.randrange(3)
        try:
            if kind == 0:
                spoiled = mutated(chance, [segment])
                journal_format.decode_segment_header(spoiled)
                assert spoiled[: len(segment)] == segment
            elif kind == 1:
                spoiled = mutated(chance, blocks)
                if journal_format.decode_block_header(spoiled, 0, checksum) is None:
                    return False
                assert spoiled[:44] in blocks
            else:
                spoiled = mutated(chance, snapshots)
                decode_snapshot(spoiled, "snapshot")
                assert spoiled in snapshots
        except (journal_format.FormatError, JournalError):
            return False
        return True

    return target


def http2(chance: random.Random) -> Target:
    """Both HTTP/2 codecs: any input is heard or refused, in any chunks."""
    corpus = [
        HELLO + request(1, "/a/B", b"hi"),
        HELLO + request(1, "/a/B", bytes(500), end=False) + request(3, "/c/D", None),
        HELLO + b"".join(request(n, "/a/B", b"x" * n) for n in (1, 3, 5, 7)),
    ]

    def target() -> bool:
        data = mutated(chance, corpus)
        codec: Codec = chance.choice(CODECS)(RecordingSink(), LIMITS)
        codec.start()
        try:
            while data:
                size = chance.choice((1, 9, 24, 10_000))
                codec.receive(data[:size])
                codec.take_output()
                data = data[size:]
        except WireError:
            return False
        return True

    return target
