"""One stream of signed batches of two accounts, and what their answers say.

Both accounts' envelopes go through one OrderStream, which the node works off in order: an order
of the liquidity account is in the book before the taker that follows it, without a round trip.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import trio

from dex.orders.v1 import order_intake_pb2 as orders
from dexnode.recorded.mirror import MirrorBook
from dexnode.recorded.proof import Party
from dexnode.recorded.tally import Tally
from dexnode.recorded.units import Take
from dexsdk import Amend, NewOrder, OrderStatus, Session
from dexsdk.errors import reason_name
from dexsdk.trio_driver import TrioOrderStream
from dexsdk.types import BatchAction

BATCH_ITEMS: Final = 500
ENVELOPES_IN_FLIGHT: Final = 64


@dataclass
class Trader:
    """An account of the replay with what signs for it."""

    party: Party
    session: Session


Cause: TypeAlias = Take | None
"""The recorded trade an order is made of; None for an order of the book."""


class _Sent(NamedTuple):
    trader: Trader
    actions: list[BatchAction]
    causes: list[Cause]
    time_ns: int


class Pipe:
    """Sends actions in batches and counts the answers. `send` and `receive` run in two tasks."""

    def __init__(self, stream: TrioOrderStream, mirror: MirrorBook, tally: Tally) -> None:
        self._stream = stream
        self._mirror = mirror
        self._tally = tally
        self._trader: Trader | None = None
        self._actions: list[BatchAction] = []
        self._causes: list[Cause] = []
        self._sent_in, self._sent_out = trio.open_memory_channel[_Sent](ENVELOPES_IN_FLIGHT)

    async def add(self, trader: Trader, action: BatchAction, cause: Cause = None) -> None:
        """Put an action in line; a batch goes when it is full or another account has its turn."""
        if trader is not self._trader or len(self._actions) >= BATCH_ITEMS:
            await self.flush()
            self._trader = trader
        self._actions.append(action)
        self._causes.append(cause)

    async def flush(self) -> None:
        """Send what is in line."""
        if not self._actions or self._trader is None:
            return
        actions, causes = self._actions, self._causes
        self._actions, self._causes = [], []
        signed = self._trader.session.sign_action(actions)
        sent = _Sent(self._trader, actions, causes, time.perf_counter_ns())
        await self._stream.send(signed)
        self._tally.envelope_count += 1
        await self._sent_in.send(sent)

    async def close(self) -> None:
        """Send the rest; `receive` returns after the last answer."""
        await self.flush()
        await self._sent_in.aclose()

    async def receive(self) -> None:
        """Count every answer until the pipe is closed and empty."""
        async for sent in self._sent_out:
            answer = await self._stream.receive()
            self._tally.latencies_ns.append(time.perf_counter_ns() - sent.time_ns)
            if answer.HasField("rejection"):
                for action in sent.actions:
                    self._refused(action, answer.rejection.reason)
                continue
            for action, cause, result in zip(
                sent.actions, sent.causes, answer.results, strict=True
            ):
                self._count(sent.trader, action, cause, result)

    def _count(
        self, trader: Trader, action: BatchAction, cause: Cause, result: orders.OrderResult
    ) -> None:
        if result.status == OrderStatus.REJECTED:
            self._refused(action, result.rejection.reason)
        elif isinstance(action, NewOrder):
            trader.party.order_ids.add(result.order_id)
        if cause is not None:
            self._tally.trade(cause.price_ticks, cause.quantity_lots, result.fills)

    def _refused(self, action: BatchAction, reason: int) -> None:
        self._tally.refused[reason_name(reason)] += 1
        if isinstance(action, NewOrder | Amend):
            self._mirror.forget(action.client_order_id)
