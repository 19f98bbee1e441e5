"""A seeded stream of trades over eight days: quiet hours, bursts, microsecond times.

Imports nothing of the product. The same seed gives the same trades on every machine: integers and
`random.Random.randrange` only.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

DAY_NS = 86_400_000_000_000
# 2024-08-05 00:00:00 UTC, a Monday.
START_NS = 1_722_816_000 * 1_000_000_000


def stream(seed: int, trade_count: int = 40_000) -> Iterator[tuple[int, int, int, int]]:
    """About `trade_count` trades as (time_ns, trade_sequence, price_ticks, quantity_lots).

    Times are whole microseconds and never fall; several trades may share one. trade_sequence is
    gap-free from 1. Some hours are silent, every day has a trade on its first and its last
    microsecond, and one whole day (the sixth) has those two only.
    """
    rng = random.Random(seed)
    price_ticks = 6_000_000
    trade_sequence = 0
    per_hour = max(trade_count // (7 * 24), 1)
    for day in range(8):
        day_ns = START_NS + day * DAY_NS
        times_us = [0, DAY_NS // 1_000 - 1]
        for hour in range(24):
            if day != 5:
                times_us += _hour_us(rng, hour * 3_600_000_000, per_hour)
        for time_us in sorted(times_us):
            trade_sequence += 1
            price_ticks = max(price_ticks + rng.randrange(-25, 26), 1)
            # Mostly small, now and then a thousand times that.
            quantity_lots = rng.randrange(1, 2_000)
            if rng.randrange(100) == 0:
                quantity_lots *= 1_000
            yield day_ns + time_us * 1_000, trade_sequence, price_ticks, quantity_lots


def _hour_us(rng: random.Random, start_us: int, count: int) -> list[int]:
    """Times of one hour: silent, steady, or a steady half with the rest in two-second bursts."""
    mood = rng.randrange(4)
    if mood == 0:
        return []
    times_us = [start_us + rng.randrange(3_600_000_000) for _ in range(count)]
    if mood == 3:
        bursts_us = [start_us + rng.randrange(3_598_000_000) for _ in range(3)]
        for index in range(count // 2):
            times_us[index] = rng.choice(bursts_us) + rng.randrange(2_000_000)
            if index and rng.randrange(4) == 0:
                times_us[index] = times_us[index - 1]  # the same microsecond
    return times_us
