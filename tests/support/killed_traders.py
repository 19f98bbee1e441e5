"""Traders whose node is killed: what they sent, what they were answered, and what follows from it.

The books here are kept from answers and public trades alone, with rules written down once more, so
that a node that lost, doubled or changed something contradicts them.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dex.orders.v1 import order_intake_pb2_grpc as rpc
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import Key
from tests.support.markets import MARKET_ID, PLENTY_ATOMS
from tests.support.node_process import NodeProcess

EXPIRY_SECONDS: Final = 290
CALL_SECONDS: Final = 20.0
OPEN_MAX: Final = 40
RETRIED: Final = 8
MIDDLE_TICKS: Final = 5_000
# The market of tests.support.markets: 8 decimals, ticks of 0.01, lots of 0.00001.
BASE_ATOMS_PER_LOT: Final = 1_000
QUOTE_ATOMS_PER_TICK_LOT: Final = 10
MAKER_PPM, TAKER_PPM = 100, 200

_REQUESTS: Final[dict[str, Any]] = {
    "PlaceOrder": pb.PlaceOrderRequest,
    "CancelOrder": pb.CancelOrderRequest,
    "SubmitBatch": pb.SubmitBatchRequest,
}
Answer = pb.PlaceOrderResponse | pb.CancelOrderResponse | pb.SubmitBatchResponse


@dataclass
class Placed:
    """An order as its owner knows it: terms, and whether it was cancelled or never rested."""

    side: int
    quantity_lots: int
    price_ticks: int
    ended: bool
    took: list[tuple[int, int, int]]


@dataclass
class Sent:
    """One signed message, and its method."""

    method: str
    request: Any
    payload: wire.Payload

    def call(self, stub: rpc.OrderIntakeStub) -> Answer:
        """Send it, first or again; an empty answer says that a cancel came too late."""
        try:
            answer: Answer = getattr(stub, self.method)(self.request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            if self.method == "CancelOrder" and error.code() == grpc.StatusCode.NOT_FOUND:
                return pb.CancelOrderResponse()
            raise
        return answer


@dataclass
class Trader:
    """One account that trades and remembers every message and answer."""

    key: Key
    account_id: str
    chance: random.Random
    number: int = 0
    acknowledged: list[tuple[Sent, bytes]] = field(default_factory=list)
    unanswered: list[Sent] = field(default_factory=list)
    orders: dict[str, Placed] = field(default_factory=dict)
    by_client_id: dict[int, str] = field(default_factory=dict)
    last_sequence: int = 0

    # --- sending

    def next_message(self, network_id: str) -> Sent:
        """A signed order, cancel or batch of both."""
        self.number += 1
        payload = wire.Payload(
            network_id=network_id, account_id=self.account_id, nonce=self.number * 100
        )
        payload.expire_time.FromNanoseconds(time.time_ns() + EXPIRY_SECONDS * 10**9)
        kind = self.chance.random()
        open_ids = [
            number for number, order_id in self.by_client_id.items() if self._open(order_id)
        ]
        method = "SubmitBatch"
        if kind < 0.3:
            method = "PlaceOrder"
            self._fill_order(payload.place, 0)
        elif kind < 0.45 and open_ids:
            method = "CancelOrder"
            payload.cancel.client_order_id = self.chance.choice(open_ids)
        else:
            for index in range(self.chance.randint(1, 6)):
                item = payload.batch.items.add()
                if open_ids and (len(open_ids) > OPEN_MAX or self.chance.random() < 0.3):
                    victim = self.chance.choice(open_ids)
                    open_ids.remove(victim)
                    item.cancel.client_order_id = victim
                else:
                    self._fill_order(item.place, index)
        data = payload.SerializeToString()
        envelope = wire.SignedEnvelope(
            payload=data,
            signature=self.key.sign(b"triodex.payload.v1\0" + data),
            public_key=self.key.public_bytes,
        )
        return Sent(method, _REQUESTS[method](envelope=envelope), payload)

    def _fill_order(self, order: wire.NewOrder, index: int) -> None:
        chance = self.chance
        takes = chance.random() < 0.3
        order.market_id = MARKET_ID
        order.side = chance.choice((wire.SIDE_BUY, wire.SIDE_SELL))
        away = -1 if order.side == wire.SIDE_BUY else 1
        order.type = wire.ORDER_TYPE_LIMIT
        order.time_in_force = wire.TIME_IN_FORCE_IOC if takes else wire.TIME_IN_FORCE_GTC
        distance = -20 if takes else chance.randint(1, 30)
        order.price_ticks = MIDDLE_TICKS + away * distance
        order.quantity_lots = chance.randint(1, 50)
        order.client_order_id = self.number * 100 + index

    def _open(self, order_id: str) -> bool:
        return not self.orders[order_id].ended

    def trade(self, node: NodeProcess, stop: threading.Event) -> None:
        """Send until told to stop or the node is gone."""
        with grpc.insecure_channel(node.grpc_address, _OWN) as channel:
            stub = rpc.OrderIntakeStub(channel)
            while not stop.is_set():
                sent = self.next_message(node.network_id)
                try:
                    answer = sent.call(stub)
                except grpc.RpcError:
                    self.unanswered.append(sent)
                    return
                self.take(sent, answer)

    def retry(self, node: NodeProcess) -> None:
        """Send again some of what was answered, and twice all that never was."""
        with grpc.insecure_channel(node.grpc_address, _OWN) as channel:
            stub = rpc.OrderIntakeStub(channel)
            for sent, first in self.acknowledged[-RETRIED:]:
                answer = sent.call(stub)
                assert answer.SerializeToString(deterministic=True) == first, (
                    "an acknowledged command was answered differently after the restart"
                )
            for sent in self.unanswered:
                answer = sent.call(stub)
                self.take(sent, answer)
                assert sent.call(stub) == answer, "a retry was answered differently"
            self.unanswered.clear()

    # --- remembering

    def take(self, sent: Sent, answer: Answer) -> None:
        """Remember an answer and what follows from it."""
        self.acknowledged.append((sent, answer.SerializeToString(deterministic=True)))
        self.last_sequence = max(self.last_sequence, answer.applied.sequence)
        if isinstance(answer, pb.SubmitBatchResponse):
            for item, result in zip(sent.payload.batch.items, answer.results, strict=True):
                self._take_result(item, result)
        else:
            self._take_result(sent.payload, answer.result)

    def _take_result(self, item: Any, result: pb.OrderResult) -> None:
        if item.HasField("cancel"):
            # Refused where somebody took the order meanwhile: the trades will tell.
            if result.status == pb.ORDER_STATUS_CANCELLED:
                self.orders[result.order_id].ended = True
            self.by_client_id.pop(item.cancel.client_order_id, None)
            return
        order = item.place
        assert result.status != pb.ORDER_STATUS_REJECTED, result
        assert result.order_id not in self.orders, "an order came in twice"
        rests = result.status in (pb.ORDER_STATUS_OPEN, pb.ORDER_STATUS_PARTIALLY_FILLED)
        took = [
            (fill.trade_sequence, fill.price_ticks, fill.quantity_lots) for fill in result.fills
        ]
        self.orders[result.order_id] = Placed(
            order.side, order.quantity_lots, order.price_ticks, not rests, took
        )
        if rests:
            self.by_client_id[order.client_order_id] = result.order_id


_OWN: Final = [("grpc.use_local_subchannel_pool", 1)]


def check_books(
    traders: Sequence[Trader],
    trades: Sequence[matching_pb2.Trade],
    accounts: dict[str, Any],
    book: matching_pb2.Book,
) -> None:
    """Everything the node shows is what all answers together say, exactly once."""
    owners = {order_id: trader for trader in traders for order_id in trader.orders}
    numbers = [trade.trade_sequence for trade in trades]
    assert numbers == list(range(1, len(trades) + 1)), "a trade is missing or doubled"
    filled: dict[str, int] = defaultdict(int)
    paid_ppm: dict[str, int] = defaultdict(int)
    took: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    base: dict[str, int] = defaultdict(lambda: PLENTY_ATOMS)
    quote: dict[str, int] = defaultdict(lambda: PLENTY_ATOMS)
    for trade in trades:
        took[trade.taker_order_id].append(
            (trade.trade_sequence, trade.price_ticks, trade.quantity_lots)
        )
        notional = trade.price_ticks * trade.quantity_lots * QUOTE_ATOMS_PER_TICK_LOT
        for order_id, ppm in ((trade.maker_order_id, MAKER_PPM), (trade.taker_order_id, TAKER_PPM)):
            assert order_id in owners, "a trade of an order that nobody was told of"
            owner = owners[order_id]
            sign = 1 if owner.orders[order_id].side == wire.SIDE_BUY else -1
            filled[order_id] += trade.quantity_lots
            paid_ppm[order_id] += notional * ppm
            base[owner.account_id] += sign * trade.quantity_lots * BASE_ATOMS_PER_LOT
            quote[owner.account_id] -= sign * notional
    for order_id, ppm_atoms in paid_ppm.items():
        quote[owners[order_id].account_id] -= -(-ppm_atoms // 1_000_000)
    levels: dict[tuple[int, int], int] = defaultdict(int)
    for trader in traders:
        account = accounts[trader.account_id]
        _check_account(trader, account, filled, took, levels)
        found = {each.asset_id: each.available_atoms + each.held_atoms for each in account.balances}
        expected = {"BTC": base[trader.account_id], "USDC.eth": quote[trader.account_id]}
        assert found == expected, "a balance is not what the trades come to"
    shown = {
        (side, level.price_ticks): level.quantity_lots
        for side, rows in ((wire.SIDE_BUY, book.bids), (wire.SIDE_SELL, book.asks))
        for level in rows
    }
    assert shown == dict(levels), "the book is not what the open orders add up to"


def _check_account(
    trader: Trader,
    account: Any,
    filled: dict[str, int],
    took: dict[str, list[tuple[int, int, int]]],
    levels: dict[tuple[int, int], int],
) -> None:
    expected = {}
    for order_id, order in trader.orders.items():
        assert took[order_id] == order.took, "an order took something else than it was answered"
        rest_lots = order.quantity_lots - filled[order_id]
        assert rest_lots >= 0, "an order was filled twice"
        if rest_lots == 0:
            order.ended = True
        if not order.ended:
            expected[order_id] = filled[order_id]
            levels[order.side, order.price_ticks] += rest_lots
    shown = {order.order_id: order.filled_lots for order in account.open_orders}
    assert shown == expected, "the open orders are not those of the answers"
    assert account.open_order_count == len(expected)
