"""HPACK with memory: repeated header blocks are coded once.

Theory of operation
-------------------
A gRPC peer sends the same request headers call after call, and a server the same two blocks back.
`CachingDecoder` remembers the result of a block as long as the dynamic table has not moved (then
the same bytes mean the same headers). `StaticEncoder` never uses the dynamic table, so what a block
is encoded to depends on nothing and is kept for all connections. Both are drop-ins for the `hpack`
classes that `h2` holds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

import hpack
from hpack.hpack import decode_integer, encode_integer
from hpack.struct import HeaderTuple
from hpack.table import HeaderTable

# hpack writes every header it decodes, credentials included, to its debug log.
logging.getLogger("hpack").setLevel(logging.INFO)

_BLOCKS_MAX: Final = 256
_BLOCK_BYTES_MAX: Final = 256  # a peer chooses what is remembered: let it be small
# What the server sends is its own choice; a refusal with its details is about 400 bytes.
_OWN_BLOCK_BYTES_MAX: Final = 1024
_encoded: dict[tuple[tuple[bytes, bytes], ...], bytes] = {}
_STATIC: Final = {
    name: index for index, (name, _) in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))
}


class CachingDecoder(hpack.Decoder):
    """Decodes as `hpack.Decoder` does, and repeated blocks for the price of a lookup."""

    def __init__(self, max_header_list_bytes: int) -> None:
        super().__init__(max_header_list_size=max_header_list_bytes)
        self._blocks: dict[bytes, list[HeaderTuple]] = {}

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """See hpack.Decoder.decode. The returned list is shared: do not change it."""
        known = self._blocks.get(data)
        if known is not None:
            return known
        if not data:
            # h2 hands an empty block through; hpack accepts it.
            return super().decode(data, raw)
        headers = super().decode(data, raw)
        if _moves_table(data):
            self._blocks.clear()
        elif len(data) <= _BLOCK_BYTES_MAX and len(self._blocks) < _BLOCKS_MAX:
            self._blocks[data] = list(headers)
            return self._blocks[data]
        return headers


def _moves_table(block: bytes) -> bool:
    """Whether decoding `block`, known to be valid, changes the dynamic table."""
    at = 0
    while at < len(block):
        lead = block[at]
        if lead & 0x80:
            at += decode_integer(block[at:], 7)[1]
        elif lead & 0x60:
            return True
        else:
            index, used = decode_integer(block[at:], 4)
            at += used
            for _ in range(1 if index else 2):
                length, used = decode_integer(block[at:], 7)
                at += used + length
    return False


class StaticEncoder:
    """Encodes with literals and the static table only."""

    def __init__(self) -> None:
        self._resized: int | None = None
        self._header_table_size = 4096

    @property
    def header_table_size(self) -> int:
        """The peer's limit on a table this encoder does not use."""
        return self._header_table_size

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        # A peer that shrinks the table waits for the encoder to say so (RFC 7541 section 4.2).
        self._header_table_size = value
        self._resized = 0

    def encode(self, headers: Iterable[Any], _huffman: bool = False) -> bytes:
        """One header block."""
        key = headers if isinstance(headers, tuple) else tuple(headers)
        block = _encoded.get(key)
        if block is None:
            block = b"".join(_encode_field(name, value) for name, value in key)
            if len(block) <= _OWN_BLOCK_BYTES_MAX:
                # Trailers that say what is left of a budget differ call by call.
                if len(_encoded) >= _BLOCKS_MAX:
                    _encoded.clear()
                _encoded[key] = block
        if self._resized is not None:
            self._resized = None
            return b"\x20" + block
        return block


def _encode_field(name: bytes, value: bytes) -> bytes:
    if name == b":status" and value == b"200":
        return b"\x88"
    index = _STATIC.get(name)
    if index is not None:
        return bytes(encode_integer(index, 4)) + _string(value)
    return b"\x00" + _string(name) + _string(value)


def _string(value: bytes) -> bytes:
    return bytes(encode_integer(len(value), 7)) + value
