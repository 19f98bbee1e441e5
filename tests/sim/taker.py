"""A taker of quotes in the simulation."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from dex.matching.v1 import quote_pb2 as pb
from dexsdk import quote_operations
from dexsdk.session import Session
from dexsdk.types import Side

if TYPE_CHECKING:
    from tests.sim.client import Driver


class Offered(Exception):
    """There is a quote, and no need to wait for more."""


async def take_first_quote(
    driver: Driver, session: Session, chance: random.Random, market_id: str
) -> None:
    """Ask for quotes and accept the first that comes, if one comes in time; raises DexError."""
    side = chance.choice((Side.BUY, Side.SELL))

    def take_first(item: Any) -> None:
        if item.HasField("quote") and item.quote.status == pb.QUOTE_STATUS_OPEN:
            raise Offered(item.quote)

    feed = quote_operations.request_quote(
        session,
        market_id,
        chance.randint(1, 20),
        side=chance.choice((side, None)),
        seconds=chance.randint(100, 1_000) / 1_000,
    )
    try:
        await driver.run(feed, take_first)
    except Offered as offered:
        [quote] = offered.args
        price = quote.ask_price_ticks if side is Side.BUY else quote.bid_price_ticks
        taken = quote_operations.accept_quote(session, quote.quote_id, side, price)
        # The request ends with the feed: until then it is open.
        await driver.run(taken)
        driver.witness.counts["quotes accepted"] += 1
    finally:
        driver.close()
