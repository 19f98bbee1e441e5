"""What clients have seen, and what must follow from it. Imports nothing of the product.

An acknowledged command keeps its answer, a refused one stays refused, a feed has no gaps and takes
nothing back, each trade belongs to one command, and every balance is what the trades, fees,
transfers and deposits that clients know of add up to.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, NamedTuple

PPM: Final = 1_000_000
# OrderStatus of the contract.
PARKED: Final = 7


class Finding(AssertionError):
    """A promise that was not kept."""


class Fill(NamedTuple):
    """One trade as its market tells of it."""

    sequence: int
    time_ns: int
    price_ticks: int
    quantity_lots: int
    taker_side: int
    maker_order_id: str
    taker_order_id: str


class Applied(NamedTuple):
    """The answer to a command that was applied; ``results`` say what became of its items."""

    sequence: int
    time_ns: int
    results: tuple[Any, ...]


class Refused(NamedTuple):
    """The answer to a command that was refused."""

    reason: str


class Result(NamedTuple):
    """What became of one item."""

    order_id: str
    status: int
    filled_lots: int
    remaining_lots: int
    fills: tuple[tuple[int, ...], ...]
    reason: str


class Terms(NamedTuple):
    """What a trade of the market moves."""

    base: str
    quote: str
    base_atoms_per_lot: int
    quote_atoms_per_tick_lot: int
    maker_fee_ppm: int
    taker_fee_ppm: int


class Witness:
    """Sees every answer and every item of a feed."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.answers: dict[bytes, Applied | Refused] = {}
        self.owner_of_payload: dict[bytes, str] = {}
        self.sent: dict[bytes, Any] = {}
        self.deposits: dict[tuple[str, str], int] = {}
        self.feeds: dict[str, dict[Any, Any]] = {}

    # --- while it runs

    def sends(self, who: str, payload: bytes, call: Any) -> None:
        """A client sends a payload, perhaps again; ``call`` is how to send it once more."""
        self.counts["payloads sent"] += 1
        self.owner_of_payload.setdefault(payload, who)
        self.sent.setdefault(payload, call)

    def answered(self, payload: bytes, answer: Applied | Refused) -> None:
        """A payload was answered."""
        self.counts["answers"] += 1
        first = self.answers.setdefault(payload, answer)
        if first != answer:
            kind = "a refused command" if isinstance(first, Refused) else "an acknowledged command"
            raise Finding(f"{kind} got another answer later: first {first}, then {answer}")
        if first is not answer:
            self.counts["answers given again"] += 1

    def must_be_refused(self, payload: bytes, reason: str) -> None:
        """A payload that cannot be anything but refused."""
        answer = self.answers.get(payload)
        if answer is not None and answer != Refused(reason):
            raise Finding(f"{reason} was due, and the answer was {answer}")

    def saw(self, feed: str, sequence: Any, item: Any) -> None:
        """A reader got an item of a feed: nobody may ever get another one in its place."""
        first = self.feeds.setdefault(feed, {}).setdefault(sequence, item)
        if first != item:
            raise Finding(f"{feed} took {sequence} back: first {first}, then {item}")

    def follows(self, feed: str, before: int, sequence: int) -> None:
        """A reader that had ``before`` got ``sequence``."""
        if before and sequence != before + 1:
            raise Finding(f"{feed} has a gap: {sequence} after {before}")

    # --- at the end

    def unanswered(self) -> list[bytes]:
        """Payloads nobody knows the fate of."""
        return [payload for payload in self.sent if payload not in self.answers]

    def _waited(self) -> set[str]:
        """Orders that an answer said wait outside the book."""
        return {
            result.order_id
            for answer in self.answers.values()
            if isinstance(answer, Applied)
            for result in answer.results
            if isinstance(result, Result) and result.status == PARKED
        }

    def check_trades(self, trades: list[Fill]) -> None:
        """Each trade is the work of one acknowledged command, and what was seen is there."""
        numbers = [trade.sequence for trade in trades]
        if numbers != list(range(1, len(trades) + 1)):
            raise Finding(f"the trades are not numbered from 1 without a gap: {numbers}")
        filled = Counter(
            fill[0]
            for answer in self.answers.values()
            if isinstance(answer, Applied)
            for result in answer.results
            if isinstance(result, Result)
            for fill in result.fills
        )
        by_sequence = {trade.sequence: trade for trade in trades}
        waited = self._waited()
        untold = Counter(numbers) - filled
        # What a stop takes when it is triggered stands in nobody's answer.
        untold -= Counter(n for n in untold if by_sequence[n].taker_order_id in waited)
        invented = filled - Counter(numbers)
        if untold or invented:
            raise Finding(
                f"trades that no answer tells of: {sorted(untold)}; "
                f"fills without a trade: {sorted(invented)}"
            )
        for sequence, seen in self.feeds.get("trades", {}).items():
            if by_sequence.get(sequence) != seen:
                raise Finding(f"a reader saw trade {sequence} as {seen}; it is not there now")

    def balances(
        self, trades: list[Fill], terms: Terms, transfers: list[tuple[bytes, str, str, str, int]]
    ) -> dict[tuple[str, str], int]:
        """What each client owns of each asset, by all it was told.

        A transfer is its payload, who gives, who takes, the asset and the atoms.
        """
        owner = {
            result.order_id: self.owner_of_payload[payload]
            for payload, answer in self.answers.items()
            if isinstance(answer, Applied)
            for result in answer.results
            if isinstance(result, Result) and result.order_id
        }
        owned: Counter[tuple[str, str]] = Counter(self.deposits)
        rates: Counter[str] = Counter()
        for trade in trades:
            base = trade.quantity_lots * terms.base_atoms_per_lot
            quote = trade.quantity_lots * trade.price_ticks * terms.quote_atoms_per_tick_lot
            taker_sign = 1 if trade.taker_side == 1 else -1
            for order_id, sign, fee_ppm in (
                (trade.taker_order_id, taker_sign, terms.taker_fee_ppm),
                (trade.maker_order_id, -taker_sign, terms.maker_fee_ppm),
            ):
                who = owner.get(order_id)
                if who is None:
                    raise Finding(f"trade {trade.sequence} is of an order nobody placed")
                owned[who, terms.base] += sign * base
                owned[who, terms.quote] -= sign * quote
                rates[order_id] += quote * fee_ppm
        for order_id, due_ppm in rates.items():
            owned[owner[order_id], terms.quote] -= -(-due_ppm // PPM)
        for payload, giver, taker, asset, atoms in transfers:
            if isinstance(self.answers.get(payload), Applied):
                owned[giver, asset] -= atoms
                owned[taker, asset] += atoms
        return dict(owned)

    def check_klines(self, trades: list[Fill], klines: list[tuple[int, ...]], span_ns: int) -> None:
        """Each K-line is what the trades of its window make: open, high, low, close, volume."""
        windows: dict[int, list[Fill]] = {}
        for trade in trades:
            windows.setdefault(trade.time_ns // span_ns * span_ns, []).append(trade)
        expected = [
            (
                open_ns,
                rows[0].price_ticks,
                max(row.price_ticks for row in rows),
                min(row.price_ticks for row in rows),
                rows[-1].price_ticks,
                sum(row.quantity_lots for row in rows),
                len(rows),
            )
            for open_ns, rows in sorted(windows.items())
        ]
        if klines != expected:
            raise Finding(f"K-lines {klines} do not follow from the trades: {expected}")
