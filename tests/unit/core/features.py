"""What a differential run has met: a feature that it never reaches is a feature nobody compared."""

from __future__ import annotations

from collections import Counter
from typing import Any

from dexcore.reasons import Reason
from tests.reference.exchange_answer import Answer
from tests.reference.exchange_rules import (
    AMEND,
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

# What takes thousands of orders has tests of its own, and so has what other commands refuse.
NOT_FOR_ORDERS = {"TOO_MANY_OPEN_ORDERS", "BATCH_SIZE", "TOO_MANY_KEYS"}
# First number of the reasons of pools and quotes.
OTHER_REASONS = 110

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
    | {f"refused: {reason.name}" for reason in Reason if 0 < reason < OTHER_REASONS}
) - {f"refused: {name}" for name in NOT_FOR_ORDERS}


class Features:
    """Counts of what was met, by name."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

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
        # One item may have many results, or none, when it cancels all.
        if len(items) == len(results):
            for item, its_terms, result in zip(items, said, results, strict=True):
                if item[0] == PLACE and result.reason == "NONE":
                    self._take_place(item, its_terms, result, phases)
                if item[0] == AMEND and result.reason == "NONE":
                    self.counts["amended and: " + result.status] += 1
                    self.counts["trigger amended"] += bool(its_terms[2])

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

    @property
    def missing(self) -> list[str]:
        """What was never met."""
        return sorted(name for name in EXPECTED if not self.counts[name])

    def __str__(self) -> str:
        return "\n".join(f"{count:9,} {name}" for name, count in sorted(self.counts.items()))
