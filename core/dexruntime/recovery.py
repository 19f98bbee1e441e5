"""The one start path: newest good snapshot, then the journal's tail.

A fresh data directory, a clean stop and a crash all start here. Replay applies
the journaled commands and never verifies a signature again.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec

from dexcore.checkpoint import decode_state, encode_state, state_hash
from dexcore.exchange import Exchange
from dexkline import TradeChunk
from dexruntime.journal import Identity, JournalEnd, JournalMismatch, JournalReader
from dexruntime.journal.format import genesis_chain
from dexruntime.journal.segment import list_segments, read_segment_header
from dexruntime.records import command_of
from dexruntime.snapshot_file import Snapshot, SnapshotDamaged, newest_good_snapshot
from dexruntime.storage import Storage
from dexruntime.views import Views

_log = logging.getLogger(__name__)

PROGRESS_EVERY: Final = 10_000
Progress = Callable[[int], None]
"""Called with the sequence replayed so far: at the beginning, and now and then."""


class Recovered(NamedTuple):
    """A shard as its data directory has it."""

    exchange: Exchange
    views: Views
    end: JournalEnd
    snapshot_sequence: int
    replayed_count: int


def recover(
    storage: Storage,
    identity: Identity,
    *,
    use_snapshot: bool = True,
    progress: Progress | None = None,
    on_full: Callable[[TradeChunk], None] | None = None,
    to_sequence: int | None = None,
) -> Recovered:
    """Read the shard's state back; `on_full` may take old trades out of memory meanwhile.

    `to_sequence` is the last record of a block, no older than the newest snapshot: nothing behind
    it is looked at.

    Raises:
        JournalDamaged, FormatUnsupported: the files are not what was written.
        CommandUnreadable: a record holds a command this release does not read.
        JournalMismatch: the directory belongs to another network or shard.
        InvariantError: a replayed command contradicts the books.
    """
    with _uncollected():
        return _recover(storage, identity, use_snapshot, progress, on_full, to_sequence)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: a replay makes no cycles, and looking for them among all
    that it makes took a fifth of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _recover(
    storage: Storage,
    identity: Identity,
    use_snapshot: bool,
    progress: Progress | None,
    on_full: Callable[[TradeChunk], None] | None,
    to_sequence: int | None,
) -> Recovered:
    snapshot = newest_good_snapshot(storage) if use_snapshot else None
    if snapshot is None:
        exchange = Exchange()
        views = Views(exchange, on_full)
    else:
        _check_identity(snapshot.identity, identity)
        exchange, views = _open_snapshot(snapshot, on_full)
    base = exchange.sequence
    if progress is not None:
        progress(base)
    reader = JournalReader(storage, _first_to_read(storage, snapshot))
    try:
        apply, consume = exchange.apply, views.consume
        for record in () if to_sequence == 0 else reader:
            sequence, time_ns, _, _ = record
            if sequence > base:
                consume(sequence, apply(sequence, time_ns, command_of(record)))
            elif snapshot is not None and reader.chain != snapshot.chain_hash:
                raise JournalMismatch("the snapshot belongs to another journal")
            if progress is not None and sequence % PROGRESS_EVERY == 0:
                progress(sequence)
            if sequence == to_sequence:
                break
        end = reader.end()
    finally:
        reader.close()
    if end.header is not None:
        _check_identity(end.header.identity, identity)
    if end.sequence != exchange.sequence:
        raise JournalMismatch(f"the journal ends at {end.sequence}, before the snapshot of {base}")
    views.settle()
    exchange.ledger.audit()
    return Recovered(exchange, views, end, base, exchange.sequence - base)


def recover_to(storage: Storage, identity: Identity, sequence: int, progress: Progress) -> Exchange:
    """The state right after record `sequence`, from the journal's first record on.

    Raises what `recover` raises; JournalMismatch too when the journal ends before.
    """
    exchange = Exchange()
    reader = JournalReader(storage)
    try:
        for record in reader:
            exchange.apply(record.sequence, record.time_ns, command_of(record))
            if record.sequence % PROGRESS_EVERY == 0:
                progress(record.sequence)
            if record.sequence == sequence:
                break
        else:
            raise JournalMismatch(f"the journal ends at {exchange.sequence}, before {sequence}")
    finally:
        reader.close()
    segment = list_segments(storage)[0]
    file = storage.open(segment.name)
    try:
        _check_identity(read_segment_header(file, segment, 0).identity, identity)
    finally:
        file.close()
    exchange.ledger.audit()
    return exchange


def _first_to_read(storage: Storage, snapshot: Snapshot | None) -> int:
    """Sequence to read from so that the snapshot's chain can be held against the journal's.

    The snapshot's last record, whose block must have the chain it names; or, where the next
    record begins a segment, that one: retention may have removed what is before it.
    """
    if snapshot is None:
        return 1
    for segment in list_segments(storage):
        if segment.first_sequence == snapshot.sequence + 1:
            file = storage.open(segment.name)
            try:
                header = read_segment_header(file, segment, snapshot.sequence)
            finally:
                file.close()
            if header.previous_chain != snapshot.chain_hash:
                raise JournalMismatch("the snapshot belongs to another journal")
            return segment.first_sequence
    return max(1, snapshot.sequence)


def make_snapshot(recovered: Recovered, identity: Identity) -> Snapshot:
    """A snapshot of a shard that was recovered to the end of a journal block."""
    exchange, end = recovered.exchange, recovered.end
    state = encode_state(exchange)
    return Snapshot(
        identity,
        exchange.sequence,
        exchange.time_ns,
        # A journal without a record yet has the chain its first record will continue.
        end.chain or genesis_chain(identity),
        exchange.event_hash,
        bytes.fromhex(state_hash(state)),
        msgspec.msgpack.encode((state, recovered.views.checkpoint())),
    )


def _open_snapshot(
    snapshot: Snapshot, on_full: Callable[[TradeChunk], None] | None
) -> tuple[Exchange, Views]:
    state, views = msgspec.msgpack.decode(snapshot.body, type=tuple[bytes, bytes])
    if bytes.fromhex(state_hash(state)) != snapshot.state_hash:
        raise SnapshotDamaged("the state does not have the hash its snapshot names")
    exchange = decode_state(state)
    if exchange.event_hash != snapshot.event_hash or exchange.sequence != snapshot.sequence:
        raise SnapshotDamaged("the state is not the one its snapshot names")
    return exchange, Views.restore(exchange, views, on_full)


def _check_identity(found: Identity, wanted: Identity) -> None:
    if (found.network_id, found.shard) != (wanted.network_id, wanted.shard):
        raise JournalMismatch(
            f"the data directory belongs to network {found.network_id!r} shard {found.shard}, "
            f"not {wanted.network_id!r} shard {wanted.shard}"
        )
