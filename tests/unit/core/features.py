"""What a differential run has met: a feature that it never reaches is a feature nobody compared."""

from __future__ import annotations

from collections import Counter
from typing import Any

from dexcore.reasons import Reason
from tests.reference.exchange_answer import Answer
from tests.reference.exchange_rules import (
    AMEND,
    CANCEL_ALL,
    LASTING,
    OCO,
    PLACE,
    POST_ONLY,
    SLIDE,
    STATUSES,
    Result,
)

TYPES = ("limit", "market", "stop", "stop limit", "trailing stop", "pegged")
TIMES = ("GTC", "IOC", "FOK", "DAY", "GTD", "at open", "at close")
MODES = ("none", "cancel newest", "cancel oldest", "cancel both", "decrement")
PEGS = ("primary", "market", "midpoint")
OPEN_STATES = ("OPEN", "PARTIALLY_FILLED", "FILLED", "EXPIRED", "CANCELLED", "PARKED")

# What takes thousands of orders, quotes or positions has tests of its own.
TOO_MANY = {
    *("TOO_MANY_OPEN_ORDERS", "BATCH_SIZE", "TOO_MANY_KEYS"),
    *("TOO_MANY_POSITIONS", "TOO_MANY_QUOTES", "TOO_MANY_QUOTE_REQUESTS"),
}

# Numbers of what sessions are refused for: the twin knows none.
OF_SESSIONS = range(30, 40)

POOL_DEEDS = {
    "AddLiquidity": "liquidity added",
    "RemoveLiquidity": "liquidity removed",
    "PoolSwap": "swapped with a pool",
}
POOLS = (
    {f"from a pool: {name}" for name in ("limit", "market", "IOC", "FOK", "iceberg")}
    | {f"pool created: {name}" for name in ("constant product", "concentrated")}
    | {
        *("from a pool: minimum quantity", "from a pool: triggered", "from a pool: amended"),
        *("from a pool, then self-trade prevented", "from pool and book"),
        *("beside a pool: post-only", "beside a pool: slide"),
        *("liquidity added", "liquidity removed", "swapped with a pool"),
    }
    | {
        f"refused: {reason.name}"
        for reason in (
            *(Reason.NO_POOL, Reason.POOL_EXISTS, Reason.SLIPPAGE, Reason.UNKNOWN_POSITION),
            Reason.LIQUIDITY_OUT_OF_RANGE,
        )
    }
)

EXPECTED = (
    {f"type: {name}" for name in TYPES}
    | {f"time in force: {name}" for name in TIMES}
    | {f"self-trade prevention sent: {name}" for name in MODES}
    | {f"self-trade prevented: {name}" for name in MODES[1:]}
    | {f"peg: {name}" for name in PEGS}
    | {f"placed in: {name}" for name in ("OPEN", "OPENING_AUCTION", "CLOSING_AUCTION")}
    | {f"phase: {name}" for name in STATUSES.values()}
    | {f"placed and: {name}" for name in OPEN_STATES}
    | {
        *("amended and: OPEN", "amended and: PARTIALLY_FILLED", "amended and: FILLED"),
        *("amended and: PARKED", "post-only", "slide", "iceberg", "minimum quantity", "pair"),
        *("phased batch", "trigger amended", "triggered", "triggered by a triggered order"),
        *("uncross with trades", "uncross triggers", "ended by its limit or stop"),
        *("expired by a tick", "cancelled by a dead man's switch"),
        *("cut off", "stops left for the next command", "ran stops that another command left"),
    }
    | {f"refused: {reason.name}" for reason in Reason if reason and reason not in OF_SESSIONS}
    | POOLS
) - {f"refused: {name}" for name in TOO_MANY}


