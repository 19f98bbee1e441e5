"""A maker's session: the account's feed of requests going out, signed quotes coming in."""

from __future__ import annotations

import logging
from collections import deque
from typing import Final, final

import trio

from dex.errors.v1 import errors_pb2
from dex.matching.v1 import quote_pb2 as pb
from dexcore.quote_commands import KEY, EndQuoteSession
from dexcore.quotes import QuoteEnd
from dexcore.reasons import Reason
from dexcore.results import Outcome
from dexnode import quote_render, render
from dexnode.errors import refuse, rejection, rejection_of
from dexnode.ids import IdFormat
from dexnode.intake import Intake, result_of
from dexnode.services.streams import follow, gone
from dexrpc import Peer, Receiver, RpcError, Sender, SendStalled
from dexruntime.feed import SequenceGone
from dexruntime.promise import Promise
from dexruntime.quote_views import FeedItem
from dexruntime.shard import Shard

# Envelopes of one session that are read and not answered.
SESSION_WINDOW: Final = 128
ITEMS_AT_ONCE: Final = 256
# How long the end of a session waits for what it had sent, and for room to say that it ended.
END_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class _Asked:
    """An envelope: an outcome to come, or the refusal."""

    __slots__ = ("action", "nonce", "outcome", "refusal")

    def __init__(self) -> None:
        self.action = ""
        self.nonce = 0
        self.outcome: Promise[Outcome] | None = None
        self.refusal: RpcError | None = None


