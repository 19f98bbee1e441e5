"""Drives our own book with a recording: depth updates as resting orders, trades as takers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import click
import trio

from dexnode.cli.common import Target
from dexnode.recorded.binance import Recording
from dexnode.recorded.mirror import MirrorBook
from dexnode.recorded.pipe import ENVELOPES_IN_FLIGHT, Pipe, Trader
from dexnode.recorded.progress import progress_bar
from dexnode.recorded.proof import Party, prove
from dexnode.recorded.summary import BookCheck, make_report
from dexnode.recorded.survey import Grid, ensure_market, market_name, survey
from dexnode.recorded.tally import Tally
from dexnode.recorded.units import Take, Update, in_units, money_needed
from dexsdk import Amend, Cancel, Client, Interval, Key, Market, MarketKind, Session, Side

PREFIX: Final = "REPLAY"
FEES_PPM: Final = (100, 200)
CALL_TIMEOUT_SECONDS: Final = 60.0
CLEAN_UP_SECONDS: Final = 10.0
BOOK_DEPTH_MAX: Final = 1_000
INT64_MAX: Final = 2**63 - 1


async def replay_stream(
    target: Target,
    file: Path,
    market_id: str | None = None,
    speed: float = 0.0,
    grid: Grid | None = None,
) -> dict[str, Any]:
    """Replay `file` on a market of ours and say how it went (see `summary.make_report`).

    The market is made when missing. Two new accounts are funded by the operator; at the end
    every order of theirs is cancelled. `speed` 1 keeps the recorded pace, 0 goes flat out.

    Raises:
        ClickException: the market is of another kind, or orders rest in its book.
        RecordingError: the file is damaged or of another format.
        OffGrid: a price or size is none of an existing market's.
        DexError: the node refused, or is away for good.
    """
    recording = Recording(file)
    found = survey(recording)
    async with target.async_operator() as operator:
        name = market_id or market_name(found.symbol, PREFIX)
        market = await ensure_market(
            operator, name, MarketKind.ORDER_BOOK, found, grid or Grid(), FEES_PPM
        )
        await _require_empty(operator, name)
        first_trade = await _next_trade_sequence(operator, name)
        needs = money_needed(recording, market)
        run_id = Key.generate().public_bytes.hex()[:16]
        async with (
            _trader(target, operator, "liquidity", needs.liquidity, run_id) as (maker, liquidity),
            _trader(target, operator, "taker", needs.taker, run_id) as (taker_client, taker),
        ):
            tally, mirror = Tally(), MirrorBook(name)
            with progress_bar(name, found.message_count, shown=not target.as_json) as advance:
                run = _Run(market, recording, liquidity, taker, speed, advance)
                try:
                    elapsed_ns = await run.drive(maker, mirror, tally)
                    book = await _compare(maker, name, mirror)
                finally:
                    with trio.CancelScope(shield=True, deadline=_soon()):
                        await maker.cancel_all(name)
            clients = {liquidity.party.account_id: maker, taker.party.account_id: taker_client}
            answers = {each: await client.get_account() for each, client in clients.items()}
            trades = await operator.list_trades(name, start_sequence=first_trade)
            proofs = prove(market, [liquidity.party, taker.party], trades, answers)
    return make_report(market, found, tally, mirror.stale_count, elapsed_ns, book, proofs)


class _Run:
    """The loop over the recording."""

    def __init__(
        self,
        market: Market,
        recording: Recording,
        liquidity: Trader,
        taker: Trader,
        speed: float,
        advance: Callable[[int], None],
    ) -> None:
        self._market = market
        self._recording = recording
        self._liquidity = liquidity
        self._taker = taker
        self._speed = speed
        self._advance = advance
        self._start: tuple[float, int] | None = None

    async def drive(self, client: Client, mirror: MirrorBook, tally: Tally) -> int:
        """Send everything and take every answer; returns the time it took in ns."""
        started_ns = time.perf_counter_ns()
        async with client.order_stream(window=ENVELOPES_IN_FLIGHT) as stream:
            pipe = Pipe(stream, mirror, tally)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pipe.receive)
                for item in in_units(self._recording, self._market):
                    await self._keep_pace(item.local_time_ns, pipe)
                    if isinstance(item, Take):
                        await self._take(item, pipe, mirror, tally)
                    else:
                        await self._update(item, pipe, mirror, tally)
                    self._advance(1)
                await pipe.close()
        return time.perf_counter_ns() - started_ns

    async def _keep_pace(self, local_time_ns: int, pipe: Pipe) -> None:
        if self._speed <= 0:
            return
        if self._start is None:
            self._start = trio.current_time(), local_time_ns
        begun, first_ns = self._start
        due = begun + (local_time_ns - first_ns) / 1e9 / self._speed
        if due > trio.current_time():
            await pipe.flush()
            await trio.sleep_until(due)

    async def _update(self, update: Update, pipe: Pipe, mirror: MirrorBook, tally: Tally) -> None:
        for action in mirror.update(update.bids, update.asks):
            if isinstance(action, Cancel):
                tally.cancelled_count += 1
            elif isinstance(action, Amend):
                tally.amended_count += 1
            else:
                tally.placed_count += 1
            await pipe.add(self._liquidity, action)

    async def _take(self, take: Take, pipe: Pipe, mirror: MirrorBook, tally: Tally) -> None:
        terms = take.side, take.price_ticks, take.quantity_lots
        cancels, synthetic = mirror.make_room(*terms)
        for cancel in cancels:
            tally.cancelled_count += 1
            await pipe.add(self._liquidity, cancel)
        if synthetic is not None:
            tally.synthetic_count += 1
            tally.synthetic_lots += synthetic.quantity_lots
            await pipe.add(self._liquidity, synthetic)
        tally.taker_count += 1
        await pipe.add(self._taker, mirror.take(*terms), take)


@asynccontextmanager
async def _trader(
    target: Target, operator: Client, name: str, funds: dict[str, int], run_id: str
) -> AsyncIterator[tuple[Client, Trader]]:
    """A new account with that much money, its client, and its session to sign with."""
    key = Key.generate()
    client = Client(
        target.address,
        network_id=target.network_id,
        key=key,
        tls=target.tls,
        timeout_seconds=CALL_TIMEOUT_SECONDS,
    )
    async with client:
        account_id = await client.register_key()
        for asset_id, atoms in funds.items():
            if atoms > INT64_MAX:
                raise click.ClickException(
                    f"the recording needs {atoms} atoms of {asset_id}, more than the ledger "
                    "holds: make the market with a smaller scale and name it with --market"
                )
            reference = f"replay-{run_id}-{name}-{asset_id}"
            await operator.admin.credit_account(account_id, asset_id, atoms, reference)
        session = Session(network_id=target.network_id, key=key, account_id=account_id)
        yield client, Trader(Party(name, account_id, funds), session)


async def _require_empty(client: Client, market_id: str) -> None:
    book = await client.get_book(market_id, 1)
    if book.bids or book.asks:
        raise click.ClickException(
            f"orders rest in the book of {market_id}: give another --market to replay into"
        )


async def _next_trade_sequence(client: Client, market_id: str) -> int:
    days = await client.list_klines(market_id, Interval.D1)
    return days[-1].last_trade_sequence + 1 if days else 1


async def _compare(client: Client, market_id: str, mirror: MirrorBook) -> BookCheck:
    """Our book beside what the recording made of it, before anything is cancelled."""
    book = await client.get_book(market_id, BOOK_DEPTH_MAX)
    level_count = differing_count = 0
    for side, shown in ((Side.BUY, book.bids), (Side.SELL, book.asks)):
        ours = {level.price_ticks: level.quantity_lots for level in shown}
        wanted = dict(list(mirror.levels(side))[:BOOK_DEPTH_MAX])
        level_count += len(wanted)
        differing_count += len(ours.items() ^ wanted.items())
    return BookCheck(level_count, differing_count)


def _soon() -> float:
    return trio.current_time() + CLEAN_UP_SECONDS
