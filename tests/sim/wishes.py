"""Orders that a client of a simulation may want, out of its chance."""

from __future__ import annotations

import random
from typing import Any

from dexsdk import (
    NewOrder,
    OrderType,
    PegReference,
    SelfTradePrevention,
    Side,
    TimeInForce,
)


def new_order(chance: random.Random, market_id: str, client_id: int, now_ns: int) -> NewOrder:
    """An order of any kind near the middle of the market."""
    roll = chance.random()
    side = chance.choice((Side.BUY, Side.SELL))
    lots = chance.randint(1, 20)
    if roll < 0.1:
        return NewOrder(
            market_id,
            side,
            lots,
            type=OrderType.MARKET,
            time_in_force=TimeInForce.IOC,
            client_order_id=client_id,
        )
    if roll < 0.2:
        said = waiting(chance, now_ns)
        return NewOrder(market_id, side, lots, client_order_id=client_id, **said)
    kinds = (TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)
    kind = chance.choice(kinds)
    rests = kind is TimeInForce.GTC
    post_only = rests and chance.random() < 0.1
    return NewOrder(
        market_id,
        side,
        lots * chance.choice((1, 1, 1, 40_000)),
        near(chance),
        time_in_force=kind,
        post_only=post_only,
        client_order_id=client_id,
        slide=post_only and chance.random() < 0.5,
        display_lots=chance.choice((0, 0, 0, 1, 2)) if rests else 0,
        min_lots=0 if post_only or kind is TimeInForce.FOK else chance.choice((0, 0, 0, 0, 1)),
        self_trade_prevention=chance.choice((None, None, *SelfTradePrevention)),
    )


def waiting(chance: random.Random, now_ns: int) -> dict[str, Any]:
    """What makes an order wait for a price or a time, if the market has what it needs."""
    kinds: tuple[dict[str, Any], ...] = (
        {"price_ticks": near(chance), "trigger_price_ticks": near(chance)},
        {"trail_ticks": chance.randint(1, 5)},
        {"price_ticks": near(chance), "peg": chance.choice(tuple(PegReference))},
        {"price_ticks": near(chance), "time_in_force": TimeInForce.DAY},
        {"price_ticks": near(chance), "expire_time": now_ns + chance.randint(1, 10**10)},
    )
    return chance.choice(kinds)


def near(chance: random.Random) -> int:
    """A price near the middle."""
    return 1_000 + chance.randint(-8, 8)
