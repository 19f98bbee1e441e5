"""Every metric of a node, and the hooks through which the node feeds them.

Names are Prometheus's: base units (seconds, bytes), `_total` on counters. Where the first design of
the system named a metric, `original` says so and docs/reference/metrics.md lists it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, final

from dexcore.commands import Command, RecordTrades
from dexcore.events import ExternalTrade
from dexcore.results import OrderStatus, Outcome
from dexkline import Interval
from dexnode.admission import Admission
from dexnode.errors import reason_name
from dexnode.gate import NodeGate
from dexnode.metrics import COUNT_BOUNDS, SECOND, Counter, Histogram, Registry, Sample
from dexrpc import StatusCode
from dexruntime.journal import SyncSample
from dexruntime.shard import Shard
from dexruntime.views import MarketView

# Recorded trades may be hours old when a file is imported.
LAG_BOUNDS_NS: Final = tuple(
    seconds * SECOND // 1000
    for seconds in (1, 10, 100, 500, 1000, 5000, 30_000, 300_000, 3_600_000, 86_400_000)
)

VERDICTS: Final = ("applied", "refused", "repeated")
INTERVAL_NAMES: Final = {
    Interval.SECOND_1: "1s",
    Interval.MINUTE_1: "1m",
    Interval.MINUTE_5: "5m",
    Interval.HOUR_1: "1h",
    Interval.DAY_1: "1d",
}


@final
class _MethodSeries:
    """What is counted of one method, found with one look-up per call."""

    __slots__ = ("by_code", "duration")

    def __init__(self, by_code: list[Counter], duration: Histogram) -> None:
        self.by_code = by_code
        self.duration = duration


@final
class RpcMetrics:
    """Calls and connections: the RpcObserver of dexrpc."""

    __slots__ = (
        "_connection_refusals",
        "_durations",
        "_floods",
        "_methods",
        "_requests",
        "_stalls",
        "calls",
        "connections",
    )

    def __init__(self, registry: Registry) -> None:
        self._requests = registry.counter(
            "dex_rpc_requests_total", "Calls that ended, by method and status.", ("method", "code")
        )
        self._durations = registry.histogram(
            "dex_rpc_duration_seconds",
            "From the first byte of a call to its status; a stream counts its whole life.",
            ("method",),
        )
        self._connection_refusals = registry.counter(
            "dex_rpc_connection_refusals_total",
            "Connections closed when they were accepted, by the ceiling they met.",
            ("ceiling",),
        )
        self._floods = registry.counter(
            "dex_rpc_floods_total",
            "Connections ended with ENHANCE_YOUR_CALM, by the frames they sent too many of.",
            ("frames",),
        )
        self._stalls = registry.counter(
            "dex_rpc_stalls_total",
            "Answers given up since nobody read them, by method.",
            ("method",),
        )
        self._methods: dict[str, _MethodSeries] = {}
        self.calls = 0
        self.connections = 0
        registry.reading("gauge", "dex_rpc_calls", "Calls that are running.").read = lambda: [
            Sample((), self.calls)
        ]
        registry.reading("gauge", "dex_rpc_connections", "Open connections.").read = lambda: [
            Sample((), self.connections)
        ]

    def connection_opened(self) -> None:
        """See dexrpc.RpcObserver."""
        self.connections += 1

    def connection_closed(self) -> None:
        """See dexrpc.RpcObserver."""
        self.connections -= 1

    def call_started(self, method: str) -> None:
        """See dexrpc.RpcObserver."""
        self.calls += 1
        if method not in self._methods:
            by_code = [self._requests.series(method, code.name) for code in StatusCode]
            self._methods[method] = _MethodSeries(by_code, self._durations.series(method))

    def call_finished(self, method: str, code: StatusCode, seconds: float) -> None:
        """See dexrpc.RpcObserver."""
        self.calls -= 1
        series = self._methods[method]
        series.by_code[code].value += 1
        series.duration.observe(int(seconds * 1e9))

    def flood_ended(self, what: str) -> None:
        """See dexrpc.RpcObserver."""
        self._floods.series(what).value += 1

    def call_stalled(self, method: str) -> None:
        """See dexrpc.RpcObserver."""
        self._stalls.series(method).value += 1

    def connection_refused(self, reason: str) -> None:
        """See dexrpc.RpcObserver."""
        self._connection_refusals.series(reason).value += 1


@final
class NodeMetrics:
    """The metrics of one node. `command_applied` and `call_refused` belong to the loop,
    `journal_synced` to the journal's thread."""

    def __init__(self) -> None:
        registry = self.registry = Registry()
        self.rpc = RpcMetrics(registry)
        self._call_refusals = registry.counter(
            "dex_rpc_refusals_total", "Calls refused, by reason.", ("reason",)
        )
        self._admission = _AdmissionMetrics(registry)
        self._commands = registry.counter(
            "dex_commands_total", "Durable commands, by type and outcome.", ("command", "outcome")
        )
        self._commands_by_type: dict[type, list[Counter]] = {}
        items = registry.counter(
            "dex_order_items_total",
            "Items of durable order commands, by the state they left their order in.",
            ("status",),
        )
        self._items = [items.series(status.name) for status in OrderStatus]
        self._refusals = registry.counter(
            "dex_order_refusals_total",
            "Items and commands the exchange refused, by reason.",
            ("reason",),
            original="dex_invalid_orders_total, dex_risk_drops_total, dex_expired_orders_total",
        )
        self._refusals_by_reason: dict[int, Counter] = {}
        self._ingest_lag = registry.histogram(
            "dex_trade_ingest_lag_seconds",
            "From the time of the last recorded trade of a batch to its command.",
            bounds=LAG_BOUNDS_NS,
            original="dex_trade_ingest_lag",
        ).series()
        self._sync = registry.histogram(
            "dex_journal_sync_seconds", "Write and fdatasync of one block of the journal."
        ).series()
        self._batch = registry.histogram(
            "dex_journal_batch_commands",
            "Commands that one fdatasync made durable.",
            bounds=COUNT_BOUNDS,
            unit="",
        ).series()
        self._journal_bytes = registry.counter(
            "dex_journal_written_bytes_total", "Bytes of records written to the journal."
        ).series()
        self._loop_lag = registry.histogram(
            "dex_loop_lag_seconds", "How late the event loop ran a task that was due."
        ).series()
        self._shard_readings = _ShardReadings(registry)

    def call_refused(self, reason: str) -> None:
        """A call ended with the reason of that name."""
        self._call_refusals.series(reason).value += 1

    def gate_refused(self, reason: str, ceiling: str) -> None:
        """The gate kept a call out."""
        self._call_refusals.series(reason).value += 1
        self._admission.refusals.series(ceiling).value += 1

    def observe_admission(self, admission: Admission, gate: NodeGate) -> None:
        """Read budgets and ceilings at every scrape from now on."""
        self._admission.observe(admission, gate)

    def command_applied(self, command: Command, outcome: Outcome) -> None:
        """A command became durable; the observer of dexruntime.Shard."""
        by_verdict = self._commands_by_type.get(type(command))
        if by_verdict is None:
            name = type(command).__name__
            by_verdict = [self._commands.series(name, verdict) for verdict in VERDICTS]
            self._commands_by_type[type(command)] = by_verdict
        by_verdict[2 if outcome.repeated else 1 if outcome.reason else 0].value += 1
        if outcome.repeated:
            return
        if outcome.reason:
            self._refused(outcome.reason)
        by_status = self._items
        for _, _, status, _, _, _, reason, _ in outcome.results:
            by_status[status].value += 1
            if reason:
                self._refused(reason)
        if type(command) is RecordTrades:
            self._recorded(outcome)

    def journal_synced(self, sample: SyncSample) -> None:
        """A block of the journal is on disk."""
        self._sync.observe(sample.latency_ns)
        self._batch.observe(sample.record_count)
        self._journal_bytes.value += sample.body_bytes

    def loop_lagged(self, lag_ns: int) -> None:
        """The loop ran a task that long after it was due."""
        self._loop_lag.observe(lag_ns)

    def observe_shard(self, shard: Shard) -> None:
        """Read the shard at every scrape from now on."""
        self._shard_readings.observe(shard)

    def _refused(self, reason: int) -> None:
        counter = self._refusals_by_reason.get(reason)
        if counter is None:
            series = self._refusals.series(reason_name(reason))
            counter = self._refusals_by_reason[reason] = series
        counter.value += 1

    def _recorded(self, outcome: Outcome) -> None:
        for event in reversed(outcome.logged):
            if isinstance(event, ExternalTrade):
                self._ingest_lag.observe(outcome.time_ns - event.time_ns)
                return


