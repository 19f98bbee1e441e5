"""The leaf of a journal record: the bytes the audit tree hashes (dex.audit.v1.Leaf).

They are the protobuf encoding of that message with its fields in ascending order and defaults left
out, written here so that no library's choices can ever change a root.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

DIGEST_BYTES: Final = 32
NO_DIGEST: Final = b""
# Field number << 3 | wire type: 0 is a varint, 2 has its length in front.
_SEQUENCE: Final = b"\x08"
_TIME_NS: Final = b"\x10"
_COMMAND: Final = b"\x1a\x20"
_ENVELOPE: Final = b"\x22\x20"


def digests(command: bytes, envelope: bytes) -> tuple[bytes, bytes]:
    """SHA-256 of both; empty for an empty envelope."""
    return sha256(command).digest(), sha256(envelope).digest() if envelope else NO_DIGEST


def encode_leaf(
    sequence: int, time_ns: int, command_digest: bytes, envelope_digest: bytes
) -> bytes:
    """The leaf of a record at journal position ``sequence``, from 1."""
    leaf = _SEQUENCE + _varint(sequence)
    if time_ns:
        leaf += _TIME_NS + _varint(time_ns)
    leaf += _COMMAND + command_digest
    if envelope_digest:
        leaf += _ENVELOPE + envelope_digest
    return leaf


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first (protobuf's encoding of a non-negative integer)."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
