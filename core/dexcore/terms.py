"""What only some orders carry: the part of an order that a plain limit order has not."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from dexcore.items import TYPE_STOP, TYPE_TRAILING_STOP, Terms

if TYPE_CHECKING:
    from dexcore.book import Order


@final
class OrderTerms:
    """Terms of an order that has any, and what they have become by now.

    ``limit_price_ticks`` is a pegged order's limit; the order's own price is where it rests.
    ``band_ticks`` is the market's protection when a stop came in, and the price of the stop is
    the worst that it reserved for; a trailing stop's trigger is in :mod:`dexcore.triggers`.
    ``hidden_lots`` are the open lots that an iceberg does not show; ``display_lots`` is zero for
    an order that shows all. Self-trade prevention ends a taking order that ``is_prevented``.
    ``other`` is the other leg of a pair of which one cancels the other.
    """

    __slots__ = (
        "band_ticks",
        "display_lots",
        "expire_time_ns",
        "hidden_lots",
        "is_parked",
        "is_prevented",
        "limit_price_ticks",
        "order_type",
        "other",
        "peg",
        "peg_offset_ticks",
        "stp",
        "time_in_force",
        "trail_ticks",
        "trigger_price_ticks",
    )

    def __init__(self, order_type: int, time_in_force: int, price_ticks: int, said: Terms) -> None:
        (
            self.display_lots,
            _,  # The minimum quantity counts when the order comes in, and never again.
            self.trigger_price_ticks,
            self.trail_ticks,
            self.peg_offset_ticks,
            self.expire_time_ns,
            self.stp,
            self.peg,
        ) = said
        self.order_type = order_type
        self.time_in_force = time_in_force
        self.limit_price_ticks = price_ticks
        self.band_ticks = 0
        self.hidden_lots = 0
        self.is_parked = False
        self.is_prevented = False
        self.other: Order | None = None

    @property
    def is_stop(self) -> bool:
        """Whether it is a stop, stop limit or trailing stop; triggered or not."""
        return TYPE_STOP <= self.order_type <= TYPE_TRAILING_STOP

    def hide(self, open_lots: int) -> None:
        """Show as much of the open lots as the order shows when it comes to the tail."""
        display_lots = self.display_lots
        self.hidden_lots = open_lots - display_lots if 0 < display_lots < open_lots else 0
