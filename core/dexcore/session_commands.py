"""Commands of sessions, and their bytes; :mod:`dexcore.commands` has all others.

docs/reference/sessions.md has what clients do, byte by byte.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from dexcore.codec import CodecError, ValueReader

if TYPE_CHECKING:
    from dexcore.commands import OrderCommand

# Of a payload, of a handshake, of all that a session sent: BLAKE2b-256 (RFC 7693).
HASH_BYTES: Final = 32
# Session, number of the order, hash of its payload, bytes of hashes that follow.
_ORDERS_HEAD: Final = struct.Struct(f"<2xqq{HASH_BYTES}sI")


class OpenSession(NamedTuple):
    """Signed: orders of this key may follow under a MAC.

    ``node_share`` and ``node_random`` are the node's part of the handshake, ``handshake_hash`` is
    over all of it.
    """

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    node_share: bytes
    node_random: bytes
    handshake_hash: bytes


class SessionOrders(NamedTuple):
    """Orders whose MAC was the session's: the ``order_number``-th that it sent.

    ``skipped`` are the hashes of the payloads that came before it and that the node refused by
    itself; they count as sent.
    """

    session_key: int
    order_number: int
    payload_hash: bytes
    skipped: bytes
    orders: OrderCommand


class CountersignSession(NamedTuple):
    """Signed: what the session sent up to this order has this running hash."""

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    session_key: int
    order_number: int
    running_hash: bytes
    skipped: bytes


class EndSession(NamedTuple):
    """Of the node: the session is over, for this :class:`~dexcore.reasons.Reason`, or because its
    stream is."""

    session_key: int
    reason: int


SessionCommand = OpenSession | SessionOrders | CountersignSession | EndSession


def orders_head(head: bytes, command: SessionOrders) -> bytes:
    """What stands before the bytes of the order command.

    Raises:
        CodecError: a hash of another length.
    """
    if len(command.payload_hash) != HASH_BYTES:
        raise CodecError("a hash of another length")
    check_hashes(command.skipped)
    values = command.session_key, command.order_number, command.payload_hash, len(command.skipped)
    return head + _ORDERS_HEAD.pack(*values)[2:] + command.skipped


def read_orders_head(data: bytes) -> tuple[int, int, bytes, bytes, bytes]:
    """Session, number, hash, skipped hashes, and the bytes of the order command.

    Raises:
        CodecError: they do not fit.
    """
    if len(data) < _ORDERS_HEAD.size:
        raise CodecError("bytes end early")
    session_key, order_number, payload_hash, skipped_bytes = _ORDERS_HEAD.unpack_from(data)
    end = _ORDERS_HEAD.size + skipped_bytes
    skipped = check_hashes(data[_ORDERS_HEAD.size : end])
    if len(skipped) != skipped_bytes:
        raise CodecError("bytes end early")
    return session_key, order_number, payload_hash, skipped, data[end:]


def check_hashes(packed: bytes) -> bytes:
    """The same bytes, when they are whole hashes.

    Raises:
        CodecError: they are not.
    """
    if len(packed) % HASH_BYTES:
        raise CodecError("hashes do not fit")
    return packed


def read_opening(r: ValueReader) -> OpenSession:
    """Version 1 of :class:`OpenSession`."""
    values = (r.integer(), r.integer(), r.integer(), r.data(), r.data())
    return OpenSession(*values, r.data(), r.data(), r.data())


def read_countersignature(r: ValueReader) -> CountersignSession:
    """Version 1 of :class:`CountersignSession`."""
    values = (r.integer(), r.integer(), r.integer(), r.data(), r.data())
    return CountersignSession(*values, r.integer(), r.integer(), r.data(), check_hashes(r.data()))


def read_end(r: ValueReader) -> EndSession:
    """Version 1 of :class:`EndSession`."""
    return EndSession(r.integer(), r.integer())
