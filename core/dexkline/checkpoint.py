"""Checkpoints: state as bytes, the same bytes for the same state on every machine.

Layout, all little-endian: magic, int64 header values, then per interval an int64 row count, the
twelve int64 columns in the order of chunk.py, the turnover limbs and the int32 versions. How rows
are spread over chunks leaves no trace.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dexkline.chunk import FIELD_COUNT, OPEN_TIME, Chunk
from dexkline.interval import INTERVALS_NS
from dexkline.rows import RowStore

_BOOK_MAGIC: Final = b"dexkline.book.1\n"


class Reader:
    """Reads arrays off bytes; ValueError when they end too soon or go on too long."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, magic: bytes) -> None:
        if not data.startswith(magic):
            raise ValueError(f"not a checkpoint of {magic!r}")
        self._data = data
        self._at = len(magic)

    def array(self, count: int, kind: str) -> npt.NDArray[Any]:
        """The next `count` numbers of a numpy kind, in the machine's byte order."""
        width = np.dtype(kind).itemsize
        if count < 0 or self._at + count * width > len(self._data):
            raise ValueError("checkpoint ends too soon")
        values = np.frombuffer(self._data, kind, count, self._at)
        self._at += count * width
        return values.astype(np.dtype(kind).newbyteorder("="))

    def integer(self) -> int:
        """The next int64."""
        return int(self.array(1, "<i8")[0])

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._data):
            raise ValueError("checkpoint goes on too long")


def integer(value: int) -> bytes:
    """An int64 as bytes."""
    return value.to_bytes(8, "little", signed=True)


def encode_book(quote_atoms_per_tick_lot: int, stores: list[RowStore]) -> bytes:
    """The bytes of a book, shortest interval first."""
    parts = [_BOOK_MAGIC, integer(quote_atoms_per_tick_lot)]
    for store in stores:
        chunks = store.chunks
        parts.append(integer(store.row_count))
        for field in range(FIELD_COUNT):
            columns = (chunk.fields[field, : chunk.count] for chunk in chunks)
            parts += [column.astype("<i8").tobytes() for column in columns]
        parts += [chunk.turnover[: chunk.count].astype("<u8").tobytes() for chunk in chunks]
        parts += [chunk.version[: chunk.count].astype("<i4").tobytes() for chunk in chunks]
    return b"".join(parts)


def decode_book(data: bytes) -> tuple[int, list[RowStore]]:
    """The inverse of encode_book. Raises ValueError for anything else."""
    reader = Reader(data, _BOOK_MAGIC)
    quote_atoms_per_tick_lot = reader.integer()
    stores = []
    for length_ns in INTERVALS_NS:
        count = reader.integer()
        fields = reader.array(FIELD_COUNT * count, "<i8").reshape(FIELD_COUNT, count)
        turnover = reader.array(2 * count, "<u8").reshape(count, 2)
        version = reader.array(count, "<i4")
        times = fields[OPEN_TIME]
        if (np.diff(times) <= 0).any() or (times % length_ns).any() or (times < 0).any():
            raise ValueError("open times of a checkpoint are not ascending windows")
        store = RowStore()
        store.insert(Chunk(fields, turnover, version, count))
        stores.append(store)
    reader.end()
    return quote_atoms_per_tick_lot, stores
