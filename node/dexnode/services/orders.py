"""OrderIntake: signed orders in, durable results out."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, final

import trio
from google.protobuf.message import DecodeError

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import order_intake_pb2 as pb
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dexcore.reasons import Reason, Refused
from dexcore.results import Outcome
from dexnode import render
from dexnode.admission import RateLimited
from dexnode.authz import require_account
from dexnode.disconnects import Disconnects
from dexnode.errors import refuse, rejection, rejection_of
from dexnode.ids import IdFormat
from dexnode.intake import STREAM_ACTIONS, Intake, result_of
from dexnode.rate_limit import Standing
from dexnode.times import duration_ns_of
from dexrpc import CallContext, Peer, Receiver, RpcError, Sender
from dexruntime.promise import Promise
from dexruntime.shard import Shard

# Envelopes of one stream that are read and whose answer is not sent.
STREAM_WINDOW: Final = 1_024
# How long an envelope of a stream waits for the sequencer to have room before it is rejected.
STREAM_WAIT_SECONDS: Final = 1.0


class _Answer(NamedTuple):
    """What an envelope of a stream gets: an outcome to come, or the ``refusal``."""

    nonce: int
    outcome: Promise[Outcome] | None
    refusal: RpcError
    standing: Standing | None = None

    @property
    def done(self) -> bool:
        """Whether it can be written."""
        return self.outcome is None or self.outcome.done

    async def wait(self) -> None:
        """Wait until it can be written."""
        if self.outcome is not None:
            await self.outcome.wait_done()


class _Verifying(NamedTuple):
    """A request and the verdict on its signature to come; None for one that was refused unseen."""

    request: pb.OrderStreamRequest
    verdict: Promise[bool] | None
    refusal: RpcError
    arrived_at: float


@final
class _Changes:
    """Wakes the tasks of a stream that wait for another's work."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self._event.set()
        self._event = trio.Event()

    async def wait(self) -> None:
        """Until it has."""
        await self._event.wait()


_NONE: Final = refuse(errors_pb2.ERROR_REASON_INTERNAL)
_NO_REQUEST: Final = pb.OrderStreamRequest()


