"""What a command answers: to its sender now, and to a retry later."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple, final

from dexcore.events import Event, Logged, named
from dexcore.reasons import Reason


class OrderStatus(IntEnum):
    """State of an order after a command; numbers of ``dex.orders.v1.OrderStatus``."""

    NONE = 0
    OPEN = 1
    PARTIALLY_FILLED = 2
    FILLED = 3
    CANCELLED = 4
    EXPIRED = 5
    REJECTED = 6
    PARKED = 7


# Reading an enumeration's member costs more than all else an outcome begins with.
_ACCEPTED: Final = Reason.NONE
_REJECTED: Final = int(OrderStatus.REJECTED)

Fill = tuple[int, int, int, int]
"""trade_sequence, price_ticks, quantity_lots, fee_atoms of the order's owner."""


class ItemResult(NamedTuple):
    """What became of one item of an order command."""

    order_key: int
    client_order_id: int
    status: int
    filled_lots: int
    remaining_lots: int
    fills: tuple[Fill, ...]
    reason: int
    field: str


Result = tuple[Any, ...]
"""The values of an ItemResult: made and kept without names, which cost as much again. Plain ints
and texts alone, no members of enumerations: such a tuple is nothing to the garbage collector."""


def refused_item(reason: Reason, field: str, client_order_id: int = 0) -> Result:
    """The result of a refused item."""
    return (0, client_order_id, _REJECTED, 0, 0, (), reason.value, field)


@final
class Outcome:
    """What :meth:`dexcore.exchange.Exchange.apply` did with one command.

    ``logged`` has its events and ``results`` its items' results, both as they were made; ``events``
    and ``items`` are the same with names.
    ``reason`` is not NONE when the command was refused as a whole. A repeated
    payload gives the ``sequence``, ``time_ns`` and results of its first time; ``events``, of stops
    that went on before it, are of ``own_time_ns``.
    ``key`` is the account or market the command was about, where it made one;
    ``counts`` are (recorded, skipped) of recorded trades, ``amounts`` what a command about a pool
    moved: (liquidity, base_atoms, quote_atoms), or of a swap the two last.
    """

    __slots__ = (
        "amounts",
        "counts",
        "field",
        "key",
        "logged",
        "own_time_ns",
        "reason",
        "repeated",
        "results",
        "sequence",
        "time_ns",
    )

    def __init__(self, sequence: int, time_ns: int) -> None:
        self.sequence = sequence
        self.time_ns = time_ns
        self.own_time_ns = time_ns
        self.logged: list[Logged] = []
        self.results: tuple[Result, ...] = ()
        self.reason = _ACCEPTED
        self.field = ""
        self.repeated = False
        self.key = 0
        self.counts = (0, 0)
        self.amounts: tuple[int, ...] = ()

    @property
    def events(self) -> Sequence[Event]:
        """Everything that happened, in order."""
        return [named(logged) for logged in self.logged]

    @property
    def items(self) -> tuple[ItemResult, ...]:
        """What became of each item, in the order in which they were sent."""
        return tuple([ItemResult._make(result) for result in self.results])
