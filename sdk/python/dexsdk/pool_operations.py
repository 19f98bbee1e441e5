"""Operations on liquidity pools (dex.pools.v1.Pools). Amounts are atoms."""

from __future__ import annotations

from typing import cast

from dex.orders.v1 import signed_payload_pb2 as wire
from dex.pools.v1 import pools_pb2 as pools
from dexsdk import methods
from dexsdk.effects import Operation, ask
from dexsdk.errors import checked_fields
from dexsdk.order_operations import page_size
from dexsdk.session import Session
from dexsdk.types import Side, SwapExact


def list_pools(session: Session) -> Operation[list[pools.Pool]]:
    """Every pool, by market id."""
    found: list[pools.Pool] = []
    request = pools.ListPoolsRequest(page_size=1_000)
    while True:
        page = yield from ask(session, methods.LIST_POOLS, request)
        found += page.pools
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


def get_pool(session: Session, market: str) -> Operation[pools.Pool]:
    """The pool of a market; CallerError (NO_POOL) when it has none."""
    request = pools.GetPoolRequest(market_id=market)
    return (yield from ask(session, methods.GET_POOL, request)).pool


def list_positions(
    session: Session,
    account_id: str | None = None,
    *,
    market: str | None = None,
    limit: int | None = None,
) -> Operation[list[pools.Position]]:
    """What the account has in pools, by market and pool ticks; at most `limit`, else all."""
    found: list[pools.Position] = []
    request = pools.ListPositionsRequest(
        account_id=session.require_account(account_id),
        market_id=market or "",
        page_size=page_size(limit, 1_000),
    )
    while True:
        page = yield from ask(session, methods.LIST_POSITIONS, request)
        found += page.positions
        request.page_token = page.next_page_token
        if not request.page_token or (limit is not None and len(found) >= limit):
            return found[:limit]


def add_liquidity(
    session: Session,
    market: str,
    *,
    base_atoms_max: int,
    quote_atoms_max: int,
    lower_tick: int = 0,
    upper_tick: int = 0,
    base_atoms_min: int = 0,
    quote_atoms_min: int = 0,
) -> Operation[pools.AddLiquidityResponse]:
    """Provides as much as both maximums allow at the pool's ratio; says what was taken.

    `lower_tick` and `upper_tick` are the pool ticks (see `pool_tick`) between which a concentrated
    pool uses it; a constant product has none. Below a minimum it is refused (SLIPPAGE).
    """
    payload = session.payload()
    with checked_fields():
        payload.add_liquidity.CopyFrom(
            wire.LiquidityAddition(
                market_id=market,
                lower_tick=lower_tick,
                upper_tick=upper_tick,
                base_atoms_max=base_atoms_max,
                quote_atoms_max=quote_atoms_max,
                base_atoms_min=base_atoms_min,
                quote_atoms_min=quote_atoms_min,
            )
        )
    signed = session.sign(payload)
    request = pools.AddLiquidityRequest(envelope=signed.envelope)
    return (yield from ask(session, methods.ADD_LIQUIDITY, request, signed.expire_time_ns))


def remove_liquidity(
    session: Session,
    market: str,
    liquidity: int,
    *,
    lower_tick: int = 0,
    upper_tick: int = 0,
    base_atoms_min: int = 0,
    quote_atoms_min: int = 0,
) -> Operation[pools.RemoveLiquidityResponse]:
    """Takes so much of a position back, with all its fees; says what came.

    Zero takes the fees of a concentrated pool alone. The minimums are of what comes without fees.
    """
    payload = session.payload()
    with checked_fields():
        payload.remove_liquidity.CopyFrom(
            wire.LiquidityRemoval(
                market_id=market,
                lower_tick=lower_tick,
                upper_tick=upper_tick,
                liquidity=liquidity,
                base_atoms_min=base_atoms_min,
                quote_atoms_min=quote_atoms_min,
            )
        )
    signed = session.sign(payload)
    request = pools.RemoveLiquidityRequest(envelope=signed.envelope)
    return (yield from ask(session, methods.REMOVE_LIQUIDITY, request, signed.expire_time_ns))


def swap_with_pool(
    session: Session,
    market: str,
    side: Side,
    exact: SwapExact,
    amount_atoms: int,
    *,
    limit_atoms: int,
) -> Operation[pools.SwapWithPoolResponse]:
    """Trades with the pool alone, the whole amount or nothing.

    `SwapExact.IN` gives exactly `amount_atoms` for at least `limit_atoms` of the other asset,
    `SwapExact.OUT` gets exactly `amount_atoms` for at most `limit_atoms`. A buyer gives quote.
    """
    payload = session.payload()
    with checked_fields():
        swap = _swap(market, side, exact, amount_atoms, limit_atoms)
        payload.pool_swap.CopyFrom(swap)
    signed = session.sign(payload)
    request = pools.SwapWithPoolRequest(envelope=signed.envelope)
    return (yield from ask(session, methods.SWAP_WITH_POOL, request, signed.expire_time_ns))


def quote_pool_swap(
    session: Session, market: str, side: Side, exact: SwapExact, amount_atoms: int
) -> Operation[pools.QuotePoolSwapResponse]:
    """What `swap_with_pool` would give now; changes nothing."""
    request = pools.QuotePoolSwapRequest(swap=_swap(market, side, exact, amount_atoms, 0))
    return (yield from ask(session, methods.QUOTE_POOL_SWAP, request))


def _swap(
    market: str, side: Side, exact: SwapExact, amount_atoms: int, limit_atoms: int
) -> wire.PoolSwap:
    return wire.PoolSwap(
        market_id=market,
        side=cast("wire.Side.ValueType", side),
        exact=cast("wire.SwapExact.ValueType", exact),
        amount_atoms=amount_atoms,
        limit_atoms=limit_atoms,
    )
