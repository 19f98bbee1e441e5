"""What a command answers: to its sender now, and to a retry later."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple, final

from dexcore.events import Event
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


def refused_item(reason: Reason, field: str, client_order_id: int = 0) -> ItemResult:
    """The result of a refused item."""
    return ItemResult(0, client_order_id, OrderStatus.REJECTED, 0, 0, (), reason, field)


@final
class Outcome:
    """What :meth:`dexcore.exchange.Exchange.apply` did with one command.

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
        "events",
        "field",
        "items",
        "key",
        "own_time_ns",
        "reason",
        "repeated",
        "sequence",
        "time_ns",
    )

    def __init__(self, sequence: int, time_ns: int) -> None:
        self.sequence = sequence
        self.time_ns = time_ns
        self.own_time_ns = time_ns
        self.events: list[Event] = []
        self.items: tuple[ItemResult, ...] = ()
        self.reason = _ACCEPTED
        self.field = ""
        self.repeated = False
        self.key = 0
        self.counts = (0, 0)
        self.amounts: tuple[int, ...] = ()
