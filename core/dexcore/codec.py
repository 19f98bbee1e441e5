"""Canonical bytes for the values of commands and events.

Little endian, fixed width: integers are 8 bytes signed, byte strings and texts
(UTF-8) carry a 4-byte length. One value has exactly one encoding, so equal bytes
mean equal values and the bytes may be hashed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

_INT: Final = struct.Struct("<q")
_LENGTH: Final = struct.Struct("<I")


class CodecError(Exception):
    """The bytes are not what their type and version say."""


def encode_values(values: Iterable[int | str | bytes]) -> bytes:
    """Encode the values one after the other."""
    parts = []
    for value in values:
        if isinstance(value, int):
            parts.append(_INT.pack(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            parts.append(_LENGTH.pack(len(data)))
            parts.append(data)
    return b"".join(parts)


class ValueReader:
    """Reads back what :func:`encode_values` wrote.

    Raises:
        CodecError: the bytes end early, go on too long, or are not UTF-8.
    """

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self._position = position

    def integer(self) -> int:
        """The next integer."""
        value: int = _INT.unpack(self._take(8))[0]
        return value

    def data(self) -> bytes:
        """The next byte string."""
        return self._take(_LENGTH.unpack(self._take(4))[0])

    def text(self) -> str:
        """The next text."""
        try:
            return self.data().decode()
        except UnicodeDecodeError as error:
            raise CodecError("text is not UTF-8") from error

    def end(self) -> None:
        """Check that nothing is left."""
        if self._position != len(self._data):
            raise CodecError("bytes are left over")

    def _take(self, size: int) -> bytes:
        start = self._position
        self._position = start + size
        if self._position > len(self._data):
            raise CodecError("bytes end early")
        return self._data[start : self._position]
