"""Merkle trees in the shape of RFC 6962, section 2.1: roots and proofs at every size.

Theory of operation: a perfect subtree never changes once it is full, so the hashes of all perfect
subtrees, in the order in which they become full, are an append-only list: leaf ``i`` adds its own
hash and one for each subtree it completes. A tree of ``n`` leaves has ``2n - popcount(n)`` of them,
and the place of each is arithmetic. Every root and proof, of the present size and of every earlier
one, is made of a few of them. Where they are kept is the caller's.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, Protocol, final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
# The prefixes keep a node from being shown as a leaf and a leaf as a node.
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


class HashSource(Protocol):
    """The list of subtree hashes."""

    def hash_at(self, position: int) -> bytes:
        """The hash at a position, from 0."""


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf)."""
    return sha256(_LEAF + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(_NODE + left + right).digest()


def node_count(size: int) -> int:
    """How many perfect subtrees a tree of this many leaves has, leaves included."""
    return 2 * size - size.bit_count()


def node_position(level: int, index: int) -> int:
    """Where the hash of the ``index``-th subtree of ``2**level`` leaves stands in the list."""
    last_leaf = ((index + 1) << level) - 1
    return node_count(last_leaf) + level


def root(source: HashSource, size: int) -> bytes:
    """The root of the first ``size`` leaves."""
    return _range_hash(source, 0, size) if size else EMPTY_ROOT


def inclusion_path(source: HashSource, index: int, size: int) -> list[bytes]:
    """RFC 6962, section 2.1.1: the proof that leaf ``index`` is in the tree of ``size`` leaves.

    At most ceil(log2(size)) hashes. Raises ValueError for a leaf outside the tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_hash(source, middle, end))
            end = middle
        else:
            path.append(_range_hash(source, start, middle))
            start = middle
    path.reverse()
    return path


def consistency_path(source: HashSource, first: int, second: int) -> list[bytes]:
    """RFC 6962, section 2.1.2: the proof that the tree of ``first`` leaves begins the second.

    At most ceil(log2(second)) + 1 hashes; none when the sizes are equal. Raises ValueError unless
    0 < first <= second.
    """
    if not 0 < first <= second:
        raise ValueError(f"a tree of {first} leaves does not begin one of {second}")
    path: list[bytes] = []
    start, end = 0, second
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(_range_hash(source, middle, end))
            end = middle
        else:
            path.append(_range_hash(source, start, middle))
            start = middle
    if start:
        # Else it is the whole first tree, whose root the verifier has.
        path.append(_range_hash(source, start, end))
    path.reverse()
    return path


def _split(size: int) -> int:
    """The largest power of two below ``size``: how many leaves go to the left."""
    return 1 << ((size - 1).bit_length() - 1)


def _range_hash(source: HashSource, start: int, end: int) -> bytes:
    """Hash over leaves [start, end), as a split by powers of two leaves them."""
    hashes = []
    while start < end:
        level = (end - start).bit_length() - 1
        hashes.append(source.hash_at(node_position(level, start >> level)))
        start += 1 << level
    found = hashes.pop()
    while hashes:
        found = node_hash(hashes.pop(), found)
    return found


@final
class Frontier:
    """The right edge of a growing tree: all that appending and the root need, log2(n) hashes."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: list[bytes] | None = None) -> None:
        """``peaks`` are the hashes of the perfect subtrees of a tree of ``size``, widest first."""
        self.size = size
        self._peaks = list(peaks or [])
        if len(self._peaks) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} peaks")

    @classmethod
    def of(cls, source: HashSource, size: int) -> Frontier:
        """The edge of the tree of the first ``size`` leaves of a list of hashes."""
        peaks = []
        start = 0
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                peaks.append(source.hash_at(node_position(level, start >> level)))
                start += 1 << level
        return cls(size, peaks)

    def append(self, hash_: bytes) -> list[bytes]:
        """Add a leaf by its hash; returns the hashes of all subtrees this completes."""
        peaks = self._peaks
        added = [hash_]
        full = self.size
        while full & 1:
            hash_ = node_hash(peaks.pop(), hash_)
            added.append(hash_)
            full >>= 1
        peaks.append(hash_)
        self.size += 1
        return added

    def root(self) -> bytes:
        """The root of what was appended so far."""
        if not self._peaks:
            return EMPTY_ROOT
        found = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            found = node_hash(peak, found)
        return found

    def copy(self) -> Frontier:
        """The same edge, to go on in two ways."""
        return Frontier(self.size, self._peaks)
