"""Reads recorded Binance spot streams: a line per message, "<local time, ns> <stream message>".

The messages are those of Binance's WebSocket streams `<symbol>@trade` and `<symbol>@depth`, plain
or wrapped in a combined stream's {"stream", "data"}. Others, such as bookTicker, are passed over.
Prices and sizes stay the text they are, so that nothing is rounded on the way.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeAlias, cast

import click
import msgspec

from dexsdk import Side

_GZIP_MAGIC: Final = b"\x1f\x8b"
# Binance counts milliseconds, or microseconds when the stream was opened with timeUnit.
_MILLISECONDS_BELOW: Final = 10**14
_MICROSECONDS_BELOW: Final = 10**17
# Of a line that is none, in the message about it.
_SHOWN_BYTES: Final = 60


class RecordingError(click.ClickException):
    """The file does not hold what is documented."""


class Trade(NamedTuple):
    """A trade as recorded."""

    local_time_ns: int
    event_time_ns: int
    time_ns: int
    trade_id: int
    price: str
    quantity: str
    taker_side: Side


class DepthUpdate(NamedTuple):
    """New sizes of price levels; a size of zero means that the level is gone."""

    local_time_ns: int
    event_time_ns: int
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


Message: TypeAlias = Trade | DepthUpdate


class _TradeData(msgspec.Struct):
    """Payload of `<symbol>@trade`, with Binance's own names."""

    E: int
    T: int
    t: int
    p: str
    q: str
    m: bool


class _DepthData(msgspec.Struct):
    """Payload of `<symbol>@depth`."""

    E: int
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class Recording:
    """A recorded file of one symbol; iterate it as often as needed."""

    def __init__(self, path: Path, opened: Callable[[Path], IO[bytes]] | None = None) -> None:
        """Names the file, and how it is opened if not as a plain or gzipped one; reads nothing."""
        self.path: Final = path
        self.symbol = ""
        self.line = 0
        self._opened: Final = opened or _open

    def __iter__(self) -> Iterator[Message]:
        """Trades and depth updates in the order of the file; raises RecordingError."""
        self.line = 0
        last_trade_id = 0
        try:
            with self._opened(self.path) as lines:
                for self.line, line in enumerate(lines, 1):
                    message = self._parse(line)
                    if isinstance(message, Trade):
                        if message.trade_id <= last_trade_id:
                            text = f"trade {message.trade_id} after trade {last_trade_id}"
                            raise RecordingError(text)
                        last_trade_id = message.trade_id
                    if message is not None:
                        yield message
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise RecordingError(f"{self.path}: damaged after line {self.line}: {error}") from error
        except (KeyError, TypeError, ValueError, RecordingError) as error:
            problem = str(error) or type(error).__name__
            raise RecordingError(f"{self.path}, line {self.line}: {problem}") from error
        if not last_trade_id:
            raise RecordingError(f"{self.path} holds no trade of a Binance stream")

    def _parse(self, line: bytes) -> Message | None:
        local_time, _, text = line.partition(b" ")
        if not (local_time.isdigit() and text.lstrip().startswith(b"{")):
            found = line[:_SHOWN_BYTES].decode(errors="replace").strip()
            raise RecordingError(
                f"expected a Binance stream message after its local time in ns "
                f'(1723161601000000000 {{"stream": ...}}), found {found!r}'
            )
        message = msgspec.json.decode(text, type=dict[str, Any])
        data = message.get("data", message)
        if not isinstance(data, dict):
            raise RecordingError("no stream message")
        kind = data.get("e")
        if kind not in {"trade", "depthUpdate"}:
            return None
        if data["s"] != self.symbol:
            if self.symbol:
                raise RecordingError(f"{data['s']} in a recording of {self.symbol}")
            self.symbol = data["s"]
        if kind == "trade":
            return _trade(int(local_time), msgspec.convert(data, _TradeData))
        depth = msgspec.convert(data, _DepthData)
        return DepthUpdate(int(local_time), _time_ns(depth.E), depth.b, depth.a)


def _trade(local_time_ns: int, data: _TradeData) -> Trade:
    # "m": the buyer's order rested, so the seller took.
    side = Side.SELL if data.m else Side.BUY
    return Trade(local_time_ns, _time_ns(data.E), _time_ns(data.T), data.t, data.p, data.q, side)


def _time_ns(value: int) -> int:
    if value < _MILLISECONDS_BELOW:
        return value * 1_000_000
    return value * 1_000 if value < _MICROSECONDS_BELOW else value


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path, "rb")) if packed else path.open("rb")
