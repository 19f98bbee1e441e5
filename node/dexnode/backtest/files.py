"""Input files: unpacked as they are read, how far reading has come, and which format they are."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, cast

import pyarrow as pa

from dexnode.backtest.model import BacktestError

BINANCE: Final = "binance"
ORDERS: Final = "orders"
DATABENTO: Final = "databento"
JOURNAL: Final = "journal"
FORMATS: Final = (BINANCE, ORDERS, DATABENTO, JOURNAL)

DBN_MAGIC: Final = b"DBN"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_BUFFER_BYTES: Final = 1 << 18
_HEAD_BYTES: Final = 4_096


class Inputs:
    """The files of a run, one after another."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Names the files; nothing is read yet."""
        self.paths: Final = tuple(paths)
        self.total_bytes = sum(path.stat().st_size for path in paths if path.is_file())
        self._before_bytes = 0
        self._raw: io.BufferedReader | None = None

    @property
    def position(self) -> int:
        """Bytes read so far, as they lie on disk."""
        if self._raw is None or self._raw.closed:
            return self._before_bytes
        return self._before_bytes + self._raw.tell()

    def open(self, path: Path) -> IO[bytes]:
        """The file's bytes, unpacked when they are gzip or Zstandard; they must be closed."""
        self._before_bytes = sum(
            each.stat().st_size for each in self.paths[: self.paths.index(path)]
        )
        self._raw = raw = path.open("rb")
        return _unpacked(raw)


def _unpacked(raw: io.BufferedReader) -> IO[bytes]:
    magic = raw.peek(len(_ZSTD_MAGIC))
    if magic.startswith(_GZIP_MAGIC):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw, mode="rb"))
    if magic.startswith(_ZSTD_MAGIC):
        stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
        return cast("IO[bytes]", io.BufferedReader(stream, _BUFFER_BYTES))
    return raw


def format_of(path: Path) -> str:
    """The format of a file by what it begins with; raises BacktestError when it is none."""
    if path.is_dir():
        return JOURNAL
    try:
        with path.open("rb") as raw, _unpacked(raw) as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, EOFError) as error:
        raise BacktestError(path, "", "", f"cannot be unpacked: {error}") from error
    if not head:
        raise BacktestError(path, "", "", "is empty")
    if head.startswith(DBN_MAGIC):
        return DATABENTO
    line = head.partition(b"\n")[0].strip()
    columns = line.split(b",")
    if b"ts_recv" in columns or b"rtype" in columns:
        return DATABENTO
    if b"action" in columns and b"order_id" in columns:
        return ORDERS
    if line.partition(b" ")[0].isdigit() and line.partition(b" ")[2].startswith(b"{"):
        return BINANCE
    raise BacktestError(
        path,
        "line 1",
        "",
        "neither DBN, nor a header of Databento's MBO or of orders, nor a Binance message: "
        "say --format, and see dex backtest --help",
    )
