"""Admin: the operator's commands."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol, final

from google.protobuf.message import Message

from dex.admin.v1 import admin_pb2 as pb
from dex.audit.v1 import operator_call_pb2
from dex.errors.v1 import errors_pb2
from dex.matching.v1 import matching_pb2
from dexcore.commands import (
    CAUSE_OPERATOR,
    EXTERNAL_TRADE,
    Command,
    CreateMarket,
    Deposit,
    MassCancel,
    RecordOperation,
    RecordTrades,
    SetFees,
    SetMarketLimits,
    SetMarketStatus,
    SetStpGroup,
    Withdraw,
)
from dexcore.items import NO_MARKET
from dexcore.limits import PRICE_TICKS_MAX_DEFAULT, QUANTITY_LOTS_MAX_DEFAULT
from dexcore.market import MarketSpec
from dexcore.pool_commands import CreatePool
from dexcore.results import Outcome
from dexnode import render
from dexnode.audit.log import AuditLog
from dexnode.authz import IDENTITY_STATE, Identity
from dexnode.errors import refuse, refuse_field
from dexnode.ids import IdFormat
from dexnode.intake import Intake
from dexnode.services.matching import find_market
from dexnode.services.pools import read_pools
from dexnode.times import time_ns_of
from dexrpc import CallContext
from dexruntime.shard import Shard, SnapshotFailed

# A full request of 10,000 recorded trades takes about 400 KiB, its command as much; a block of the
# journal holds 8 MiB and the sequencer ends a batch at 4.
REQUEST_BYTES_MAX: Final = 1 << 20


class NodeControl(Protocol):
    """What the service needs of the node around it."""

    version: str
    demo: bool
    data_dir: Path
    ready_time_ns: int

    def request_drain(self) -> None:
        """Stop the node in an orderly way, soon."""


@final
class AdminService:
    """Serves dex.admin.v1.Admin."""

    def __init__(
        self, shard: Shard, intake: Intake, ids: IdFormat, node: NodeControl, audit: AuditLog
    ) -> None:
        self._shard = shard
        self._intake = intake
        self._ids = ids
        self._node = node
        self._audit = audit

    async def create_market(
        self, request: pb.CreateMarketRequest, ctx: CallContext
    ) -> pb.CreateMarketResponse:
        """Open a market."""
        outcome = await self._apply(
            CreateMarket(_operator(ctx), _spec(request.market)), request, ctx
        )
        return pb.CreateMarketResponse(market=self._market(outcome.key))

    async def create_pool(
        self, request: pb.CreatePoolRequest, ctx: CallContext
    ) -> pb.CreatePoolResponse:
        """Give a market its pool."""
        market = find_market(self._shard, request.market_id)
        terms = (request.kind, request.fee_ppm, request.price_ticks)
        await self._apply(CreatePool(_operator(ctx), market.index, *terms), request, ctx)
        [pool] = await read_pools(self._shard, self._ids, [market])
        return pb.CreatePoolResponse(pool=pool)

    async def set_market_status(
        self, request: pb.SetMarketStatusRequest, ctx: CallContext
    ) -> pb.SetMarketStatusResponse:
        """Open, halt or close a market, or begin an auction."""
        market = find_market(self._shard, request.market_id)
        command = SetMarketStatus(_operator(ctx), market.index, request.status)
        outcome = await self._apply(command, request, ctx)
        return pb.SetMarketStatusResponse(market=self._market(outcome.key))

    async def set_fees(self, request: pb.SetFeesRequest, ctx: CallContext) -> pb.SetFeesResponse:
        """Set the fees of orders placed from now on."""
        market = find_market(self._shard, request.market_id)
        command = SetFees(
            _operator(ctx), market.index, request.maker_fee_ppm, request.taker_fee_ppm
        )
        outcome = await self._apply(command, request, ctx)
        return pb.SetFeesResponse(market=self._market(outcome.key))

    async def set_market_limits(
        self, request: pb.SetMarketLimitsRequest, ctx: CallContext
    ) -> pb.SetMarketLimitsResponse:
        """Set what orders of a market are held against from now on."""
        market = find_market(self._shard, request.market_id)
        command = SetMarketLimits(
            _operator(ctx),
            market.index,
            request.protection_ticks,
            request.price_band_ppm,
            request.notional_min_atoms,
            request.notional_max_atoms,
        )
        outcome = await self._apply(command, request, ctx)
        return pb.SetMarketLimitsResponse(market=self._market(outcome.key))

    async def set_self_trade_group(
        self, request: pb.SetSelfTradeGroupRequest, ctx: CallContext
    ) -> pb.SetSelfTradeGroupResponse:
        """Put an account into a self-trade group, or out of any."""
        account_key = self._account_key(request.account_id)
        await self._apply(SetStpGroup(_operator(ctx), account_key, request.group), request, ctx)
        return pb.SetSelfTradeGroupResponse()

    async def cancel_orders(
        self, request: pb.CancelOrdersRequest, ctx: CallContext
    ) -> pb.CancelOrdersResponse:
        """Cancel open orders, whoever's they are."""
        account_key, market_index = 0, NO_MARKET
        if request.everything == bool(request.account_id or request.market_id):
            raise refuse_field("everything", "or else an account_id or market_id must be set")
        if request.account_id:
            account_key = self._account_key(request.account_id)
        if request.market_id:
            market_index = find_market(self._shard, request.market_id).index
        command = MassCancel(
            _operator(ctx), account_key, market_index, request.side, CAUSE_OPERATOR
        )
        outcome = await self._apply(command, request, ctx)
        return pb.CancelOrdersResponse(
            applied=render.applied(outcome), cancelled_count=outcome.counts[0]
        )

    async def credit_account(
        self, request: pb.CreditAccountRequest, ctx: CallContext
    ) -> pb.CreditAccountResponse:
        """Book money that came in."""
        outcome = await self._apply(self._booking(Deposit, request, ctx), request, ctx)
        return pb.CreditAccountResponse(applied=render.applied(outcome))

    async def debit_account(
        self, request: pb.DebitAccountRequest, ctx: CallContext
    ) -> pb.DebitAccountResponse:
        """Book money that went out."""
        outcome = await self._apply(self._booking(Withdraw, request, ctx), request, ctx)
        return pb.DebitAccountResponse(applied=render.applied(outcome))

    async def record_trades(
        self, request: pb.RecordTradesRequest, ctx: CallContext
    ) -> pb.RecordTradesResponse:
        """Record trades of an external market."""
        market = find_market(self._shard, request.market_id)
        trades = b"".join(
            EXTERNAL_TRADE.pack(
                trade.external_id,
                time_ns_of(trade.time, "trades.time"),
                trade.price_ticks,
                trade.quantity_lots,
                trade.taker_side,
            )
            for trade in request.trades
        )
        watermark_ns = time_ns_of(request.watermark_time, "watermark_time")
        command = RecordTrades(_operator(ctx), market.index, watermark_ns, trades)
        outcome = await self._apply(command, request, ctx)
        recorded, skipped = outcome.counts
        return pb.RecordTradesResponse(
            applied=render.applied(outcome), recorded_count=recorded, skipped_count=skipped
        )

    async def take_snapshot(
        self, request: pb.TakeSnapshotRequest, ctx: CallContext
    ) -> pb.TakeSnapshotResponse:
        """Write a snapshot and wait for it."""
        await self._record(request, ctx)
        try:
            report = await self._shard.take_snapshot(self._node.data_dir)
        except SnapshotFailed as error:
            raise refuse(errors_pb2.ERROR_REASON_INTERNAL, "the snapshot failed") from error
        return pb.TakeSnapshotResponse(
            sequence=report.sequence, state_hash=report.state_hash, size_bytes=report.size_bytes
        )

    async def drain(self, request: pb.DrainRequest, ctx: CallContext) -> pb.DrainResponse:
        """Stop the node in an orderly way."""
        await self._record(request, ctx)
        self._node.request_drain()
        return pb.DrainResponse()

    async def get_node_status(
        self, _request: pb.GetNodeStatusRequest, _ctx: CallContext
    ) -> pb.GetNodeStatusResponse:
        """What the node is and does."""
        shard, node = self._shard, self._node
        exchange = shard.exchange
        response = pb.GetNodeStatusResponse(
            network_id=shard.identity.network_id,
            version=node.version,
            ready_time=render.timestamp(node.ready_time_ns),
            applied_sequence=exchange.sequence,
            event_hash=exchange.event_hash.hex(),
            snapshot_sequence=shard.snapshot_sequence,
            replayed_count=shard.replayed_count,
            account_count=len(exchange.accounts.by_key),
            open_order_count=sum(
                len(account.open_orders) for account in exchange.accounts.by_key.values()
            ),
            market_count=len(exchange.markets),
            demo=node.demo,
            audit_public_key=self._audit.public_key.hex(),
            audit_tree_size=self._audit.tree_size,
            epoch=shard.identity.epoch,
            oldest_sequence=shard.oldest_sequence,
        )
        await shard.sequencer.settled()
        response.durable_sequence = shard.sequencer.durable_sequence
        return response

    async def _apply(self, command: Command, request: Message, ctx: CallContext) -> Outcome:
        return await self._intake.apply(command, operator_envelope(request, ctx))

    async def _record(self, request: Message, ctx: CallContext) -> None:
        """Journal an operation that changes nothing in the exchange, before it is done."""
        await self._apply(RecordOperation(_operator(ctx), _method(ctx)), request, ctx)

    def _market(self, market_index: int) -> matching_pb2.Market:
        return render.market(self._shard.exchange.markets[market_index])

    def _account_key(self, account_id: str) -> int:
        account_key = self._ids.key_of(account_id)
        if account_key is None:
            raise refuse(errors_pb2.ERROR_REASON_UNKNOWN_ACCOUNT, field="account_id")
        return account_key

    def _booking(
        self,
        command: type[Deposit | Withdraw],
        request: pb.CreditAccountRequest | pb.DebitAccountRequest,
        ctx: CallContext,
    ) -> Command:
        return command(
            _operator(ctx),
            self._account_key(request.account_id),
            request.asset_id,
            request.amount_atoms,
            request.reference,
        )


