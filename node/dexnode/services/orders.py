"""OrderIntake: signed orders in, durable results out."""

from __future__ import annotations

from typing import final

from dex.orders.v1 import order_intake_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore.reasons import Refused
from dexcore.results import Outcome
from dexnode import render
from dexnode.authz import require_account
from dexnode.disconnects import Disconnects
from dexnode.errors import refuse, rejection
from dexnode.ids import IdFormat
from dexnode.intake import Intake
from dexnode.services.order_stream import OrderStream
from dexnode.times import duration_ns_of
from dexrpc import CallContext, Receiver, Sender
from dexruntime.shard import Shard
from dexsdk import Key


@final
class OrderIntakeService:
    """Serves dex.orders.v1.OrderIntake."""

    def __init__(
        self,
        shard: Shard,
        intake: Intake,
        ids: IdFormat,
        disconnects: Disconnects,
        node_key: Key,
    ) -> None:
        """``node_key`` is the audit key: it signs the node's half of a session's handshake."""
        self._shard = shard
        self._intake = intake
        self._ids = ids
        self._disconnects = disconnects
        self._node_key = node_key

    async def place_order(
        self, request: pb.PlaceOrderRequest, ctx: CallContext
    ) -> pb.PlaceOrderResponse:
        """Place one order."""
        outcome = _single(await self._intake.run(request.envelope, "place", ctx))
        response = pb.PlaceOrderResponse()
        render.fill_applied(response.applied, outcome)
        render.fill_result(self._ids, response.result, outcome.results[0])
        return response

    async def cancel_order(
        self, request: pb.CancelOrderRequest, ctx: CallContext
    ) -> pb.CancelOrderResponse:
        """Cancel one open order."""
        outcome = _single(await self._intake.run(request.envelope, "cancel", ctx))
        response = pb.CancelOrderResponse()
        render.fill_applied(response.applied, outcome)
        render.fill_result(self._ids, response.result, outcome.results[0])
        return response

    async def amend_order(
        self, request: pb.AmendOrderRequest, ctx: CallContext
    ) -> pb.AmendOrderResponse:
        """Change one open order."""
        outcome = _single(await self._intake.run(request.envelope, "amend", ctx))
        response = pb.AmendOrderResponse()
        render.fill_applied(response.applied, outcome)
        render.fill_result(self._ids, response.result, outcome.results[0])
        return response

    async def cancel_all(
        self, request: pb.CancelAllRequest, ctx: CallContext
    ) -> pb.CancelAllResponse:
        """Cancel every open order of the account."""
        outcome = await self._intake.run(request.envelope, "cancel_all", ctx)
        response = pb.CancelAllResponse()
        render.fill_outcome(self._ids, response, outcome)
        return response

    async def set_dead_mans_switch(
        self, request: pb.SetDeadMansSwitchRequest, ctx: CallContext
    ) -> pb.SetDeadMansSwitchResponse:
        """Set, set anew or disarm the account's dead man's switch."""
        outcome = await self._intake.run(request.envelope, "dead_mans_switch", ctx)
        response = pb.SetDeadMansSwitchResponse()
        render.fill_applied(response.applied, outcome)
        # As it was signed; the first answer to a retry has the time of its first time.
        payload = payload_pb.Payload.FromString(request.envelope.payload)
        timeout_ns = duration_ns_of(payload.dead_mans_switch.timeout, "dead_mans_switch.timeout")
        if timeout_ns:
            response.cancel_time.CopyFrom(render.timestamp(outcome.time_ns + timeout_ns))
        return response

    async def submit_batch(
        self, request: pb.SubmitBatchRequest, ctx: CallContext
    ) -> pb.SubmitBatchResponse:
        """Apply up to 1,000 items under one signature."""
        outcome = await self._intake.run(request.envelope, "batch", ctx)
        response = pb.SubmitBatchResponse()
        render.fill_outcome(self._ids, response, outcome)
        return response

    async def check_order(
        self, request: pb.CheckOrderRequest, ctx: CallContext
    ) -> pb.CheckOrderResponse:
        """Say what an order would do now, without placing it."""
        require_account(ctx, request.account_id)
        account_key = self._ids.key_of(request.account_id)
        item, terms = self._intake.items.unpacked(request.order)
        exchange = self._shard.exchange
        response = pb.CheckOrderResponse()
        try:
            asset_index, reserve_atoms, lots, notional_atoms = exchange.preview(
                account_key or 0, item, terms
            )
        except Refused as refused:
            response.rejection.CopyFrom(rejection(refused.reason, refused.field))
        else:
            response.reserve_asset_id = exchange.ledger.assets[asset_index].asset_id
            response.reserve_atoms = reserve_atoms
            response.fillable_lots = lots
            response.fillable_notional_atoms = notional_atoms
        response.sequence = await self._shard.sequencer.settled()
        return response

    async def order_stream(
        self,
        requests: Receiver[bytes],
        ctx: CallContext,
        send: Sender[pb.OrderStreamResponse],
    ) -> None:
        """Answer requests in their order; end what ends with the stream."""
        stream = OrderStream(
            self._shard, self._intake, self._ids, self._disconnects, self._node_key, ctx.peer
        )
        await stream.run(requests, send)


def _single(outcome: Outcome) -> Outcome:
    """Turn the refusal of a single item into the refusal of the call."""
    *_, reason, field = outcome.results[0]
    if reason:
        raise refuse(reason, field=field or None)
    return outcome
