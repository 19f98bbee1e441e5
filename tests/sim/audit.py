"""After the last crash: the disk alone, beside what was lived and what clients know."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from dex.orders.v1 import signed_payload_pb2 as wire
from dexruntime.journal import JournalDamaged, JournalEnd, read_journal
from dexruntime.journal.segment import list_segments
from dexruntime.recovery import recover
from dexruntime.storage import SECTOR_BYTES
from tests.sim.client import MARKET
from tests.sim.disk import SimulatedDisk
from tests.sim.node import IDENTITY
from tests.sim.witness import Applied, Fill, Finding, Terms, Witness
from tests.unit.runtime.shards import fingerprint

if TYPE_CHECKING:
    from tests.sim.client import Client

TERMS: Final = Terms(
    MARKET.base_asset_id,
    MARKET.quote_asset_id,
    MARKET.message.base_atoms_per_lot,
    MARKET.message.quote_atoms_per_tick_lot,
    MARKET.message.maker_fee_ppm,
    MARKET.message.taker_fee_ppm,
)
DAMAGES: Final = 2


class Lived(NamedTuple):
    """What the node told last, while it lived."""

    event_hash: bytes
    sequence: int
    trades: list[Fill]
    owned: dict[tuple[str, str], int]


def check_owned(witness: Witness, clients: Sequence[Client], lived: Lived) -> None:
    """Every balance is what the client's own knowledge adds up to."""
    names = {client.session.account_id: client.name for client in clients}
    transfers = []
    for data, sender in witness.owner_of_payload.items():
        payload = wire.Payload.FromString(data)
        if payload.WhichOneof("action") == "transfer":
            transfer = payload.transfer
            to = names[transfer.to_account_id]
            transfers.append((data, sender, to, transfer.asset_id, transfer.amount_atoms))
    expected = witness.balances(lived.trades, TERMS, transfers)
    if lived.owned != expected:
        wrong = {key: (lived.owned.get(key), expected[key]) for key in expected}
        raise Finding(f"balances, told and expected: {wrong}")


def audit(disk: SimulatedDisk, witness: Witness, lived: Lived, seed: object) -> Counter[str]:
    """Read everything back from what a power failure left; raises Finding."""
    disk.restart()
    records = {record.sequence: record for record in read_journal(disk)}
    for payload, answer in witness.answers.items():
        if not isinstance(answer, Applied):
            continue
        record = records.get(answer.sequence)
        if record is None:
            raise Finding(f"an acknowledged command is gone: {answer}")
        if wire.SignedEnvelope.FromString(record.envelope).payload != payload:
            raise Finding(f"another command stands where this one was acknowledged: {answer}")
    quick, full = recover(disk, IDENTITY), recover(disk, IDENTITY, use_snapshot=False)
    if full.exchange.event_hash != lived.event_hash or len(records) != lived.sequence:
        raise Finding(
            f"the journal of {len(records)} records does not replay to what was lived "
            f"up to {lived.sequence}"
        )
    if fingerprint(quick) != fingerprint(full):
        raise Finding(f"the snapshot of {quick.snapshot_sequence} and the journal differ")
    sums: Counter[str] = Counter()
    for cells in full.exchange.ledger.cells.values():
        for cell in cells.values():
            sums[cell.asset.asset_id] += cell.available + cell.held
    if any(sums.values()):
        raise Finding(f"the ledger does not sum to zero: {dict(sums)}")
    counts = Counter(records=len(records), recovered_from_snapshot=quick.snapshot_sequence > 0)
    chance = random.Random(f"{seed} damage")
    for _ in range(DAMAGES):
        counts[f"damage found: {_spoil(disk, full.end, chance)}"] += 1
    return counts


def _spoil(disk: SimulatedDisk, end: JournalEnd, chance: random.Random) -> str:
    """Damage what was durable, see that it is found, and undo it; returns the kind of damage.

    The last block may only lose bits: a sector of it that is missing looks like a write that a
    crash cut short (docs/reference/journal-format.md).
    """
    segments = [segment.name for segment in list_segments(disk)]
    name = chance.choice(segments)
    sound = disk.contents(name)
    is_last = name == end.name
    written = end.offset if is_last else len(sound)
    whole = (end.last_block if is_last else written) // SECTOR_BYTES
    kinds = ["flipped bit"] + (["lost write", "misdirected write"] if whole > 1 else [])
    kind = chance.choice(kinds)
    spoilt = bytearray(sound)
    if kind == "flipped bit":
        spoilt[chance.randrange(written)] ^= 1 << chance.randrange(8)
    else:
        at = chance.randrange(whole) * SECTOR_BYTES
        source = chance.randrange(whole) * SECTOR_BYTES
        blank = bytes(SECTOR_BYTES)
        sector = blank if kind == "lost write" else sound[source : source + SECTOR_BYTES]
        spoilt[at : at + SECTOR_BYTES] = sector
    disk.put(name, bytes(spoilt))
    try:
        for _ in read_journal(disk):
            pass
    except JournalDamaged:
        return kind
    finally:
        disk.put(name, sound)
    if spoilt == sound:
        return "none (the same bytes)"
    raise Finding(f"{kind} in {name} was not found")
