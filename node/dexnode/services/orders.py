"""OrderIntake: signed orders in, durable results out."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, final

import trio
from google.protobuf.message import DecodeError

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dexcore.reasons import Reason, Refused
from dexcore.results import Outcome
from dexnode import render
from dexnode.authz import require_account
from dexnode.errors import refuse, rejection, rejection_of
from dexnode.ids import IdFormat
from dexnode.intake import ORDER_ACTIONS, Intake, result_of
from dexrpc import CallContext, Receiver, RpcError, Sender
from dexruntime.promise import Promise
from dexruntime.shard import Shard

# Envelopes of one stream between its reader and its writer.
STREAM_WINDOW: Final = 1_024


class _Answer(NamedTuple):
    """What an envelope of a stream gets: an outcome to come, or the ``refusal``."""

    nonce: int
    outcome: Promise[Outcome] | None
    refusal: RpcError

    @property
    def done(self) -> bool:
        """Whether it can be written."""
        return self.outcome is None or self.outcome.done

    async def wait(self) -> None:
        """Wait until it can be written."""
        if self.outcome is not None:
            await self.outcome.wait_done()


_NONE: Final = refuse(errors_pb2.ERROR_REASON_INTERNAL)


@final
class OrderIntakeService:
    """Serves dex.orders.v1.OrderIntake."""

    def __init__(self, shard: Shard, intake: Intake, ids: IdFormat) -> None:
        self._shard = shard
        self._intake = intake
        self._ids = ids

    async def place_order(
        self, request: pb.PlaceOrderRequest, _ctx: CallContext
    ) -> pb.PlaceOrderResponse:
        """Place one order."""
        outcome = _single(await self._intake.run(request.envelope, "place"))
        response = pb.PlaceOrderResponse()
        render.fill_applied(response.applied, outcome)
        render.fill_result(self._ids, response.result, outcome.items[0])
        return response

    async def cancel_order(
        self, request: pb.CancelOrderRequest, _ctx: CallContext
    ) -> pb.CancelOrderResponse:
        """Cancel one open order."""
        outcome = _single(await self._intake.run(request.envelope, "cancel"))
        response = pb.CancelOrderResponse()
        render.fill_applied(response.applied, outcome)
        render.fill_result(self._ids, response.result, outcome.items[0])
        return response

    async def amend_order(
        self, request: pb.AmendOrderRequest, _ctx: CallContext
    ) -> pb.AmendOrderResponse:
        """Change one open order."""
        outcome = _single(await self._intake.run(request.envelope, "amend"))
        response = pb.AmendOrderResponse()
        render.fill_applied(response.applied, outcome)
        render.fill_result(self._ids, response.result, outcome.items[0])
        return response

    async def cancel_all(
        self, request: pb.CancelAllRequest, _ctx: CallContext
    ) -> pb.CancelAllResponse:
        """Cancel every open order of the account."""
        outcome = await self._intake.run(request.envelope, "cancel_all")
        response = pb.CancelAllResponse()
        self._fill(response, outcome)
        return response

    async def submit_batch(
        self, request: pb.SubmitBatchRequest, _ctx: CallContext
    ) -> pb.SubmitBatchResponse:
        """Apply up to 1,000 items under one signature."""
        outcome = await self._intake.run(request.envelope, "batch")
        response = pb.SubmitBatchResponse()
        self._fill(response, outcome)
        return response

    async def check_order(
        self, request: pb.CheckOrderRequest, ctx: CallContext
    ) -> pb.CheckOrderResponse:
        """Say what an order would do now, without placing it."""
        require_account(ctx, request.account_id)
        account_key = self._ids.key_of(request.account_id)
        item = self._intake.unpack_new_order(request.order)
        exchange = self._shard.exchange
        response = pb.CheckOrderResponse()
        try:
            asset_index, reserve_atoms, lots, notional_atoms = exchange.preview(
                account_key or 0, item
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
        _ctx: CallContext,
        send: Sender[pb.OrderStreamResponse],
    ) -> None:
        """Answer envelopes in their order; the reader runs ahead of the disk."""
        answers: deque[_Answer] = deque()
        changed = trio.Event()
        ended = False

        def signal() -> None:
            nonlocal changed
            changed.set()
            changed = trio.Event()

        async def read() -> None:
            nonlocal ended
            try:
                while True:
                    answers.extend(await self._take_in(await requests.receive_available()))
                    signal()
                    while len(answers) >= STREAM_WINDOW:
                        await changed.wait()
                    await self._shard.sequencer.wait_room()
            except trio.EndOfChannel:
                ended = True
                signal()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            while True:
                while not answers:
                    if ended:
                        return
                    await changed.wait()
                await answers[0].wait()
                ready: list[pb.OrderStreamResponse] = []
                while answers and answers[0].done:
                    ready.append(self._response(answers.popleft()))
                signal()
                await send.send_many(ready)

    # --- stream parts

    async def _take_in(self, raw: list[bytes]) -> list[_Answer]:
        """Verify the envelopes together, then queue their commands in order."""
        parsed: list[tuple[pb.OrderStreamRequest | None, Promise[bool] | None]] = []
        for data in raw:
            try:
                request = pb.OrderStreamRequest.FromString(data)
            except DecodeError:
                parsed.append((None, None))
                continue
            parsed.append((request, self._intake.verify(request.envelope)))
        answers = []
        for request_or_none, verdict in parsed:
            if request_or_none is None or verdict is None:
                refusal = refuse(errors_pb2.ERROR_REASON_MALFORMED_MESSAGE)
                answers.append(_Answer(0, None, refusal))
            else:
                answers.append(self._queue(request_or_none, await verdict.wait()))
        return answers

    def _queue(self, request: pb.OrderStreamRequest, verified: bool) -> _Answer:
        nonce = 0
        try:
            signed = self._intake.check(request.envelope, verified)
            nonce = signed.payload.nonce
            if signed.action not in ORDER_ACTIONS:
                raise refuse(
                    errors_pb2.ERROR_REASON_ACTION_MISMATCH,
                    f"an order stream does not perform {signed.action}",
                    field=f"envelope.payload.{signed.action}",
                )
            return _Answer(nonce, self._intake.submit(signed), _NONE)
        except RpcError as refusal:
            return _Answer(nonce, None, refusal)

    def _response(self, answer: _Answer) -> pb.OrderStreamResponse:
        response = pb.OrderStreamResponse(nonce=answer.nonce)
        if answer.outcome is None:
            response.rejection.CopyFrom(rejection_of(answer.refusal))
            return response
        try:
            outcome = result_of(answer.outcome)
        except RpcError as full:
            response.rejection.CopyFrom(rejection_of(full))
            return response
        if outcome.reason == Reason.NONE:
            self._fill(response, outcome)
        else:
            response.rejection.CopyFrom(rejection(outcome.reason, outcome.field))
        return response

    def _fill(
        self,
        response: pb.OrderStreamResponse | pb.SubmitBatchResponse | pb.CancelAllResponse,
        outcome: Outcome,
    ) -> None:
        """Where it was applied, and what became of every item."""
        render.fill_applied(response.applied, outcome)
        ids, add, fill_result = self._ids, response.results.add, render.fill_result
        for item in outcome.items:
            fill_result(ids, add(), item)


def _single(outcome: Outcome) -> Outcome:
    """Turn the refusal of a single item into the refusal of the call."""
    item = outcome.items[0]
    if item.reason:
        raise refuse(item.reason, field=item.field or None)
    return outcome
