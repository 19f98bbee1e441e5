"""Pools: what they hold and would trade, and what accounts do with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import signed_payload_pb2 as payload_pb
from dex.pools.v1 import pools_pb2 as pb
from dexcore.book import BUY
from dexcore.limits import INT64_MAX
from dexcore.market import Market, MarketStatus
from dexcore.pool import Pool
from dexcore.pool_commands import EXACT_IN
from dexnode import pool_render, render
from dexnode.authz import require_account
from dexnode.errors import refuse
from dexnode.ids import IdFormat
from dexnode.intake import Intake
from dexnode.pagination import PageTokens
from dexnode.services.matching import find_market
from dexrpc import CallContext, Sender, SendStalled
from dexruntime.shard import Shard

POOLS_PAGE: Final = 100
POSITIONS_PAGE: Final = 100


@final
class PoolsService:
    """Serves dex.pools.v1.Pools."""

    def __init__(self, shard: Shard, intake: Intake, ids: IdFormat, pages: PageTokens) -> None:
        self._shard = shard
        self._intake = intake
        self._ids = ids
        self._pages = pages

    # --- reading

    async def list_pools(
        self, request: pb.ListPoolsRequest, _ctx: CallContext
    ) -> pb.ListPoolsResponse:
        """List the pools by market id."""
        after = self._pages.open(request, str) or ""
        size = request.page_size or POOLS_PAGE
        markets = self._shard.exchange.markets_by_id
        names = sorted(
            name for name, market in markets.items() if market.pool is not None and name > after
        )
        page = [markets[name] for name in names[:size]]
        response = pb.ListPoolsResponse(pools=await read_pools(self._shard, self._ids, page))
        if len(names) > size:
            response.next_page_token = self._pages.seal(request, names[size - 1])
        return response

    async def get_pool(self, request: pb.GetPoolRequest, _ctx: CallContext) -> pb.GetPoolResponse:
        """The pool of a market."""
        market = find_market(self._shard, request.market_id)
        [pool] = await read_pools(self._shard, self._ids, [market])
        return pb.GetPoolResponse(pool=pool)

    async def stream_pool(
        self, request: pb.StreamPoolRequest, _ctx: CallContext, send: Sender[pb.StreamPoolResponse]
    ) -> None:
        """The pool, then again after changes; those that came meanwhile are one."""
        market = find_market(self._shard, request.market_id)
        feed = self._shard.views.markets[market.index].pool_feed
        feed.readers += 1
        sequence = 0
        try:
            while True:
                [pool] = await read_pools(self._shard, self._ids, [market])
                sequence = pool.sequence
                await send.send(pb.StreamPoolResponse(pool=pool))
                while feed.newest().sequence <= sequence:
                    await feed.wait_wake()
        except SendStalled:
            raise refuse(
                errors_pb2.ERROR_REASON_SLOW_CONSUMER, metadata={"last_sequence": str(sequence)}
            ) from None
        finally:
            feed.readers -= 1

    async def list_positions(
        self, request: pb.ListPositionsRequest, ctx: CallContext
    ) -> pb.ListPositionsResponse:
        """What the account has in pools, by market and pool ticks."""
        require_account(ctx, request.account_id)
        exchange = self._shard.exchange
        account_key = self._ids.key_of(request.account_id)
        if account_key is None or account_key not in exchange.accounts.by_key:
            raise refuse(errors_pb2.ERROR_REASON_UNKNOWN_ACCOUNT, field="account_id")
        markets = exchange.markets
        if request.market_id:
            markets = [find_market(self._shard, request.market_id)]
            pool_of(markets[0])
        after = self._pages.open(request, tuple[int, int, int])
        size = request.page_size or POSITIONS_PAGE
        found = [
            ((market.index, position.lower_tick, position.upper_tick), position)
            for market in markets
            if market.pool is not None
            for position in pool_render.positions(market, market.pool, account_key)
        ]
        found = [each for each in found if after is None or each[0] > after]
        response = pb.ListPositionsResponse(positions=[each for _, each in found[:size]])
        if len(found) > size:
            response.next_page_token = self._pages.seal(request, found[size - 1][0])
        response.sequence = await self._shard.sequencer.settled()
        return response

    async def quote_pool_swap(
        self, request: pb.QuotePoolSwapRequest, _ctx: CallContext
    ) -> pb.QuotePoolSwapResponse:
        """What a swap with the pool would give now; looks at no limit and at no funds."""
        market = find_market(self._shard, request.swap.market_id)
        try:
            return self._quoted(market, request.swap)
        finally:
            # Also what is refused is said of what no crash takes back.
            await self._shard.sequencer.settled()

    def _quoted(self, market: Market, swap: payload_pb.PoolSwap) -> pb.QuotePoolSwapResponse:
        curve = pool_of(market).curve
        if market.status is not MarketStatus.OPEN:
            raise refuse(errors_pb2.ERROR_REASON_MARKET_NOT_OPEN, field="market_id")
        side, atoms = swap.side, swap.amount_atoms
        is_in = swap.exact == EXACT_IN
        other = curve.quote_in(side, atoms) if is_in else curve.quote_out(side, atoms)
        # More than there is money is no price.
        if other is None or other > INT64_MAX:
            raise refuse(errors_pb2.ERROR_REASON_NO_LIQUIDITY)
        # What comes in is quote of a buyer, base of a seller.
        first_is_quote = is_in == (side == BUY)
        base_atoms, quote_atoms = (other, atoms) if first_is_quote else (atoms, other)
        return pb.QuotePoolSwapResponse(
            base_atoms=base_atoms, quote_atoms=quote_atoms, sequence=self._shard.exchange.sequence
        )

    # --- signed

    async def add_liquidity(
        self, request: pb.AddLiquidityRequest, ctx: CallContext
    ) -> pb.AddLiquidityResponse:
        """Provide liquidity."""
        outcome = await self._intake.run(request.envelope, "add_liquidity", ctx)
        liquidity, base_atoms, quote_atoms = outcome.amounts
        return pb.AddLiquidityResponse(
            applied=render.applied(outcome),
            liquidity=liquidity,
            base_atoms=base_atoms,
            quote_atoms=quote_atoms,
        )

    async def remove_liquidity(
        self, request: pb.RemoveLiquidityRequest, ctx: CallContext
    ) -> pb.RemoveLiquidityResponse:
        """Take liquidity back, or the fees alone."""
        outcome = await self._intake.run(request.envelope, "remove_liquidity", ctx)
        liquidity, base_atoms, quote_atoms = outcome.amounts
        return pb.RemoveLiquidityResponse(
            applied=render.applied(outcome),
            liquidity=liquidity,
            base_atoms=base_atoms,
            quote_atoms=quote_atoms,
        )

    async def swap_with_pool(
        self, request: pb.SwapWithPoolRequest, ctx: CallContext
    ) -> pb.SwapWithPoolResponse:
        """Trade with the pool alone."""
        outcome = await self._intake.run(request.envelope, "pool_swap", ctx)
        base_atoms, quote_atoms = outcome.amounts
        return pb.SwapWithPoolResponse(
            applied=render.applied(outcome), base_atoms=base_atoms, quote_atoms=quote_atoms
        )


async def read_pools(shard: Shard, ids: IdFormat, markets: Sequence[Market]) -> list[pb.Pool]:
    """The pools of markets at one moment, once it is durable.

    Raises:
        RpcError: a market has none.
    """
    while True:
        pools = [pool_render.pool(ids, market, pool_of(market)) for market in markets]
        sequence = await shard.sequencer.settled()
        views = shard.views.markets
        changes = [views[market.index].pool_change_until(sequence) for market in markets]
        known = [change for change in changes if change is not None]
        if len(known) == len(pools):
            for pool, change in zip(pools, known, strict=True):
                pool_render.fill_change(pool, change)
            return pools


def pool_of(market: Market) -> Pool:
    """The market's pool.

    Raises:
        RpcError: NO_POOL.
    """
    if market.pool is None:
        raise refuse(errors_pb2.ERROR_REASON_NO_POOL, field="market_id")
    return market.pool