def _operator(ctx: CallContext) -> str:
    name: str = ctx.state[IDENTITY_STATE].operator
    return name


def _method(ctx: CallContext) -> str:
    return ctx.method.path.removeprefix("/")


def operator_envelope(request: Message, ctx: CallContext) -> bytes:
    """Who asks for what: the OperatorCall that is journaled beside the command.

    Raises:
        RpcError: the request would not fit beside its command into a block of the journal.
    """
    identity: Identity = ctx.state[IDENTITY_STATE]
    known = type(request)()
    known.CopyFrom(request)
    known.DiscardUnknownFields()
    call = operator_call_pb2.OperatorCall(
        operator=identity.operator or "",
        method=_method(ctx),
        request=known.SerializeToString(deterministic=True),
    )
    if identity.public_key is not None:
        call.public_key = identity.public_key
    else:
        call.certificate_name = identity.certificate_name or ""
    if len(call.request) > REQUEST_BYTES_MAX:
        raise refuse(errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE)
    return call.SerializeToString(deterministic=True)


def _spec(market: matching_pb2.Market) -> MarketSpec:
    return MarketSpec(
        market.market_id,
        market.base_asset.asset_id,
        market.base_asset.scale,
        market.quote_asset.asset_id,
        market.quote_asset.scale,
        market.quote_atoms_per_tick_lot,
        market.base_atoms_per_lot,
        market.price_increment_ticks or 1,
        market.quantity_increment_lots or 1,
        market.price_ticks_max or PRICE_TICKS_MAX_DEFAULT,
        market.quantity_lots_max or QUANTITY_LOTS_MAX_DEFAULT,
        market.maker_fee_ppm,
        market.taker_fee_ppm,
        market.kind,
    )
