"""What a replay reports, for programs and for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from rich.table import Table

from dexnode.cli.common import console
from dexnode.recorded.proof import AssetProof
from dexnode.recorded.survey import Survey
from dexnode.recorded.tally import Tally, percentile, ratio
from dexsdk import Market

LATENCIES: Final = {"p50": 500, "p99": 990, "p99_9": 999, "max": 1_000}
NS_PER_US: Final = 1_000
NS_PER_SECOND: Final = 1_000_000_000


class BookCheck(NamedTuple):
    """The node's book at the end beside the mirror's."""

    level_count: int
    differing_count: int


def make_report(
    market: Market,
    found: Survey,
    tally: Tally,
    stale_count: int,
    elapsed_ns: int,
    book: BookCheck,
    proofs: Sequence[AssetProof],
) -> dict[str, Any]:
    """The summary as plain values: ticks, lots and atoms as whole numbers, ratios as text."""
    recorded_ns = found.last_trade_time_ns - found.first_trade_time_ns
    return {
        "market_id": market.market_id,
        "recording": {
            "message_count": found.message_count,
            "trade_count": found.trade_count,
            "seconds": ratio(recorded_ns, NS_PER_SECOND),
        },
        "orders": {
            "count": tally.order_count,
            "placed_count": tally.placed_count,
            "amended_count": tally.amended_count,
            "cancelled_count": tally.cancelled_count,
            "taker_count": tally.taker_count,
            "synthetic_count": tally.synthetic_count,
            "synthetic_quantity": market.format_quantity(tally.synthetic_lots),
            "stale_count": stale_count,
            "refused_count": tally.refused.total(),
            "refused": dict(tally.refused),
            "envelope_count": tally.envelope_count,
        },
        "fill_count": tally.fill_count,
        "exact_trade_count": tally.exact_count,
        "price_divergence": {
            "trade_count": tally.away_count,
            "quantity": market.format_quantity(tally.away_lots),
            "mean_ticks": ratio(tally.away_ticks_lots, tally.filled_lots),
            "max_ticks": tally.away_ticks_max,
            "tick_size": format(market.tick_size, "f"),
        },
        "quantity_divergence": {
            "trade_count": tally.short_count,
            "recorded_quantity": market.format_quantity(tally.recorded_lots),
            "filled_quantity": market.format_quantity(tally.filled_lots),
            "mean_lots": ratio(tally.recorded_lots - tally.filled_lots, found.trade_count),
            "max_lots": tally.short_lots_max,
        },
        "latency_us": {
            name: percentile(tally.latencies_ns, per_mille) // NS_PER_US
            for name, per_mille in LATENCIES.items()
        },
        "elapsed_seconds": ratio(elapsed_ns, NS_PER_SECOND),
        "orders_per_second": tally.order_count * NS_PER_SECOND // max(1, elapsed_ns),
        "book": book._asdict(),
        "balances": [{**proof._asdict(), "balanced": proof.balanced} for proof in proofs],
        "balanced": all(proof.balanced for proof in proofs),
    }


def print_summary(report: dict[str, Any]) -> None:
    """The summary for people."""
    console.print(f"[bold]Replay on {report['market_id']}[/bold]")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in _lines(report):
        table.add_row(name, text)
    console.print(table)


def _lines(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    recording, orders = report["recording"], report["orders"]
    price, quantity = report["price_divergence"], report["quantity_divergence"]
    trades = f"{recording['trade_count']:,} trades"
    yield (
        "recording",
        f"{recording['message_count']:,} messages, {trades}, {recording['seconds']} s",
    )
    yield "orders", f"{orders['count']:,} in {orders['envelope_count']:,} signed batches"
    yield "  book", _counts(orders, "placed", "amended", "cancelled", "stale")
    yield "  takers", f"{orders['taker_count']:,}"
    made_up = f"{orders['synthetic_count']:,} makers, {orders['synthetic_quantity']} in all"
    yield "  synthetic", f"{made_up}: a trade took what the recorded book does not show"
    refused = ", ".join(f"{count:,} {reason}" for reason, count in orders["refused"].items())
    yield "  refused", f"{orders['refused_count']:,} {refused}"
    exact = f"{report['exact_trade_count']:,} of {trades} as recorded"
    yield "fills", f"{report['fill_count']:,}; {exact}"
    away = f"{price['trade_count']:,} trades at another price"
    sizes = f"mean {price['mean_ticks']}, max {price['max_ticks']:,} ticks of {price['tick_size']}"
    yield "  price", f"{away}; {sizes}"
    filled = f"{quantity['filled_quantity']} of {quantity['recorded_quantity']} filled"
    short = f"mean {quantity['mean_lots']}, max {quantity['max_lots']:,} lots"
    yield "  quantity", f"{quantity['trade_count']:,} trades short; {filled}; {short}"
    times = ", ".join(f"{name} {value:,}" for name, value in report["latency_us"].items())
    yield "latency", f"{times} us, from send to answer of a batch"
    yield "pace", f"{report['elapsed_seconds']} s, {report['orders_per_second']:,} orders/s"
    book = report["book"]
    yield "book", f"{book['level_count']:,} levels compared, {book['differing_count']:,} differ"
    for proof in report["balances"]:
        kept = f"accounts {proof['balance_atoms']:,} + fees {proof['fee_atoms']:,} atoms"
        yield proof["asset_id"], f"deposits {proof['deposited_atoms']:,} = {kept}"
        for name, atoms in proof["differences"].items():
            yield "", f"[red]{name} has {atoms:+,} atoms that its trades do not explain[/red]"
    yield "", "balanced to the atom" if report["balanced"] else "[red]DOES NOT BALANCE[/red]"


def _counts(orders: dict[str, Any], *names: str) -> str:
    return ", ".join(f"{orders[f'{name}_count']:,} {name}" for name in names)
