"""Writes market by order as Databento's files, byte by byte: DBN of each version, and CSV."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from tests.reference.mbo_venue import Record

PUBLISHER = 1
DATASET = "GLBX.MDP3"
HEADER = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,price,size,channel_id,"
    "order_id,flags,ts_in_delta,sequence,symbol"
)


def metadata(version: int, symbols: Mapping[int, str], schema: int = 0) -> bytes:
    """The metadata of a file that was asked for by raw symbols and answered with instrument ids."""
    width = 22 if version == 1 else 71
    body = struct.pack("<16sHQQQ", DATASET.encode(), schema, 1, 2**64 - 1, 0)
    if version == 1:
        body += struct.pack("<QBBB47x", 2**64 - 1, 1, 0, 0)
    else:
        body += struct.pack("<BBBH53x", 1, 0, 0, width)
    names = [name.encode().ljust(width, b"\0") for name in symbols.values()]
    body += struct.pack("<I", 0)
    body += struct.pack("<I", len(names)) + b"".join(names)
    body += struct.pack("<II", 0, 0)
    body += struct.pack("<I", len(names))
    for instrument_id, name in zip(symbols, names, strict=True):
        mapped = str(instrument_id).encode().ljust(width, b"\0")
        body += name + struct.pack("<III", 1, 20240617, 20240618) + mapped
    return b"DBN" + struct.pack("<BI", version, len(body)) + body


def dbn_record(record: Record, sequence: int) -> bytes:
    """One record of 56 bytes."""
    return struct.pack(
        "<BBHIQQqIBBccQiI",
        14,
        160,
        PUBLISHER,
        record.instrument_id,
        record.time_ns - 500,
        record.order_id,
        record.price,
        record.size,
        record.flags,
        0,
        record.action.encode(),
        record.side.encode(),
        record.time_ns,
        400,
        sequence,
    )


def dbn(records: Iterable[Record], version: int, symbols: Mapping[int, str]) -> bytes:
    """A whole file."""
    body = b"".join(dbn_record(record, sequence) for sequence, record in enumerate(records, 1))
    return metadata(version, symbols) + body


def csv_text(records: Iterable[Record], symbols: Mapping[int, str]) -> str:
    """The same as CSV, with prices as whole numbers of 10^-9."""
    lines = [HEADER]
    for sequence, record in enumerate(records, 1):
        fields = (
            *(record.time_ns, record.time_ns - 500, 160, PUBLISHER, record.instrument_id),
            *(record.action, record.side, record.price, record.size, 0, record.order_id),
            *(record.flags, 400, sequence, symbols.get(record.instrument_id, "")),
        )
        lines.append(",".join(map(str, fields)))
    return "\n".join(lines) + "\n"


def write(path: Path, data: bytes) -> Path:
    """Write bytes, packed as the name says."""
    if path.suffix == ".zst":
        data = pa.Codec("zstd").compress(data, asbytes=True)
    elif path.suffix == ".gz":
        data = gzip.compress(data, 1)
    path.write_bytes(data)
    return path
