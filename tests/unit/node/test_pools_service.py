"""Pools behind the wire: reads of what is durable, positions of their owners, limits of swaps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from dex.orders.v1 import signed_payload_pb2 as wire
from dex.pools.v1 import pools_pb2 as pb
from dexcore.items import IOC
from dexcore.pool_commands import AddLiquidity, CreatePool, PoolSwap, RemoveLiquidity
from dexcore.reasons import Reason
from dexnode.authz import IDENTITY_STATE, Identity, IdentityKind
from dexnode.ids import IdFormat
from dexnode.pool_intake import PoolIntake
from dexnode.services.pools import PoolsService
from dexrpc import RpcError, StatusCode
from dexruntime.shard import Shard
from dexruntime.snapshotter import take_snapshot
from dexruntime.storage import PosixStorage
from tests.unit.core.exchanges import (
    BUY,
    MARKETS,
    OPERATOR,
    SECOND_NS,
    START_NS,
    Trader,
    orders,
    place,
)
from tests.unit.runtime.shards import IDENTITY, GatedStorage, do, open_market, running, until

MARKET = MARKETS[0].market_id
NOBODY: Any = None
IDS = IdFormat(3, 7)


def head(trader: Trader, nonce: int) -> tuple[int, int, int, bytes, bytes]:
    digest = nonce.to_bytes(16, "big")
    return trader.account_key, nonce, START_NS + 60 * SECOND_NS, digest, trader.public_key


def service(shard: Shard) -> PoolsService:
    pages: Any = SimpleNamespace(open=lambda *_: None)
    return PoolsService(shard, NOBODY, IDS, pages)


def caller(trader: Trader) -> Any:
    """The context of a call with a token of this account."""
    identity = Identity(IdentityKind.ACCOUNT, IDS.format(trader.account_key))
    return SimpleNamespace(state={IDENTITY_STATE: identity})


async def read(shard: Shard) -> pb.Pool:
    return (await service(shard).get_pool(pb.GetPoolRequest(market_id=MARKET), NOBODY)).pool


async def opened(shard: Shard) -> Trader:
    """A market with a pool of 700,000 quote for 1,000,000 base atoms."""
    [trader, _] = await open_market(shard)
    await do(shard, CreatePool(OPERATOR, 0, 1, 3_000, 0))
    await do(shard, AddLiquidity(*head(trader, 1), 0, 0, 0, 1_000_000, 700_000, 0, 0))
    return trader


async def test_what_is_not_durable_is_not_shown(tmp_path: Path) -> None:
    storage = GatedStorage(PosixStorage(tmp_path))
    async with running(storage) as shard, trio.open_nursery() as nursery:
        trader = await opened(shard)
        before = await read(shard)
        shown: list[pb.Pool] = []

        async def watch() -> None:
            shown.append(await read(shard))

        storage.gate.shut()
        shard.sequencer.submit(PoolSwap(*head(trader, 2), 0, BUY, 1, 7_000, 0))
        await until(lambda: storage.gate.waiting == 1)
        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert shown == [], "a pool was shown that a crash takes back"
        storage.gate.open()
        await until(lambda: len(shown) == 1)
        assert shown[0].quote_atoms == before.quote_atoms + 7_000
        assert shown[0].sequence == before.sequence + 1


async def test_a_preview_is_not_journaled(tmp_path: Path) -> None:
    async with running(PosixStorage(tmp_path)) as shard:
        await opened(shard)
        pool, sequence = await read(shard), shard.exchange.sequence
        for exact in (wire.SWAP_EXACT_IN, wire.SWAP_EXACT_OUT):
            swap = wire.PoolSwap(
                market_id=MARKET, side=wire.SIDE_SELL, exact=exact, amount_atoms=5_000
            )
            request = pb.QuotePoolSwapRequest(swap=swap)
            assert (await service(shard).quote_pool_swap(request, NOBODY)).sequence == sequence
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (shard.exchange.sequence, await read(shard)) == (sequence, pool)


async def test_the_last_change_is_kept_over_restarts(tmp_path: Path) -> None:
    async with running(PosixStorage(tmp_path)) as shard:
        trader = await opened(shard)
        # A fill of the pool changes it, a fill of the book does not.
        taken = await do(shard, orders(trader, 2, [place(BUY, 200, 3, tif=IOC)]))
        changed = await read(shard)
        assert changed.sequence == taken.sequence
        assert changed.base_atoms < 1_000_000
        await do(shard, orders(trader, 3, [place(BUY, 50, 3)]))
        assert await read(shard) == changed
    async with running(PosixStorage(tmp_path)) as shard:
        assert shard.replayed_count == shard.exchange.sequence
        assert await read(shard) == changed
    take_snapshot(PosixStorage(tmp_path), IDENTITY)
    async with running(PosixStorage(tmp_path)) as shard:
        assert shard.replayed_count == 0
        assert await read(shard) == changed


async def test_a_position_is_its_owners(tmp_path: Path) -> None:
    async with running(PosixStorage(tmp_path)) as shard:
        owner, other = await open_market(shard)
        await do(shard, CreatePool(OPERATOR, 0, 2, 3_000, 100))
        place_of = (0, -4_200, -3_000)
        await do(shard, AddLiquidity(*head(owner, 1), *place_of, 5_000, 5_000, 0, 0))
        request = pb.ListPositionsRequest(account_id=IDS.format(owner.account_key))
        [position] = (await service(shard).list_positions(request, caller(owner))).positions
        with pytest.raises(RpcError) as refused:
            await service(shard).list_positions(request, caller(other))
        assert refused.value.code is StatusCode.PERMISSION_DENIED
        removal = (*place_of, position.liquidity, 0, 0)
        taken = await do(shard, RemoveLiquidity(*head(other, 1), *removal))
        assert taken.reason == Reason.UNKNOWN_POSITION, "a position of another was taken"
        back = await do(shard, RemoveLiquidity(*head(owner, 2), *removal))
        assert back.amounts == (position.liquidity, position.base_atoms, position.quote_atoms)


async def test_the_limit_that_was_signed_is_the_commands(tmp_path: Path) -> None:
    async with running(PosixStorage(tmp_path)) as shard:
        trader = await opened(shard)
        intake = PoolIntake(shard.exchange.markets_by_id)
        # Of 7,000 counts what the fee leaves: 1,000,000 * 6,979 / (700,000 + 6,979).
        for nonce, (limit, reason) in enumerate(((9_872, 112), (9_871, 0)), 2):
            swap = wire.PoolSwap(
                market_id=MARKET,
                side=wire.SIDE_BUY,
                exact=wire.SWAP_EXACT_IN,
                amount_atoms=7_000,
                limit_atoms=limit,
            )
            outcome = await do(shard, intake.command(head(trader, nonce), "pool_swap", swap))
            assert outcome.reason == reason, "a swap went beyond its limit"
