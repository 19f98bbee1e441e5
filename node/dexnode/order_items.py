"""Actions of a payload as items of an order command: each packed, what only some say beside it.

A plain order costs one look at whether it has terms. What makes no sense is packed as it is: the
core refuses it, in its order.
"""

from __future__ import annotations

from typing import Any, Final, final

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore.items import (
    ACTION_AMEND,
    ACTION_CANCEL,
    ACTION_CANCEL_ALL,
    ACTION_PLACE,
    HAS_TERMS,
    ITEM,
    NO_MARKET,
    NO_TERMS,
    OCO,
    POST_ONLY,
    SLIDE,
    TERMS,
    Item,
    Terms,
)
from dexcore.limits import BATCH_ITEMS_MAX, INT64_MAX
from dexcore.market import Market
from dexnode.errors import refuse, refuse_field
from dexnode.ids import IdFormat
from dexnode.times import time_ns_of

# No key: an id of another shard or epoch names nothing here, and no order has it.
UNKNOWN_ORDER_KEY: Final = INT64_MAX
# No value of an enum that may be left out, and that an item has a byte for.
_UNKNOWN: Final = 255
_BYTE_MAX: Final = 255
_EMPTY_TERMS: Final = TERMS.pack(*NO_TERMS)


@final
class OrderItems:
    """Packs for one shard."""

    __slots__ = ("_ids", "_markets")

    def __init__(self, ids: IdFormat, markets: dict[str, Market]) -> None:
        """`markets` by id, as the exchange has them at any time."""
        self._ids = ids
        self._markets = markets

    def pack(self, action: str, body: Any, terms: list[bytes]) -> bytes:
        """One action as ITEM; its TERMS go to the end of `terms` if it has any.

        Raises:
            RpcError: it names nothing, or a market there is not.
        """
        if action == "place":
            return self._place(body, terms)
        if action == "cancel":
            order_key, client_id = self._names(body)
            return ITEM.pack(ACTION_CANCEL, 0, 0, 0, 0, NO_MARKET, 0, 0, client_id, order_key)
        if action == "amend":
            return self._amend(body, terms)
        return self._cancel_all(body)

    def pack_batch(self, batch: payload_pb.Batch, terms: list[bytes]) -> bytes:
        """Every item of a batch, in the order sent.

        Raises:
            RpcError: as for one, or BATCH_SIZE.
        """
        check_size(batch)
        parts: list[bytes] = []
        for item in batch.items:
            action = item.WhichOneof("action")
            if action == "place":
                parts.append(self._place(item.place, terms))
                continue
            if action is None:
                raise refuse_field(f"batch.items[{len(parts)}].action", "must be set")
            parts.append(self.pack(action, getattr(item, action), terms))
        return b"".join(parts)

    def unpacked(self, order: payload_pb.NewOrder) -> tuple[Item, Terms]:
        """A new order as the core has it, for a dry run.

        Raises:
            RpcError: its expiry is no time.
        """
        terms: list[bytes] = []
        item: Item = ITEM.unpack(self._place(order, terms))
        # Equal is not enough: the core asks whether it is NO_TERMS.
        return item, TERMS.unpack(terms[0]) if terms else NO_TERMS

    def _place(self, order: payload_pb.NewOrder, terms: list[bytes]) -> bytes:
        """An unknown market gets an index no market has."""
        market = self._markets.get(order.market_id)
        flags = POST_ONLY if order.post_only else 0
        if order.HasField("terms"):
            flags |= _add_terms(order.terms, terms)
        side, order_type, tif = order.side, order.type, order.time_in_force
        if (side | order_type | tif) & ~_BYTE_MAX:
            side, order_type, tif = _byte(side), _byte(order_type), _byte(tif)
        return ITEM.pack(
            ACTION_PLACE,
            side,
            order_type,
            tif,
            flags,
            NO_MARKET if market is None else market.index,
            order.price_ticks,
            order.quantity_lots,
            order.client_order_id,
            0,
        )

    def _amend(self, amend: payload_pb.OrderAmend, terms: list[bytes]) -> bytes:
        order_key, client_id = self._names(amend)
        flags = 0
        if amend.trigger_price_ticks:
            flags = HAS_TERMS
            terms.append(TERMS.pack(0, 0, amend.trigger_price_ticks, 0, 0, 0, 0, 0))
        return ITEM.pack(
            ACTION_AMEND,
            0,
            0,
            0,
            flags,
            NO_MARKET,
            amend.price_ticks,
            amend.quantity_lots,
            client_id,
            order_key,
        )

    def _cancel_all(self, cancel_all: payload_pb.OrderCancelAll) -> bytes:
        market_index = NO_MARKET
        if cancel_all.market_id:
            market = self._markets.get(cancel_all.market_id)
            if market is None:
                raise refuse(errors_pb2.ERROR_REASON_UNKNOWN_MARKET, field="cancel_all.market_id")
            market_index = market.index
        side = _optional_byte(cancel_all.side)
        return ITEM.pack(ACTION_CANCEL_ALL, side, 0, 0, 0, market_index, 0, 0, 0, 0)

    def _names(self, body: payload_pb.OrderCancel | payload_pb.OrderAmend) -> tuple[int, int]:
        """Order key and client id of an item; exactly one of them names the order."""
        order_id, client_order_id = body.order_id, body.client_order_id
        if bool(order_id) == bool(client_order_id):
            raise refuse_field("order_id", "or client_order_id must be set, and not both")
        if not order_id:
            return 0, client_order_id
        return self._ids.key_of(order_id) or UNKNOWN_ORDER_KEY, 0


def check_size(batch: payload_pb.Batch) -> None:
    """Raises BATCH_SIZE (RpcError) for a batch of no items or too many."""
    if not 0 < len(batch.items) <= BATCH_ITEMS_MAX:
        raise refuse(errors_pb2.ERROR_REASON_BATCH_SIZE, field="batch.items")


def _add_terms(said: payload_pb.OrderTerms, terms: list[bytes]) -> int:
    """Pack what an order says beyond a plain one; returns the flags of its item."""
    expire_time_ns = 0
    if said.HasField("expire_time"):
        expire_time_ns = time_ns_of(said.expire_time, "expire_time")
    packed = TERMS.pack(
        said.display_lots,
        said.min_lots,
        said.trigger_price_ticks,
        said.trail_ticks,
        said.peg_offset_ticks,
        expire_time_ns,
        _optional_byte(said.self_trade_prevention),
        _optional_byte(said.peg),
    )
    flags = (SLIDE if said.slide else 0) | (OCO if said.oco else 0)
    if packed != _EMPTY_TERMS:
        terms.append(packed)
        flags |= HAS_TERMS
    return flags


def _byte(number: int) -> Any:
    """An open enum may carry any int32; what no byte holds is as unknown as zero."""
    return number if 0 <= number <= _BYTE_MAX else 0


def _optional_byte(number: int) -> int:
    """The same where zero means that nothing was said."""
    return number if 0 <= number < 256 else _UNKNOWN
