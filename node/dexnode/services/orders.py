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


class _Verifying(NamedTuple):
    """A request, None when it was malformed, and the verdict on its signature to come."""

    request: pb.OrderStreamRequest | None
    verdict: Promise[bool]


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
        """Answer envelopes in their order.

        Three tasks, so that none waits for another's work: one reads and starts
        verifying, one queues what is verified, this one answers what is durable. What
        is between them is bounded, and a full window stops the reading.
        """
        verifying: deque[_Verifying] = deque()
        answers: deque[_Answer] = deque()
        changed = trio.Event()
        reading = queueing = True

        def signal() -> None:
            nonlocal changed
            changed.set()
            changed = trio.Event()

        async def read() -> None:
            nonlocal reading
            try:
                while True:
                    verifying.extend(map(self._verify, await requests.receive_available()))
                    signal()
                    while len(verifying) + len(answers) >= STREAM_WINDOW:
                        await changed.wait()
            except trio.EndOfChannel:
                reading = False
                signal()

        async def queue() -> None:
            nonlocal queueing
            while verifying or reading:
                if not verifying:
                    await changed.wait()
                    continue
                request, verdict = verifying[0]
                verified = await verdict.wait()
                await self._shard.sequencer.wait_room()
                answers.append(self._queue(request, verified))
                verifying.popleft()
                if len(answers) == 1 or not verifying:
                    signal()
            queueing = False
            signal()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(queue)
            while answers or queueing:
                if not answers:
                    await changed.wait()
                    continue
                await answers[0].wait()
                ready: list[pb.OrderStreamResponse] = []
                while answers and answers[0].done:
                    ready.append(self._response(answers.popleft()))
                signal()
                await send.send_many(ready)

    # --- stream parts

    def _verify(self, data: bytes) -> _Verifying:
        """Parse a request and start checking its signature."""
        try:
            request = pb.OrderStreamRequest.FromString(data)
        except DecodeError:
            malformed: Promise[bool] = Promise()
            malformed.set(False)
            return _Verifying(None, malformed)
        return _Verifying(request, self._intake.verify(request.envelope))

    def _queue(self, request: pb.OrderStreamRequest | None, verified: bool) -> _Answer:
        nonce = 0
        if request is None:
            return _Answer(nonce, None, refuse(errors_pb2.ERROR_REASON_MALFORMED_MESSAGE))
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
