"""Items of a signed order command: their bytes and the numbers in them.

An item has a fixed layout, so that a batch is unpacked in one call. What only some orders say is
in a second column: each item whose flags have HAS_TERMS has one TERMS there, in the order of the
items. docs/reference/order-semantics.md says what everything means.
"""

from __future__ import annotations

import struct
from typing import Final

# action, side, order type, time in force, flags, market index, price_ticks, quantity_lots,
# client_order_id, order_key. Unused fields are zero.
ITEM: Final = struct.Struct("<BBBBBxHqqqq")
# Ten numbers. Not said to be ten: mypyc takes a tuple of fixed shape apart at every call.
Item = tuple[int, ...]

# display_lots, min_lots, trigger_price_ticks, trail_ticks, peg_offset_ticks, expire_time_ns,
# self-trade prevention, peg. Zero where an order does not say it.
TERMS: Final = struct.Struct("<qqqqqqBB6x")
Terms = tuple[int, ...]
NO_TERMS: Final[Terms] = (0, 0, 0, 0, 0, 0, 0, 0)

ACTION_PLACE: Final = 1
ACTION_CANCEL: Final = 2
ACTION_AMEND: Final = 3
ACTION_CANCEL_ALL: Final = 4

# Order types; FIX tag 40, numbers of ``dex.orders.v1.OrderType``.
TYPE_LIMIT: Final = 1
TYPE_MARKET: Final = 2
TYPE_STOP: Final = 3
TYPE_STOP_LIMIT: Final = 4
TYPE_TRAILING_STOP: Final = 5
TYPE_PEGGED: Final = 6

# Times in force; FIX tag 59, numbers of ``dex.orders.v1.TimeInForce``.
GTC: Final = 1
IOC: Final = 2
FOK: Final = 3
DAY: Final = 4
GTD: Final = 5
AT_OPEN: Final = 6
AT_CLOSE: Final = 7

# Flags of an item, as bits.
POST_ONLY: Final = 1
# A post-only order that would take is priced outside the best opposite price instead.
SLIDE: Final = 2
HAS_TERMS: Final = 4
# The item and the one before it are a pair of which one cancels the other.
OCO: Final = 8

# Self-trade prevention, the aggressor's; FIX tag 2964, numbers of
# ``dex.orders.v1.SelfTradePrevention``.
STP_NONE: Final = 0
STP_CANCEL_NEWEST: Final = 1
STP_CANCEL_OLDEST: Final = 2
STP_CANCEL_BOTH: Final = 3
STP_DECREMENT: Final = 4

# What a pegged order follows; FIX tag 1094, numbers of ``dex.orders.v1.PegReference``.
PEG_NONE: Final = 0
PEG_PRIMARY: Final = 1
PEG_MARKET: Final = 2
PEG_MIDPOINT: Final = 3

# Market index of an item that names no market: unknown when placing, all when
# cancelling.
NO_MARKET: Final = 0xFFFF

_FIRST_ACTION, _FIRST_SIDE, _FIRST_TYPE, _FIRST_TIF, _FIRST_FLAGS = range(5)
_BYTES: Final = ITEM.size


def items_of_rules_1(items: bytes) -> bytes:
    """Items of a version 1 order command, as they say the same today.

    Version 1 knew two types, three times in force, any byte but zero for post only, and no side
    when all orders are cancelled; types and times it refused must not have become new ones.
    """
    if (
        max(items[_FIRST_TYPE::_BYTES]) <= TYPE_MARKET
        and max(items[_FIRST_TIF::_BYTES]) <= FOK
        and max(items[_FIRST_FLAGS::_BYTES]) <= POST_ONLY
        and ACTION_CANCEL_ALL not in items[_FIRST_ACTION::_BYTES]
    ):
        return items
    same = bytearray(items)
    for start in range(0, len(same), _BYTES):
        if same[start + _FIRST_TYPE] > TYPE_MARKET:
            same[start + _FIRST_TYPE] = 0
        if same[start + _FIRST_TIF] > FOK:
            same[start + _FIRST_TIF] = 0
        if same[start + _FIRST_FLAGS]:
            same[start + _FIRST_FLAGS] = POST_ONLY
        if same[start] == ACTION_CANCEL_ALL:
            same[start + _FIRST_SIDE] = 0
    return bytes(same)