class Features:
    """Counts of what was met, by name."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        # Markets with a pool, and who took from one by the running command.
        self._pools: set[int] = set()
        self._from_pool: set[int] = set()

    def take(self, kind: str, fields: dict[str, Any], answer: Answer, phases: list[str]) -> None:
        """Note a command with its fields, its answer, and the phases of the markets before it."""
        counts, deeds = self.counts, answer.deeds
        counts["command: " + kind] += 1
        counts.update("phase: " + phase for phase in phases)
        if answer.reason != "NONE":
            counts["refused: " + answer.reason] += 1
        if answer.repeated:
            return
        counts.update("refused: " + r.reason for r in answer.items if r.reason != "NONE")
        self._take_pools(kind, fields, answer)
        counts["self-trades prevented"] += len(deeds.prevented)
        counts.update("self-trade prevented: " + MODES[one[5]] for one in deeds.prevented)
        counts["trades"] += len(deeds.trades)
        counts["triggered"] += len(deeds.triggered)
        # Takers of a batch have the sequence of the batch in their keys.
        own = {trade[6] for trade in deeds.trades if trade[6] // 4096 == answer.sequence}
        takers = {trade[6] for trade in deeds.trades} - own
        counts["triggered by a triggered order"] += len(takers & set(deeds.triggered)) > 1
        counts["ran stops that another command left"] += kind == "Deposit" and bool(deeds.triggered)
        ends = [status for status, _, _ in deeds.closed.values()]
        if kind == "SetMarketStatus" and deeds.trades:
            counts["uncross with trades"] += 1
            counts["uncross triggers"] += bool(deeds.triggered)
        if kind == "ClockTick":
            counts["expired by a tick"] += ends.count("EXPIRED")
            counts["cancelled by a dead man's switch"] += ends.count("CANCELLED")
        if kind == "OrderCommand" and answer.reason == "NONE":
            self._take_items(fields, answer, phases)

    def _take_pools(self, kind: str, fields: dict[str, Any], answer: Answer) -> None:
        counts, trades = self.counts, answer.deeds.trades
        # Maker order and maker account are the pool's.
        self._from_pool = {trade[6] for trade in trades if trade[5] == trade[7]}
        from_book = {trade[6] for trade in trades if trade[5] != trade[7]}
        counts["from pool and book"] += len(self._from_pool & from_book)
        counts["from a pool: triggered"] += len(self._from_pool & set(answer.deeds.triggered))
        counts["from a pool, then self-trade prevented"] += sum(
            one[1] in self._from_pool for one in answer.deeds.prevented
        )
        if answer.reason == "NONE" and kind == "CreatePool":
            counts["pool created: " + ("constant product", "concentrated")[fields["kind"] - 1]] += 1
            self._pools.add(fields["market_index"])
        elif answer.reason == "NONE" and kind in POOL_DEEDS:
            counts[POOL_DEEDS[kind]] += 1

    def _take_items(self, fields: dict[str, Any], answer: Answer, phases: list[str]) -> None:
        items, results = fields["items"], answer.items
        self.counts["phased batch"] += bool(fields["phased"])
        terms = iter(fields["terms"])
        said = [next(terms) if item[4] & 4 else (0,) * 8 for item in items]
        asked = {result.order for result in results}
        self.counts["ended by its limit or stop"] += sum(
            status == "CANCELLED" and key not in asked
            for key, (status, _, _) in answer.deeds.closed.items()
        )
        # One that cancels all may have many results, or none: then they are not told apart.
        if all(item[0] != CANCEL_ALL for item in items):
            for item, its_terms, result in zip(items, said, results, strict=True):
                if item[0] == PLACE and result.reason == "NONE":
                    self._take_place(item, its_terms, result, phases)
                if item[0] == AMEND and result.reason == "NONE":
                    self.counts["amended and: " + result.status] += 1
                    self.counts["trigger amended"] += bool(its_terms[2])
                    self.counts["from a pool: amended"] += result.order in self._from_pool

    def _take_place(
        self, item: tuple[int, ...], terms: tuple[int, ...], result: Result, phases: list[str]
    ) -> None:
        counts = self.counts
        _, _, kind, tif, flags, market, *_ = item
        display, least, _, _, _, _, stp, peg = terms
        counts["type: " + TYPES[kind - 1]] += 1
        counts["time in force: " + TIMES[tif - 1]] += 1
        counts["self-trade prevention sent: " + MODES[stp]] += 1
        counts["placed in: " + phases[market]] += 1
        counts["placed and: " + result.status] += 1
        counts["cut off"] += result.status == "EXPIRED" and tif in LASTING
        if peg:
            counts["peg: " + PEGS[peg - 1]] += 1
        for name, flag in (
            ("post-only", flags & POST_ONLY),
            ("slide", flags & SLIDE),
            ("pair", flags & OCO),
            ("iceberg", display),
            ("minimum quantity", least),
        ):
            counts[name] += bool(flag)
            if result.order in self._from_pool:
                counts["from a pool: " + name] += bool(flag)
            if market in self._pools:
                counts["beside a pool: " + name] += bool(flag)
        if result.order in self._from_pool:
            counts["from a pool: " + TYPES[kind - 1]] += 1
            counts["from a pool: " + TIMES[tif - 1]] += 1

    @property
    def missing(self) -> list[str]:
        """What was never met."""
        return sorted(name for name in EXPECTED if not self.counts[name])

    def __str__(self) -> str:
        return "\n".join(f"{count:9,} {name}" for name, count in sorted(self.counts.items()))
