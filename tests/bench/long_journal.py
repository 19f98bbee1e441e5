"""A journal of many commands, made as a node would have: ``python -m tests.bench.long_journal N``.

Makers and takers of tests.bench.core_apply, one signed order a command, applied as they are made
so that cancels find their orders; 5,000 commands a second of exchange time in batches of 25,
payloads valid for 30 s, envelopes of random bytes of usual length. Kept under build/ and made again
only when the code that shapes it has changed.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from dexcore.commands import CreateMarket, OrderCommand, encode_command
from dexruntime.journal import Identity, JournalReader
from dexruntime.journal.appender import BlockAppender
from dexruntime.journal.format import FORMAT_VERSION, encode_records
from dexruntime.storage import PosixStorage, StorageFile
from tests.bench.bench_node import NETWORK_ID
from tests.bench.core_apply import MARKET, Maker
from tests.unit.core.exchanges import SECOND_NS, START_NS, World, cancel, orders

IDENTITY: Final = Identity(NETWORK_ID, 0, 1)
ROOT: Final = Path("build/journals")
COMMANDS_PER_SECOND: Final = 5_000
COMMANDS_PER_BATCH: Final = 25
LIFETIME_NS: Final = 30 * SECOND_NS
MAKERS: Final = 16
QUOTES_MAX: Final = 200
# A payload, its signature and key: what a single order takes on the wire.
ENVELOPE_BYTES: Final = 210
BATCHES_PER_BLOCK: Final = 8
# Files whose change makes another journal.
SHAPED_BY: Final = ("tests/bench/long_journal.py", "tests/bench/core_apply.py")
Record = tuple[int, int, bytes, bytes]


class _UnsyncedFile:
    """A file that leaves syncing to the system: this journal is a measuring piece."""

    def __init__(self, file: StorageFile) -> None:
        self._file = file

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def datasync(self) -> None:
        """Nothing."""


class _UnsyncedStorage(PosixStorage):
    def open(self, name: str, access: str = "read") -> StorageFile:  # type: ignore[override]
        return _UnsyncedFile(super().open(name, access))  # type: ignore[arg-type, return-value]


def batches(commands: int) -> Iterator[list[Record]]:
    """The records of one moment after the other."""
    chance = random.Random(1)
    world = World()
    world.do(CreateMarket("operator", MARKET))
    makers = [Maker(chance, world.open_account(10**15)) for _ in range(MAKERS)]
    yield [(n, time_ns, encode_command(each), b"") for n, time_ns, each in world.journal]
    exchange, middle, done = world.exchange, 50_000, 0
    while done < commands:
        now_ns = START_NS + done * (SECOND_NS // COMMANDS_PER_SECOND)
        middle += chance.randint(-1, 1)
        rows: list[Record] = []
        for _ in range(min(COMMANDS_PER_BATCH, commands - done)):
            maker = chance.choice(makers)
            done += 1
            # Whoever quotes too much takes the oldest back, so that the book keeps its size.
            is_full = len(maker.quotes) > QUOTES_MAX
            item = cancel(client_id=maker.quotes.pop(0)) if is_full else maker.item(middle)
            command: OrderCommand = orders(
                maker.trader, done, [item], now_ns=now_ns, lifetime_ns=LIFETIME_NS
            )
            sequence = exchange.sequence + 1
            exchange.apply(sequence, now_ns, command)
            rows.append(
                (sequence, now_ns, encode_command(command), chance.randbytes(ENVELOPE_BYTES))
            )
        yield rows


def make(commands: int, say: Callable[[str], None]) -> Path:
    """The folder of a journal of so many order commands; makes it where it is not there yet."""
    code = b"".join(Path(path).read_bytes() for path in SHAPED_BY)
    stamp = blake2b(code + bytes([FORMAT_VERSION]), digest_size=6).hexdigest()
    folder = ROOT / f"{commands}-{stamp}"
    done_mark = folder / "made"
    if done_mark.exists():
        return folder
    for old in ROOT.glob(f"{commands}-*"):
        shutil.rmtree(old)
    folder.mkdir(parents=True)
    storage = _UnsyncedStorage(folder)
    reader = JournalReader(storage)
    list(reader)
    appender = BlockAppender(storage, reader.end(), IDENTITY)
    appender.prepare_spare()
    block: list[Record] = []
    shown = time.monotonic()
    for number, rows in enumerate(batches(commands)):
        block += rows
        if number % BATCHES_PER_BLOCK == 0:
            _append(appender, block)
            block = []
        if time.monotonic() > shown + 10:
            shown = time.monotonic()
            say(f"making a journal: {appender.sequence:,} of {commands:,} commands")
    _append(appender, block)
    appender.close()
    done_mark.touch()
    return folder


def _append(appender: BlockAppender, rows: list[Record]) -> None:
    if not rows:
        return
    encoded, sequence, time_ns, chain = encode_records(
        rows, sequence=appender.sequence, time_ns=appender.time_ns, chain=appender.chain
    )
    appender.append(
        b"".join(encoded),
        record_count=len(encoded),
        sequence=sequence,
        time_ns=time_ns,
        chain=chain,
    )
    if not appender.spare_bytes:
        appender.prepare_spare()


def main() -> None:
    """Make one."""
    print(make(int(sys.argv[1]), lambda line: print(line, file=sys.stderr, flush=True)))


if __name__ == "__main__":
    main()