@final
class OrderIntakeService:
    """Serves dex.orders.v1.OrderIntake."""

    def __init__(
        self, shard: Shard, intake: Intake, ids: IdFormat, disconnects: Disconnects
    ) -> None:
        self._shard = shard
        self._intake = intake
        self._ids = ids
        self._disconnects = disconnects

    async def place_order(
        self, request: pb.PlaceOrderRequest, ctx: CallContext
    ) -> pb.PlaceOrderResponse:
        """Place one order."""
        outcome = _single(await self._intake.run(request.envelope, "place", ctx))
        response = pb.PlaceOrderResponse()
        render.fill_applied(response.applied, outcome)
        render.fill_result(self._ids, response.result, outcome.items[0])
        return response

    async def cancel_order(
        self, request: pb.CancelOrderRequest, ctx: CallContext
    ) -> pb.CancelOrderResponse:
        """Cancel one open order."""
        outcome = _single(await self._intake.run(request.envelope, "cancel", ctx))
        response = pb.CancelOrderResponse()
        render.fill_applied(response.applied, outcome)
        render.fill_result(self._ids, response.result, outcome.items[0])
        return response

    async def amend_order(
        self, request: pb.AmendOrderRequest, ctx: CallContext
    ) -> pb.AmendOrderResponse:
        """Change one open order."""
        outcome = _single(await self._intake.run(request.envelope, "amend", ctx))
        response = pb.AmendOrderResponse()
        render.fill_applied(response.applied, outcome)
        render.fill_result(self._ids, response.result, outcome.items[0])
        return response

    async def cancel_all(
        self, request: pb.CancelAllRequest, ctx: CallContext
    ) -> pb.CancelAllResponse:
        """Cancel every open order of the account."""
        outcome = await self._intake.run(request.envelope, "cancel_all", ctx)
        response = pb.CancelAllResponse()
        self._fill(response, outcome)
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
        self._fill(response, outcome)
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
        """Answer envelopes in their order; cancel what asked for it when the stream ends."""
        # Accounts whose orders end with the stream, as a set with an order.
        ending: dict[int, None] = {}
        try:
            await self._serve_stream(requests, ctx.peer, send, ending)
        finally:
            # Behind whatever the stream has queued: nobody queues for it any more.
            for account_key in ending:
                self._disconnects.cancel(account_key)

    async def _serve_stream(
        self,
        requests: Receiver[bytes],
        peer: Peer,
        send: Sender[pb.OrderStreamResponse],
        ending: dict[int, None],
    ) -> None:
        """Read, queue and answer until the client has said its last word.

        Three tasks, so that none waits for another's work: one reads and starts
        verifying, one queues what is verified, this one answers what is durable. What
        is between them is bounded, and a full window stops the reading. So does a
        backlog of signatures; a backlog of the sequencer holds an envelope back for a
        second and then rejects it.
        """
        verifying: deque[_Verifying] = deque()
        answers: deque[_Answer] = deque()
        changed = _Changes()
        reading = queueing = True
        sending = 0

        def held() -> int:
            """Envelopes that are read and not answered."""
            return len(verifying) + len(answers) + sending

        async def read() -> None:
            nonlocal reading
            try:
                while True:
                    while (room := STREAM_WINDOW - held()) <= 0:
                        await changed.wait()
                    arrived = await requests.receive_available(room)
                    await self._shard.verifier.wait_room()
                    now = trio.current_time()
                    verifying.extend([self._verify(data, peer, now) for data in arrived])
                    changed.tell()
            except trio.EndOfChannel:
                reading = False
                changed.tell()

        async def queue() -> None:
            nonlocal queueing
            while verifying or reading:
                if not verifying:
                    await changed.wait()
                    continue
                answers.append(await self._judge(verifying[0], peer, ending))
                verifying.popleft()
                if len(answers) == 1 or not verifying:
                    changed.tell()
            queueing = False
            changed.tell()

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
                sending = len(ready)
                await send.send_many(ready)
                sending = 0
                changed.tell()

    # --- stream parts

    def _verify(self, data: bytes, peer: Peer, now: float) -> _Verifying:
        """Parse a request and start checking its signature."""
        cooling = self._intake.admission.cooling(peer)
        if cooling is not None:
            return _Verifying(_NO_REQUEST, None, cooling, now)
        try:
            request = pb.OrderStreamRequest.FromString(data)
        except DecodeError:
            malformed = refuse(errors_pb2.ERROR_REASON_MALFORMED_MESSAGE)
            return _Verifying(_NO_REQUEST, None, malformed, now)
        try:
            return _Verifying(request, self._intake.verify(request.envelope, peer), _NONE, now)
        except RpcError as refusal:
            return _Verifying(request, None, refusal, now)

    async def _judge(self, asked: _Verifying, peer: Peer, ending: dict[int, None]) -> _Answer:
        """Queue what verifies, or say why not."""
        if asked.verdict is None:
            return _refused(0, asked.refusal)
        verified = await asked.verdict.wait()
        sequencer = self._shard.sequencer
        if sequencer.is_half_full:
            with trio.move_on_at(asked.arrived_at + STREAM_WAIT_SECONDS) as waiting:
                await sequencer.wait_room()
            if waiting.cancelled_caught:
                refusal = refuse(
                    errors_pb2.ERROR_REASON_OVERLOADED, retry_delay_ns=sequencer.retry_delay_ns
                )
                return _refused(0, refusal)
        return self._queue(asked.request, verified, peer, ending)

    def _queue(
        self,
        request: pb.OrderStreamRequest,
        verified: bool,
        peer: Peer,
        ending: dict[int, None],
    ) -> _Answer:
        nonce = 0
        try:
            signed = self._intake.check(request.envelope, verified)
            nonce = signed.payload.nonce
            if signed.action not in STREAM_ACTIONS:
                raise refuse(
                    errors_pb2.ERROR_REASON_ACTION_MISMATCH,
                    f"an order stream does not perform {signed.action}",
                    field=f"envelope.payload.{signed.action}",
                )
            standing = self._intake.charge(signed, peer)
            outcome = self._intake.submit(signed)
            if request.cancel_on_disconnect:
                ending[signed.account_key] = None
            return _Answer(nonce, outcome, _NONE, standing)
        except RpcError as refusal:
            self._intake.admission.note_refusal(peer, refusal)
            return _refused(nonce, refusal)

    def _response(self, answer: _Answer) -> pb.OrderStreamResponse:
        response = pb.OrderStreamResponse(nonce=answer.nonce)
        standing = answer.standing
        if standing is not None:
            left = response.rate_limit
            left.limit = standing.limit
            left.remaining = standing.remaining
            left.reset_ms = -(-standing.reset_ns // 1_000_000)
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


def _refused(nonce: int, refusal: RpcError) -> _Answer:
    standing = refusal.standing if isinstance(refusal, RateLimited) else None
    return _Answer(nonce, None, refusal, standing)


def _single(outcome: Outcome) -> Outcome:
    """Turn the refusal of a single item into the refusal of the call."""
    item = outcome.items[0]
    if item.reason:
        raise refuse(item.reason, field=item.field or None)
    return outcome