class _AdmissionMetrics:
    """What is kept out, and where the ceilings stand."""

    def __init__(self, registry: Registry) -> None:
        self.refusals = registry.counter(
            "dex_gate_refusals_total",
            "Calls refused before any work was done for them, by the ceiling they met, or "
            "`cool_down`; `dex_rpc_refusals_total` counts them too.",
            ("ceiling",),
        )
        self.used = registry.reading(
            "gauge", "dex_ceiling_used", "What a ceiling holds at the moment.", ("ceiling",)
        )
        self.limit = registry.reading(
            "gauge", "dex_ceiling_limit", "What it holds at most.", ("ceiling",)
        )
        self.budgets = registry.reading(
            "gauge", "dex_budgets", "Budgets of accounts and keys that were used lately."
        )
        self.cool_downs = registry.reading(
            "counter",
            "dex_cool_downs_total",
            "Times a connection had to cool down, after too much on it did not verify.",
        )

    def observe(self, admission: Admission, gate: NodeGate) -> None:
        self.used.read = lambda: [Sample((c.name,), c.used) for c in gate.ceilings()]
        self.limit.read = lambda: [Sample((c.name,), c.limit) for c in gate.ceilings()]
        self.budgets.read = lambda: [Sample((), admission.bucket_count)]
        self.cool_downs.read = lambda: [Sample((), admission.cooling_count)]


