"""Matching: requests for quotes. Takers ask and accept, makers hold a session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import trio

from dex.errors.v1 import errors_pb2
from dex.matching.v1 import quote_pb2 as pb
from dexcore.quote_commands import WithdrawRequest
from dexnode import quote_render, render
from dexnode.authz import require_account
from dexnode.errors import refuse
from dexnode.ids import IdFormat
from dexnode.intake import Intake, accepted
from dexnode.pagination import PageTokens
from dexnode.services.quote_session import MakerSession
from dexnode.services.streams import follow
from dexrpc import CallContext, Receiver, RpcError, Sender
from dexruntime.quote_views import QuoteState
from dexruntime.shard import Shard

QUOTES_PAGE: Final = 100
QUOTES_AT_ONCE: Final = 256


class QuoteMethods:
    """The methods of dex.matching.v1.Matching about quotes."""

    def __init__(
        self,
        shard: Shard,
        intake: Intake,
        ids: IdFormat,
        pages: PageTokens,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._shard = shard
        self._intake = intake
        self._ids = ids
        self._pages = pages
        self._is_stopping = is_stopping
        # Calls that wait for quotes, by request.
        self._waiting: Counter[int] = Counter()

    async def request_quote(
        self,
        request: pb.RequestQuoteRequest,
        ctx: CallContext,
        send: Sender[pb.RequestQuoteResponse],
    ) -> None:
        """Ask, and stream what makers answer until the request closes."""
        queued = await self._intake.take(request.envelope, "quote_request", ctx)
        with trio.CancelScope(shield=True):
            # A taker that leaves from now on leaves a request, which is known once it is durable.
            outcome = await accepted(queued)
        view = self._shard.views.quotes.requests.get(outcome.key)
        if view is None:
            raise refuse(errors_pb2.ERROR_REASON_UNKNOWN_QUOTE_REQUEST)
        request_id = self._ids.format(outcome.key)
        self._waiting[outcome.key] += 1
        taker_left = False

        async def send_states(after: int, states: list[QuoteState | None]) -> None:
            messages = []
            for sequence, state in enumerate(states, after + 1):
                message = pb.RequestQuoteResponse(quote_request_id=request_id, sequence=sequence)
                if state is not None:
                    message.quote.CopyFrom(self._quote(state, state.taker_key))
                messages.append(message)
            await send.send_many(messages)

        try:
            await follow(view.log, 0, QUOTES_AT_ONCE, send_states)
        except trio.Cancelled:
            taker_left = not self._is_stopping()
            raise
        finally:
            self._waiting[outcome.key] -= 1
            if not self._waiting[outcome.key]:
                del self._waiting[outcome.key]
                if taker_left and not view.log.is_closed:
                    self._withdraw(WithdrawRequest(view.state.taker_key, outcome.key))

    def _withdraw(self, command: WithdrawRequest) -> None:
        """Nobody waits for quotes any more. If it cannot be said now, time will end it."""
        try:
            self._intake.submit_command(command, b"")
        except RpcError:
            return

    async def accept_quote(
        self, request: pb.AcceptQuoteRequest, ctx: CallContext
    ) -> pb.AcceptQuoteResponse:
        """Trade the whole size of a quote."""
        outcome = await self._intake.run(request.envelope, "quote_acceptance", ctx)
        response = pb.AcceptQuoteResponse()
        render.fill_applied(response.applied, outcome)
        [item] = outcome.items
        [(_, price_ticks, quantity_lots, fee_atoms)] = item.fills
        response.fill.price_ticks = price_ticks
        response.fill.quantity_lots = quantity_lots
        response.fill.fee_atoms = fee_atoms
        state = self._shard.views.quotes.quotes.get(outcome.key)
        if state is not None:
            response.quote.CopyFrom(self._quote(state, state.taker_key))
        else:
            response.quote.quote_id = self._ids.format(outcome.key)
        return response

    async def quote_stream(
        self,
        requests: Receiver[pb.QuoteStreamRequest],
        ctx: CallContext,
        send: Sender[pb.QuoteStreamResponse],
    ) -> None:
        """A maker's session."""
        try:
            first = await requests.receive()
        except trio.EndOfChannel:
            return
        if first.WhichOneof("item") != "session":
            raise refuse(errors_pb2.ERROR_REASON_FIELD_INVALID, field="session")
        require_account(ctx, first.session.account_id, "session.account_id")
        account_key = self._ids.key_of(first.session.account_id)
        if account_key not in self._shard.exchange.accounts.by_key or account_key is None:
            raise refuse(errors_pb2.ERROR_REASON_UNKNOWN_ACCOUNT, field="session.account_id")
        session = MakerSession(
            self._shard, self._intake, self._ids, ctx.peer, account_key, first.session
        )
        await session.run(requests, send)

    async def list_quotes(
        self, request: pb.ListQuotesRequest, ctx: CallContext
    ) -> pb.ListQuotesResponse:
        """Quotes by the account and on its requests, newest first."""
        require_account(ctx, request.account_id)
        account_key = self._ids.key_of(request.account_id) or 0
        before = self._pages.open(request, int)
        wanted_key = self._ids.key_of(request.quote_request_id)
        size = request.page_size or QUOTES_PAGE
        found = []
        for state in self._shard.views.quotes.quotes_of(account_key):
            is_asked = not request.quote_request_id or state.request_key == wanted_key
            status = quote_render.status_of(state.end)
            is_older = before is None or state.quote_key < before
            if is_asked and is_older and request.status in (0, status):
                found.append(state)
        page = found[:size]
        response = pb.ListQuotesResponse(quotes=[self._quote(each, account_key) for each in page])
        if len(found) > size:
            response.next_page_token = self._pages.seal(request, page[-1].quote_key)
        return response

    def _quote(self, state: QuoteState, reader_key: int) -> pb.Quote:
        return quote_render.quote(self._ids, self._shard.exchange.markets, state, reader_key)