@final
class MakerSession:
    """One session, for one call."""

    def __init__(
        self,
        shard: Shard,
        intake: Intake,
        ids: IdFormat,
        peer: Peer,
        account_key: int,
        opening: pb.QuoteSession,
    ) -> None:
        self._shard = shard
        self._intake = intake
        self._ids = ids
        self._peer = peer
        self._account_key = account_key
        self._opening = opening
        self._asked: deque[_Asked] = deque()
        # Quotes that this session gave and that may be open.
        self._given: dict[int, None] = {}
        self._sending = trio.Lock()

    async def run(
        self, requests: Receiver[pb.QuoteStreamRequest], send: Sender[pb.QuoteStreamResponse]
    ) -> None:
        """Serve until the maker ends it; then withdraw what it gave."""
        to_answer, answered = trio.open_memory_channel[_Asked](SESSION_WINDOW)
        refusals: list[RpcError] = []
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow, send, refusals, nursery.cancel_scope)
                nursery.start_soon(self._read, requests, to_answer)
                async with answered:
                    async for asked in answered:
                        await self._answer(asked, send)
                nursery.cancel_scope.cancel()
        except* SendStalled:
            refusals.append(refuse(errors_pb2.ERROR_REASON_SLOW_CONSUMER))
        finally:
            if not self._opening.keep_quotes:
                with trio.move_on_after(END_SECONDS, shield=True) as waiting:
                    await self._withdraw()
                if waiting.cancelled_caught:
                    _log.warning("quotes of a session that ended were not withdrawn: time will")
        if refusals:
            raise refusals[0]

    # --- the feed

    async def _follow(
        self,
        send: Sender[pb.QuoteStreamResponse],
        refusals: list[RpcError],
        session: trio.CancelScope,
    ) -> None:
        quotes = self._shard.views.quotes
        feed = quotes.feed_of(self._account_key)
        after = self._opening.after_sequence
        opened = pb.QuoteSessionOpened()

        async def send_items(after: int, items: list[FeedItem]) -> None:
            messages = [self._item(number, item) for number, item in enumerate(items, after + 1)]
            await self._send(send, messages)

        try:
            if after:
                feed.check_resumable(after)
            else:
                after = feed.last_sequence
                opened.requests.extend(
                    quote_render.notice(self._ids, self._shard.exchange.markets, each)
                    for each in quotes.open_requests(self._account_key)
                )
            await self._send(send, [pb.QuoteStreamResponse(sequence=after, opened=opened)])
            await follow(feed, after, ITEMS_AT_ONCE, send_items)
        except SequenceGone as error:
            refusals.append(gone(error))
            session.cancel()
        except RpcError as refusal:
            refusals.append(refusal)
            session.cancel()

    def _item(self, sequence: int, item: FeedItem) -> pb.QuoteStreamResponse:
        message = pb.QuoteStreamResponse(sequence=sequence)
        markets = self._shard.exchange.markets
        if item.quote is not None:
            message.quote.CopyFrom(
                quote_render.quote(self._ids, markets, item.quote, self._account_key)
            )
        elif item.request is not None:
            notice = quote_render.notice(self._ids, markets, item.request)
            (message.closed if item.is_closed else message.request).CopyFrom(notice)
        return message

    async def _send(
        self, send: Sender[pb.QuoteStreamResponse], messages: list[pb.QuoteStreamResponse]
    ) -> None:
        async with self._sending:
            await send.send_many(messages)

    # --- envelopes

    async def _read(
        self,
        requests: Receiver[pb.QuoteStreamRequest],
        to_answer: trio.MemorySendChannel[_Asked],
    ) -> None:
        async with to_answer:
            async for request in requests:
                asked = _Asked()
                try:
                    await self._take(request, asked)
                except RpcError as refusal:
                    self._intake.admission.note_refusal(self._peer, refusal)
                    asked.refusal = refusal
                self._asked.append(asked)
                await to_answer.send(asked)

    async def _take(self, request: pb.QuoteStreamRequest, asked: _Asked) -> None:
        """Check an envelope and queue its command.

        Raises:
            RpcError: it was refused.
        """
        if request.WhichOneof("item") != "envelope":
            raise refuse(errors_pb2.ERROR_REASON_FIELD_INVALID, field="session")
        verdict = self._intake.verify(request.envelope, self._peer)
        signed = self._intake.check(request.envelope, await verdict.wait())
        asked.nonce, asked.action = signed.payload.nonce, signed.action
        if signed.action not in {"quote", "quote_cancel"}:
            raise refuse(
                errors_pb2.ERROR_REASON_ACTION_MISMATCH,
                f"a quote stream does not perform {signed.action}",
                field=f"envelope.payload.{signed.action}",
            )
        if signed.account_key != self._account_key:
            raise refuse(
                errors_pb2.ERROR_REASON_PERMISSION_DENIED,
                "The session is another account's.",
                field="envelope.payload.account_id",
            )
        self._intake.charge(signed, self._peer)
        asked.outcome = self._intake.submit(signed)

    async def _answer(self, asked: _Asked, send: Sender[pb.QuoteStreamResponse]) -> None:
        if asked.outcome is not None:
            await asked.outcome.wait_done()
        self._asked.popleft()
        result = pb.QuoteResult(nonce=asked.nonce)
        try:
            if asked.refusal is not None:
                raise asked.refusal
            if asked.outcome is not None:
                self._fill(result, asked.action, result_of(asked.outcome))
        except RpcError as refusal:
            result.rejection.CopyFrom(rejection_of(refusal))
        await self._send(send, [pb.QuoteStreamResponse(result=result)])

    def _fill(self, result: pb.QuoteResult, action: str, outcome: Outcome) -> None:
        if outcome.reason != Reason.NONE:
            result.rejection.CopyFrom(rejection(outcome.reason, outcome.field))
            return
        self._note(action, outcome)
        render.fill_applied(result.applied, outcome)
        state = self._shard.views.quotes.quotes.get(outcome.key)
        if state is not None:
            end = 0 if action == "quote" else QuoteEnd.WITHDRAWN
            state = state._replace(end=end, sequence=outcome.sequence)
            markets = self._shard.exchange.markets
            result.quote.CopyFrom(quote_render.quote(self._ids, markets, state, self._account_key))

    # --- the end

    def _note(self, action: str, outcome: Outcome) -> None:
        if action == "quote" and outcome.reason == Reason.NONE:
            open_quotes = self._shard.exchange.quotes.quotes
            self._given = {key: None for key in self._given if key in open_quotes}
            self._given[outcome.key] = None

    async def _withdraw(self) -> None:
        """Journal that the session ended, if it leaves quotes."""
        for asked in self._asked:
            if asked.outcome is not None:
                await asked.outcome.wait_done()
                try:
                    self._note(asked.action, result_of(asked.outcome))
                except RpcError:
                    continue
        open_quotes = self._shard.exchange.quotes.quotes
        keys = b"".join(KEY.pack(key) for key in self._given if key in open_quotes)
        if keys:
            await self._shard.sequencer.wait_room()
            try:
                self._intake.submit_command(EndQuoteSession(self._account_key, keys), b"")
            except RpcError:
                _log.warning("quotes of a session that ended were not withdrawn: time will")