class _ShardReadings:
    """What a shard knows of itself anyway, read when somebody asks."""

    def __init__(self, registry: Registry) -> None:
        gauge = registry.reading
        self.queue = gauge(
            "gauge", "dex_sequencer_queue_commands", "Commands waiting for the sequencer."
        )
        self.verifier = gauge(
            "gauge", "dex_verifier_queue_signatures", "Signatures waiting to be verified."
        )
        self.applied = gauge(
            "gauge", "dex_applied_sequence", "Journal position of the last applied command."
        )
        self.durable = gauge(
            "gauge", "dex_durable_sequence", "Journal position up to which everything is on disk."
        )
        self.snapshot = gauge(
            "gauge", "dex_snapshot_sequence", "Journal position of the newest snapshot."
        )
        self.oldest = gauge(
            "gauge", "dex_journal_oldest_sequence", "Journal position of the oldest record kept."
        )
        self.full = gauge("gauge", "dex_journal_disk_full", "1 while the journal's disk is full.")
        self.removed = gauge(
            "counter", "dex_journal_segments_removed_total", "Segments that retention removed."
        )
        self.derived = gauge(
            "gauge",
            "dex_derived_applied_sequence",
            "Journal position a derived store has durably applied; retention waits for the least.",
            ("store",),
        )
        self.replayed = gauge(
            "gauge", "dex_replayed_commands", "Commands replayed when the node started."
        )
        self.accounts = gauge("gauge", "dex_accounts", "Accounts.")
        self.orders = gauge("gauge", "dex_open_orders", "Open orders in all markets.")
        self.trades = gauge(
            "counter", "dex_trades_total", "Trades; each is a fill of two orders.", ("market",)
        )
        self.published = gauge(
            "counter",
            "dex_marketdata_published_total",
            "Items published on a feed; its rate is the publishing rate.",
            ("market", "feed"),
            original="dex_marketdata_pub_rate",
        )
        self.subscribers = gauge(
            "gauge", "dex_feed_subscribers", "Subscribers of a feed.", ("market", "feed")
        )
        self.pool_atoms = gauge(
            "gauge", "dex_pool_atoms", "What a market's pool holds, in atoms.", ("market", "asset")
        )
        self.kline_delay = gauge(
            "gauge",
            "dex_kline_delay_seconds",
            "How long the earliest open K-line window has been over without being closed.",
            ("market",),
            unit="seconds",
            original="dex_kline_delay_seconds",
        )

    def observe(self, shard: Shard) -> None:
        exchange, views, sequencer = shard.exchange, shard.views, shard.sequencer
        accounts = exchange.accounts.by_key

        def markets() -> list[tuple[str, MarketView]]:
            return [(exchange.markets[v.index].spec.market_id, v) for v in list(views.markets)]

        self.queue.read = lambda: [Sample((), sequencer.queue_depth)]
        self.verifier.read = lambda: [Sample((), shard.verifier.queue_depth)]
        self.applied.read = lambda: [Sample((), exchange.sequence)]
        self.durable.read = lambda: [Sample((), sequencer.durable_sequence)]
        self.snapshot.read = lambda: [Sample((), shard.snapshot_sequence)]
        self.oldest.read = lambda: [Sample((), shard.oldest_sequence)]
        self.full.read = lambda: [Sample((), int(shard.journal_disk_is_full))]
        self.removed.read = lambda: [Sample((), shard.removed_segments)]
        self.derived.read = lambda: [
            Sample((store.name,), store.applied_sequence) for store in shard.derived_stores
        ]
        self.replayed.read = lambda: [Sample((), shard.replayed_count)]
        self.accounts.read = lambda: [Sample((), len(accounts))]
        self.orders.read = lambda: [
            Sample((), sum(len(account.open_orders) for account in list(accounts.values())))
        ]
        self.trades.read = lambda: [
            Sample((name,), view.trades.row_count) for name, view in markets()
        ]
        self.published.read = lambda: [
            Sample((name, feed), last - (exchange.epochs[-1][2] if exchange.epochs else 0))
            for name, view in markets()
            for feed, last, _ in _feeds(view)
        ]
        self.subscribers.read = lambda: [
            Sample((name, feed), readers)
            for name, view in markets()
            for feed, _, readers in [*_feeds(view), ("pool", 0, view.pool_feed.readers)]
        ]
        self.pool_atoms.read = lambda: [
            Sample((market.spec.market_id, cell.asset.asset_id), cell.available)
            for market in list(exchange.markets)
            if market.pool is not None
            for cell in (market.pool.base_cell, market.pool.quote_cell)
        ]
        self.kline_delay.read = lambda: [
            Sample((name,), _overdue_ns(view) / SECOND) for name, view in markets()
        ]


def _feeds(view: MarketView) -> Iterator[tuple[str, int, int]]:
    """(feed, last sequence, readers)."""
    yield "book", view.book_feed.last_sequence, view.book_feed.readers
    yield "trades", view.trade_feed.last_sequence, view.trade_feed.readers
    for interval, feed in view.kline_feeds.items():
        yield f"klines_{INTERVAL_NAMES[interval]}", feed.last_sequence, feed.readers


def _overdue_ns(view: MarketView) -> int:
    try:
        due_ns = view.due_ns()
    except IndexError:
        # The window closed on the loop between two reads of this thread.
        return 0
    return 0 if due_ns is None else max(0, time.time_ns() - due_ns)
