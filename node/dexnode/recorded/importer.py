"""Records the trades of a recording as an external market."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from dexnode.cli.common import Target
from dexnode.recorded.binance import Recording, Trade
from dexnode.recorded.progress import progress_bar
from dexnode.recorded.survey import Grid, ensure_market, market_name, survey
from dexsdk import ExternalTrade, Market, MarketKind, timestamp_of

VENUE: Final = "BINANCE"
TRADES_PER_CALL: Final = 10_000


class ImportReport(NamedTuple):
    """What an import did. Times are RFC 3339 in UTC."""

    market_id: str
    recorded_count: int
    skipped_count: int
    first_time: str
    last_time: str
    watermark_time: str
    """Windows that end by then are closed."""


async def import_stream(
    target: Target, file: Path, market_id: str | None = None, grid: Grid | None = None
) -> ImportReport:
    """Record every trade of `file` once, and close the windows the recording completes.

    The market is made when missing; `grid` gives its tick and lot, else the recording's
    decimals do. A repeated or interrupted import may be run again: trades that are
    recorded are skipped by their id.

    Raises:
        RecordingError: the file is damaged or of another format; what came before is recorded.
        OffGrid: a price or size is none of an existing market's.
        DexError: the node refused, or is away.
    """
    recording = Recording(file)
    found = survey(recording)
    recorded = skipped = 0
    async with target.async_operator() as operator:
        name = market_id or market_name(found.symbol, VENUE)
        market = await ensure_market(operator, name, MarketKind.EXTERNAL, found, grid or Grid())
        with progress_bar(name, found.trade_count, shown=not target.as_json) as advance:
            watermark_ns = 0
            for batch in _batches(recording, market):
                # Ids rise with time, so what follows is not before the newest so far:
                # closing as we go keeps few windows open in the node.
                watermark_ns = max(watermark_ns, *(trade.time_ns for trade in batch))
                answer = await operator.admin.record_trades(name, batch, watermark_ns)
                recorded += answer.recorded_count
                skipped += answer.skipped_count
                advance(len(batch))
        await operator.admin.record_trades(name, [], found.end_time_ns)
    return ImportReport(
        name,
        recorded,
        skipped,
        timestamp_of(found.first_trade_time_ns).ToJsonString(),
        timestamp_of(found.last_trade_time_ns).ToJsonString(),
        timestamp_of(found.end_time_ns).ToJsonString(),
    )


def _batches(recording: Recording, market: Market) -> Iterator[list[ExternalTrade]]:
    batch: list[ExternalTrade] = []
    for message in recording:
        if isinstance(message, Trade):
            batch.append(
                ExternalTrade(
                    message.trade_id,
                    message.time_ns,
                    market.price_ticks(message.price),
                    market.quantity_lots(message.quantity),
                    message.taker_side,
                )
            )
        if len(batch) == TRADES_PER_CALL:
            yield batch
            batch = []
    if batch:
        yield batch
