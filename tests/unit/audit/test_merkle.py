"""Roots and proofs are those of RFC 6962, and whoever checks them finds every change."""

from __future__ import annotations

import random

import pytest

from dex.audit.v1 import audit_pb2 as pb
from dexcore import merkle
from dexcore.leaf import digests, encode_leaf
from dexsdk import PeerError
from dexsdk.audit import check_consistency, check_inclusion
from tests.reference import merkle_rfc6962 as rfc
from tests.unit.audit.trees import ListOfHashes, seed_of

SIZE_MAX = 1_000
LEAVES = [b"leaf %d" % number for number in range(SIZE_MAX)]
TREE = ListOfHashes([merkle.leaf_hash(leaf) for leaf in LEAVES])
# The test vectors that certificate transparency implementations share.
KNOWN_LEAVES = [
    *(b"", b"\x00", b"\x10", b"\x20\x21", b"\x30\x31", b"\x40\x41\x42\x43"),
    *(bytes(range(0x50, 0x58)), bytes(range(0x60, 0x70))),
]
KNOWN_ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def pairs(chance: random.Random, dense: int, sampled: int) -> list[tuple[int, int]]:
    """(smaller, larger): all with the larger up to `dense`, and some of the rest."""
    all_small = [(m, n) for n in range(1, dense + 1) for m in range(1, n + 1)]
    for _ in range(sampled):
        n = chance.randint(dense + 1, SIZE_MAX)
        all_small += [(chance.randint(1, n), n), (1, n), (n, n)]
    return all_small


def test_the_known_root() -> None:
    tree = ListOfHashes([merkle.leaf_hash(leaf) for leaf in KNOWN_LEAVES])
    assert merkle.root(tree, len(KNOWN_LEAVES)).hex() == KNOWN_ROOT == rfc.mth(KNOWN_LEAVES).hex()


def test_every_root_up_to_a_thousand() -> None:
    growing = ListOfHashes()
    assert merkle.root(growing, 0) == growing.frontier.root() == rfc.mth([])
    for size in range(1, SIZE_MAX + 1):
        growing.list += growing.frontier.append(merkle.leaf_hash(LEAVES[size - 1]))
        assert len(growing.list) == merkle.node_count(size)
        root = growing.frontier.root()
        assert root == merkle.root(TREE, size) == merkle.Frontier.of(TREE, size).root()
        if size <= 130 or size % 61 == 0:
            assert root == rfc.mth(LEAVES[:size])


def test_inclusion_proofs_are_those_of_the_rfc() -> None:
    for index1, size in pairs(random.Random(seed_of("inclusion")), 33, 60):
        leaves, index = LEAVES[:size], index1 - 1
        path = merkle.inclusion_path(TREE, index, size)
        assert path == rfc.path(index, leaves)
        assert len(path) <= (size - 1).bit_length()
        check_inclusion(leaves[index], index, path, size, rfc.mth(leaves))


def test_consistency_proofs_are_those_of_the_rfc() -> None:
    for first, second in pairs(random.Random(seed_of("consistency")), 33, 60):
        leaves = LEAVES[:second]
        path = merkle.consistency_path(TREE, first, second)
        assert path == rfc.proof(first, leaves)
        assert len(path) <= (second - 1).bit_length() + 1
        check_consistency(first, rfc.mth(leaves[:first]), second, rfc.mth(leaves), path)


def test_every_proof_up_to_a_thousand_leads_to_its_root() -> None:
    chance = random.Random(seed_of("every_proof"))
    roots = [merkle.root(TREE, size) for size in range(SIZE_MAX + 1)]
    for size in range(1, SIZE_MAX + 1):
        for index in {0, size - 1, *(chance.randrange(size) for _ in range(4))}:
            path = merkle.inclusion_path(TREE, index, size)
            check_inclusion(LEAVES[index], index, path, size, roots[size])
            consistency = merkle.consistency_path(TREE, index + 1, size)
            check_consistency(index + 1, roots[index + 1], size, roots[size], consistency)


def spoiled(chance: random.Random, path: list[bytes]) -> list[list[bytes]]:
    """The path with a bit flipped, with hashes dropped, doubled, swapped and added."""
    ways = [[*path, chance.randbytes(32)], [chance.randbytes(32), *path]]
    if path:
        at = chance.randrange(len(path))
        bit = 1 << chance.randrange(8)
        flipped = bytes([path[at][0] ^ bit]) + path[at][1:]
        ways += [
            [*path[:at], flipped, *path[at + 1 :]],
            [*path[:at], *path[at + 1 :]],
            [*path[: at + 1], path[at], *path[at + 1 :]],
            [*path[:at], path[at][:31], *path[at + 1 :]],
        ]
    if len(path) > 1 and path[0] != path[-1]:
        ways.append([path[-1], *path[1:-1], path[0]])
    return ways


def test_a_spoiled_inclusion_proof_is_refused() -> None:
    chance = random.Random(seed_of("spoiled_inclusion"))
    for _ in range(300):
        size = chance.randint(1, SIZE_MAX)
        index = chance.randrange(size)
        root, leaf = merkle.root(TREE, size), LEAVES[index]
        path = merkle.inclusion_path(TREE, index, size)
        wrong = [(leaf, index, each, size) for each in spoiled(chance, path)]
        wrong += [(leaf + b"!", index, path, size), (leaf, index, path, 0)]
        wrong += [(leaf, index + size, path, size), (leaf, -1, path, size)]
        if size > 1:
            wrong.append((leaf, (index + 1) % size, path, size))
        for attempt in wrong:
            with pytest.raises(PeerError):
                check_inclusion(*attempt, root)


def test_a_spoiled_consistency_proof_is_refused() -> None:
    chance = random.Random(seed_of("spoiled_consistency"))
    for _ in range(300):
        second = chance.randint(2, SIZE_MAX)
        first = chance.randint(1, second)
        roots = merkle.root(TREE, first), merkle.root(TREE, second)
        path = merkle.consistency_path(TREE, first, second)
        wrong = [(first, roots[0], second, roots[1], each) for each in spoiled(chance, path)]
        wrong += [(first, bytes(32), second, roots[1], path)]
        wrong += [(first, roots[0], second, bytes(32), path)]
        wrong += [
            (0, roots[0], second, roots[1], path),
            (second + 1, roots[0], second, roots[1], path),
        ]
        for attempt in wrong:
            with pytest.raises(PeerError):
                check_consistency(*attempt)


def test_a_node_does_not_pass_for_a_leaf() -> None:
    """Without the prefixes, two hashes side by side would be a leaf of a tree half the size."""
    left, right = (merkle.leaf_hash(leaf) for leaf in LEAVES[:2])
    root = merkle.root(TREE, 2)
    with pytest.raises(PeerError):
        check_inclusion(left + right, 0, [], 1, root)
    assert merkle.leaf_hash(left + right) != root


def test_a_leaf_is_the_message_of_the_contract() -> None:
    chance = random.Random(seed_of("contract"))
    for _ in range(200):
        sequence = chance.randint(1, 1 << chance.randint(1, 62))
        time_ns = chance.choice((0, chance.randint(1, 1 << 62)))
        command, envelope = digests(chance.randbytes(5), chance.randbytes(chance.choice((0, 5))))
        message = pb.Leaf(
            sequence=sequence,
            time_ns=time_ns,
            command_digest=command,
            envelope_digest=envelope,
        )
        expected = message.SerializeToString(deterministic=True)
        assert encode_leaf(sequence, time_ns, command, envelope) == expected
