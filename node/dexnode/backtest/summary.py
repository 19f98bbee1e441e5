"""What a backtest reports, for programs and for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from rich.text import Text

from dexcompiled import BUILD
from dexcore.book import BookSide
from dexnode.backtest.engine import JournalEngine, MatcherEngine
from dexnode.backtest.model import decimal_text
from dexnode.backtest.recorder import MarketSums, Recorder
from dexnode.cli.common import console, printable
from dexnode.recorded.tally import ratio

if TYPE_CHECKING:
    from dexnode.backtest.journal_source import JournalSource
    from dexnode.backtest.model import Source
    from dexnode.backtest.runner import Timed

_NS_PER_SECOND: Final = 1_000_000_000
_MARKETS_SHOWN: Final = 10
_PRECISION: Final = 100
_MEAN_DIGITS: Final = 3


def make_summary(
    paths: Sequence[Path],
    engine: MatcherEngine | JournalEngine,
    source: Source | JournalSource,
    recorder: Recorder,
    timed: Timed,
    files: dict[str, Any] | None,
) -> dict[str, Any]:
    """The summary as plain values: whole numbers, and decimals as text."""
    # Sums of prices times sizes are exact.
    with localcontext(Context(prec=_PRECISION)):
        markets = [_market(sums) for sums in recorder.markets]
    elapsed_ns, engine_ns = max(1, timed.elapsed_ns), max(1, timed.engine_ns)
    count = engine.command_count
    span_ns = recorder.last_time_ns - recorder.first_time_ns
    report: dict[str, Any] = {
        "files": [str(path) for path in paths],
        "format": source.format_name,
        "core": BUILD.kind,
        "core_reason": BUILD.why,
        "command_count": count,
        "refused_count": engine.refusals.total(),
        "refused": dict(engine.refusals.most_common()),
        "fill_count": sum(sums.fill_count for sums in recorder.markets),
        "first_time": _time(recorder.first_time_ns),
        "last_time": _time(recorder.last_time_ns),
        "span_seconds": ratio(span_ns, _NS_PER_SECOND),
        "elapsed_seconds": ratio(timed.elapsed_ns, _NS_PER_SECOND),
        "engine_seconds": ratio(timed.engine_ns, _NS_PER_SECOND),
        "commands_per_second": count * _NS_PER_SECOND // elapsed_ns,
        "engine_commands_per_second": count * _NS_PER_SECOND // engine_ns,
        "markets": markets,
        "source": source.notes(),
        "results": files,
    }
    if isinstance(engine, JournalEngine):
        report["event_hash"] = engine.event_hash
    return report


def _market(sums: MarketSums) -> dict[str, Any]:
    bid, bid_lots, ask, ask_lots = sums.top
    price, lot = sums.price_unit, sums.lot_unit
    mean = None
    if sums.spread_ns:
        mean = decimal_text(
            Decimal(sums.ticks_ns * 10**_MEAN_DIGITS // sums.spread_ns) * price / 1_000
        )
    book = sums.market.book
    return {
        "market": sums.market.spec.market_id,
        "fill_count": sums.fill_count,
        "quantity": decimal_text(sums.lots * lot),
        "notional": decimal_text(sums.tick_lots * (price * lot)),
        "mean_spread": mean,
        "end": {
            "bid_price": None if bid is None else decimal_text(bid * price),
            "bid_quantity": None if bid_lots is None else decimal_text(bid_lots * lot),
            "ask_price": None if ask is None else decimal_text(ask * price),
            "ask_quantity": None if ask_lots is None else decimal_text(ask_lots * lot),
            "level_count": len(book.bids.levels) + len(book.asks.levels),
            "order_count": _orders(book.bids) + _orders(book.asks),
        },
    }


def _orders(side: BookSide) -> int:
    return sum(1 for level in side.levels.values() for _ in level)


def _time(time_ns: int) -> str | None:
    if not time_ns:
        return None
    timestamp = Timestamp()
    timestamp.FromNanoseconds(time_ns)
    return timestamp.ToJsonString()


def print_summary(report: dict[str, Any]) -> None:
    """The summary for people."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in _lines(report):
        table.add_row(name, Text(printable(text)))
    console.print(table)


def _lines(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "input", f"{report['format']}: {', '.join(report['files'])}"
    if report["first_time"]:
        span = f"{report['span_seconds']} s"
        yield "time span", f"{report['first_time']} to {report['last_time']}, {span}"
    yield "commands", f"{report['command_count']:,}"
    refused = ", ".join(f"{count:,} {reason}" for reason, count in report["refused"].items())
    yield "  refused", f"{report['refused_count']:,} {refused}".rstrip()
    yield "fills", f"{report['fill_count']:,}"
    for name, value in report["source"].items():
        yield "", f"{name.removesuffix('_count').replace('_', ' ')}: {_number(value)}"
    busy = sorted(report["markets"], key=lambda each: -each["fill_count"])
    for market in busy[:_MARKETS_SHOWN]:
        end = market["end"]
        traded = f"{market['quantity']} traded, notional {market['notional']}"
        yield market["market"], f"{market['fill_count']:,} fills, {traded}"
        spread = market["mean_spread"] or "none: never both sides"
        yield "", f"mean spread {spread} (by time)"
        best = f"bid {end['bid_price'] or 'none'}, ask {end['ask_price'] or 'none'}"
        yield (
            "",
            f"at the end {best}, {end['order_count']:,} orders at {end['level_count']:,} prices",
        )
    if len(busy) > _MARKETS_SHOWN:
        yield "", f"and {len(busy) - _MARKETS_SHOWN:,} markets more: --json has all"
    rate = f"{report['commands_per_second']:,} commands/s"
    alone = f"{report['engine_commands_per_second']:,}/s"
    yield "speed", f"{rate} in {report['elapsed_seconds']} s; the engine alone {alone}"
    yield "core", f"{report['core']}: {report['core_reason']}"
    for path, rows in (report["results"] or {}).items():
        yield "results", f"{path}, {rows:,} rows"


def _number(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value
