"""Small logs and their heads for the tests beside this file."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from dex.audit.v1 import audit_pb2 as pb
from dexcore.merkle import Frontier
from dexruntime.journal import Record
from dexsdk import Head, Key, timestamp_of
from dexsdk.audit import AUDIT_DOMAIN, read_head
from tests.reference import merkle_rfc6962 as rfc

KEY = Key(bytes(range(32)))
NETWORK_ID = "triodex-test"
SHARD = 3


class ListOfHashes:
    """A tree held in memory."""

    def __init__(self, hashes: Sequence[bytes] = ()) -> None:
        self.list: list[bytes] = []
        self.frontier = Frontier()
        for each in hashes:
            self.list += self.frontier.append(each)

    def hash_at(self, position: int) -> bytes:
        return self.list[position]


def seed_of(selection: str) -> int:
    """The seed of a random test, printed with the command that replays it."""
    seed = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"replay: TEST_SEED={seed} pytest tests/unit/audit -k {selection}")
    return seed


def make_log(chance: random.Random, size: int) -> list[Record]:
    """Records as a journal has them."""
    time_ns = 10**18
    log = []
    for sequence in range(1, size + 1):
        time_ns += chance.choice((0, 1, 10**9))
        envelope = chance.randbytes(chance.choice((0, 40, 90)))
        log.append(Record(sequence, time_ns, chance.randbytes(chance.randint(2, 60)), envelope))
    return log


def sign(head: pb.TreeHead, key: Key = KEY) -> pb.SignedTreeHead:
    """A signed head."""
    data = head.SerializeToString(deterministic=True)
    return pb.SignedTreeHead(
        tree_head=data, signature=key.sign(AUDIT_DOMAIN + data), public_key=key.public_bytes
    )


def leaf_of(record: Record) -> bytes:
    """The leaf of a record, by the contract's message alone."""
    envelope = sha256(record.envelope).digest() if record.envelope else b""
    return pb.Leaf(
        sequence=record.sequence,
        time_ns=record.time_ns,
        command_digest=sha256(record.command).digest(),
        envelope_digest=envelope,
    ).SerializeToString(deterministic=True)


def head_of(log: Sequence[Record], key: Key = KEY, **other: Any) -> Head:
    """The head a node signs over a log."""
    return _head([leaf_of(record) for record in log], log[-1].time_ns, key, **other)


def heads_of(log: Sequence[Record]) -> list[Head]:
    """The heads of all sizes from 1 on."""
    leaves = [leaf_of(record) for record in log]
    return [_head(leaves[:size], log[size - 1].time_ns, KEY) for size in range(1, len(log) + 1)]


def _head(leaves: Sequence[bytes], time_ns: int, key: Key, **other: Any) -> Head:
    fields = {
        "network_id": NETWORK_ID,
        "shard": SHARD,
        "tree_size": len(leaves),
        "root_hash": rfc.mth(leaves),
        "time": timestamp_of(time_ns),
        "event_hash": bytes(32),
        **other,
    }
    return read_head(sign(pb.TreeHead(**fields), key), key.public_bytes)
