"""The recording in a market's whole numbers, and the money its replay can need at most."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from dexnode.recorded.binance import DepthUpdate, Recording, Trade
from dexnode.recorded.proof import PPM
from dexsdk import Market, Side

Levels: TypeAlias = list[tuple[int, int]]


class Take(NamedTuple):
    """A recorded trade in ticks and lots."""

    local_time_ns: int
    side: Side
    price_ticks: int
    quantity_lots: int


class Update(NamedTuple):
    """A recorded depth update in ticks and lots."""

    local_time_ns: int
    bids: Levels
    asks: Levels


def in_units(recording: Recording, market: Market) -> Iterator[Take | Update]:
    """The recording in ticks and lots; raises OffGrid for what the market cannot express."""
    # The same prices and sizes come again and again.
    ticks = lru_cache(1 << 16)(market.price_ticks)
    lots = lru_cache(1 << 16)(market.quantity_lots)

    def levels(side: list[tuple[str, str]]) -> Levels:
        return [(ticks(price), lots(quantity)) for price, quantity in side]

    for message in recording:
        match message:
            case Trade():
                yield Take(
                    message.local_time_ns,
                    message.taker_side,
                    ticks(message.price),
                    lots(message.quantity),
                )
            case DepthUpdate():
                yield Update(message.local_time_ns, levels(message.bids), levels(message.asks))


class Needs(NamedTuple):
    """Atoms by asset that always suffice."""

    liquidity: dict[str, int]
    taker: dict[str, int]


def money_needed(recording: Recording, market: Market) -> Needs:
    """What both accounts need so that no order of a replay lacks funds.

    Liquidity: every level at its largest at once, and its side of every trade. Taker: its side
    of every trade. Fees at the market's higher rate, and an atom per order for rounding up.
    """
    largest: dict[tuple[Side, int], int] = {}
    taken_lots = {Side.BUY: 0, Side.SELL: 0}
    taken_atoms = {Side.BUY: 0, Side.SELL: 0}
    order_count = 0
    for item in in_units(recording, market):
        if isinstance(item, Take):
            order_count += 2
            taken_lots[item.side] += item.quantity_lots
            taken_atoms[item.side] += market.notional_atoms(item.price_ticks, item.quantity_lots)
            continue
        order_count += len(item.bids) + len(item.asks)
        for side, levels in ((Side.BUY, item.bids), (Side.SELL, item.asks)):
            for price_ticks, quantity_lots in levels:
                key = side, price_ticks
                largest[key] = max(largest.get(key, 0), quantity_lots)
    bids_atoms = sum(
        market.notional_atoms(price, lots)
        for (side, price), lots in largest.items()
        if side == Side.BUY
    )
    asks_lots = sum(lots for (side, _), lots in largest.items() if side == Side.SELL)
    rate_ppm = max(market.message.maker_fee_ppm, market.message.taker_fee_ppm)

    def with_fees(atoms: int) -> int:
        return atoms + -(-atoms * rate_ppm // PPM) + order_count

    def funds(base_lots: int, quote_atoms: int) -> dict[str, int]:
        base_atoms = (base_lots + 1) * market.message.base_atoms_per_lot
        return {market.base_asset_id: base_atoms, market.quote_asset_id: with_fees(quote_atoms)}

    return Needs(
        funds(asks_lots + taken_lots[Side.BUY], bids_atoms + taken_atoms[Side.SELL]),
        funds(taken_lots[Side.SELL], taken_atoms[Side.BUY]),
    )
