"""Worlds and items for the tests of what waits: stops, pegged orders, pairs, auctions."""

from __future__ import annotations

from typing import Any

from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import SetMarketLimits, SetMarketStatus
from dexcore.events import OrderClosed, OrderTriggered, Trade
from dexcore.items import (
    OCO,
    TYPE_PEGGED,
    TYPE_STOP,
    TYPE_STOP_LIMIT,
    TYPE_TRAILING_STOP,
    Item,
)
from dexcore.market import MarketStatus
from dexcore.reasons import Reason
from dexcore.results import OrderStatus, Outcome
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SELL,
    Trader,
    WithTerms,
    World,
    place,
    small_world,
    with_terms,
)

BAND_TICKS = 10


def world_at(price_ticks: int = 100, *, band_ticks: int = BAND_TICKS) -> World:
    """Market 0 with a protection band, an empty book and a last price; zero for none."""
    world = small_world(4)
    world.do(SetMarketLimits(OPERATOR, 0, band_ticks, 0, 0, 0))
    if price_ticks:
        trade(world, price_ticks)
    return world


def trade(world: World, *prices_ticks: int) -> Outcome:
    """Trade one lot at each price, best first, in one step of the last trader; its outcome."""
    maker, taker = world.traders[-2:]
    buys = list(prices_ticks) == sorted(prices_ticks, reverse=True)
    side, other = (BUY, SELL) if buys else (SELL, BUY)
    world.order(maker, *[place(side, price, 1) for price in prices_ticks])
    return world.order(taker, place(other, prices_ticks[-1], len(prices_ticks)))


def stop(side: int, trigger: int, lots: int = 5, **changes: Any) -> WithTerms:
    """A stop."""
    item = place(side, 0, lots, order_type=TYPE_STOP, **changes)
    return with_terms(item, trigger_price_ticks=trigger)


def stop_limit(side: int, trigger: int, limit: int, lots: int = 5, **changes: Any) -> WithTerms:
    """A stop limit."""
    item = place(side, limit, lots, order_type=TYPE_STOP_LIMIT, **changes)
    return with_terms(item, trigger_price_ticks=trigger)


def trailing(side: int, trail: int, lots: int = 5) -> WithTerms:
    """A trailing stop."""
    return with_terms(place(side, 0, lots, order_type=TYPE_TRAILING_STOP), trail_ticks=trail)


def pegged(side: int, peg: int, limit: int, offset: int = 0, lots: int = 5) -> WithTerms:
    """A pegged order."""
    item = place(side, limit, lots, order_type=TYPE_PEGGED)
    return with_terms(item, peg=peg, peg_offset_ticks=offset)


def pair(limit: Item, second: WithTerms) -> tuple[Item, WithTerms]:
    """Two items of which one cancels the other."""
    item, terms = second
    return limit, WithTerms((*item[:4], item[4] | OCO, *item[5:]), terms)


def phase(world: World, status: MarketStatus, market: int = 0) -> Outcome:
    """Move a market to a phase."""
    outcome = world.do(SetMarketStatus(OPERATOR, market, status))
    assert not outcome.reason
    return outcome


def key_of(world: World, trader: Trader, item: Item | WithTerms) -> int:
    """Place an order that must be taken in; its key."""
    [result] = world.order(trader, item).items
    assert result.reason == Reason.NONE, (Reason(result.reason).name, result.field)
    return result.order_key


def refusal(world: World, trader: Trader, *items: Item | WithTerms) -> tuple[str, str]:
    """Why the last of the items is refused."""
    result = world.order(trader, *items).items[-1]
    assert result.status == OrderStatus.REJECTED
    return Reason(result.reason).name, result.field


def triggered(outcome: Outcome) -> list[int]:
    """Keys of the stops that a command triggered, in order."""
    return [event.order_key for event in outcome.events if isinstance(event, OrderTriggered)]


def trades(outcome: Outcome) -> list[tuple[int, int]]:
    """(price, lots) of each trade."""
    return [
        (event.price_ticks, event.quantity_lots)
        for event in outcome.events
        if isinstance(event, Trade)
    ]


def ends(outcome: Outcome) -> dict[int, str]:
    """How the orders that ended did, by key."""
    return {
        event.order_key: OrderStatus(event.status).name
        for event in outcome.events
        if isinstance(event, OrderClosed)
    }


def held(world: World, trader: Trader, asset_id: str = "QQQ") -> int:
    """Atoms that the trader's orders hold of an asset."""
    ledger = world.exchange.ledger
    return ledger.cell(trader.account_key, ledger.assets_by_id[asset_id]).held


def price_of(world: World, trader: Trader, key: int) -> int:
    """Where an open order rests; zero when it waits."""
    order = world.exchange.accounts.by_key[trader.account_key].open_orders[key]
    return 0 if order.level is None else order.price_ticks


def restart(world: World) -> World:
    """The world after a restart from a snapshot; its state is the same."""
    state = encode_state(world.exchange)
    again = World(decode_state(state))
    assert encode_state(again.exchange) == state, "a restart changed the state"
    again.traders, again.nonce, again.time_ns = world.traders, world.nonce, world.time_ns
    return again
