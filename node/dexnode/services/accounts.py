"""Accounts: keys, balances, ledger entries."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final, final

from dex.accounts.v1 import accounts_pb2 as pb
from dex.errors.v1 import errors_pb2
from dex.orders.v1.signed_payload_pb2 import KeyScope
from dexcore.accounts import Account, Key
from dexnode import render
from dexnode.authz import require_account
from dexnode.errors import refuse
from dexnode.ids import IdFormat
from dexnode.intake import Intake
from dexnode.pagination import PageTokens
from dexnode.services.matching import find_market
from dexrpc import CallContext
from dexruntime.movements import LedgerEntry, entries_of
from dexruntime.shard import Shard

OPEN_ORDERS_SHOWN: Final = 1_000
ORDERS_PAGE: Final = 100
ENTRIES_PAGE: Final = 100


@final
class AccountsService:
    """Serves dex.accounts.v1.Accounts."""

    def __init__(self, shard: Shard, intake: Intake, ids: IdFormat, pages: PageTokens) -> None:
        self._shard = shard
        self._intake = intake
        self._ids = ids
        self._pages = pages

    async def register_key(
        self, request: pb.RegisterKeyRequest, ctx: CallContext
    ) -> pb.RegisterKeyResponse:
        """Open an account, or give one another key."""
        outcome = await self._intake.run(request.envelope, "register_key", ctx)
        return pb.RegisterKeyResponse(
            applied=render.applied(outcome), account_id=self._ids.format(outcome.key)
        )

    async def transfer(self, request: pb.TransferRequest, ctx: CallContext) -> pb.TransferResponse:
        """Move available funds to another account."""
        outcome = await self._intake.run(request.envelope, "transfer", ctx)
        return pb.TransferResponse(applied=render.applied(outcome))

    async def revoke_key(
        self, request: pb.RevokeKeyRequest, _ctx: CallContext
    ) -> pb.RevokeKeyResponse:
        """End a key, and the account's open orders with it if asked."""
        outcome = await self._intake.run(request.envelope, "revoke_key")
        response = pb.RevokeKeyResponse()
        render.fill_outcome(self._ids, response, outcome)
        return response

    async def list_keys(self, request: pb.ListKeysRequest, ctx: CallContext) -> pb.ListKeysResponse:
        """Every key the account ever had."""
        require_account(ctx, request.account_id)
        account = self._find(request.account_id)
        response = pb.ListKeysResponse(keys=[_key(key) for key in account.keys.values()])
        await self._shard.sequencer.settled()
        return response

    async def get_account(
        self, request: pb.GetAccountRequest, ctx: CallContext
    ) -> pb.GetAccountResponse:
        """Balances, keys and open orders."""
        require_account(ctx, request.account_id)
        message = self._render(self._find(request.account_id))
        message.sequence = await self._shard.sequencer.settled()
        return pb.GetAccountResponse(account=message)

    async def list_open_orders(
        self, request: pb.ListOpenOrdersRequest, ctx: CallContext
    ) -> pb.ListOpenOrdersResponse:
        """Open orders of the account, in all markets or in one, by key."""
        require_account(ctx, request.account_id)
        account = self._find(request.account_id)
        markets = self._shard.exchange.markets
        if request.market_id:
            market = find_market(self._shard, request.market_id)
            keys = [k for k, o in account.open_orders.items() if o.market_index == market.index]
        else:
            keys = list(account.open_orders)
        after = self._pages.open(request, int) or 0
        size = request.page_size or ORDERS_PAGE
        # Nearly sorted; not quite, since a batch may be done in phases.
        left = sorted(key for key in keys if key > after)
        response = pb.ListOpenOrdersResponse()
        for key in left[:size]:
            order = account.open_orders[key]
            market = markets[order.market_index]
            render.fill_open_order(self._ids, response.orders.add(), market, order)
        if len(left) > size:
            response.next_page_token = self._pages.seal(request, left[size - 1])
        response.sequence = await self._shard.sequencer.settled()
        return response

    async def list_ledger_entries(
        self, request: pb.ListLedgerEntriesRequest, ctx: CallContext
    ) -> pb.ListLedgerEntriesResponse:
        """Movements of the account's money, newest first."""
        require_account(ctx, request.account_id)
        account = self._find(request.account_id)
        movements = self._shard.views.movements.get(account.key, deque())
        cursor = self._pages.open(request, tuple[int, int])
        size = request.page_size or ENTRIES_PAGE
        markets = self._shard.exchange.markets
        newest_first: Iterator[LedgerEntry] = (
            entry
            for movement in reversed(movements)
            for entry in reversed(entries_of(movement, account.key, markets))
        )
        if cursor is not None:
            # A command may make several entries: the cursor counts within its sequence.
            sequence, seen = cursor
            older = (entry for entry in newest_first if entry.sequence <= sequence)
            newest_first = islice(older, seen, None)
        page = list(islice(newest_first, size + 1))
        response = pb.ListLedgerEntriesResponse(
            entries=[self._entry(entry) for entry in page[:size]]
        )
        if len(page) > size:
            response.next_page_token = self._pages.seal(request, _cursor(page[:size], cursor))
        return response

    def _find(self, account_id: str) -> Account:
        key = self._ids.key_of(account_id)
        account = None if key is None else self._shard.exchange.accounts.by_key.get(key)
        if account is None:
            raise refuse(errors_pb2.ERROR_REASON_UNKNOWN_ACCOUNT, field="account_id")
        return account

    def _render(self, account: Account) -> pb.Account:
        exchange = self._shard.exchange
        message = pb.Account(
            account_id=self._ids.format(account.key),
            public_keys=account.public_keys,
            open_order_count=len(account.open_orders),
        )
        # A cell may also be there because somebody looked; a snapshot would forget it.
        cells = [c for c in exchange.ledger.cells[account.key].values() if c.available or c.held]
        for cell in sorted(cells, key=lambda cell: cell.asset.asset_id):
            message.balances.add(
                asset_id=cell.asset.asset_id,
                available_atoms=cell.available,
                held_atoms=cell.held,
                scale=cell.asset.scale,
            )
        message.self_trade_group = account.stp_group
        deadline_ns = exchange.timekeeper.deadline_ns(account.key)
        if deadline_ns:
            message.dead_mans_switch_time.CopyFrom(render.timestamp(deadline_ns))
        for order in islice(account.open_orders.values(), OPEN_ORDERS_SHOWN):
            market = exchange.markets[order.market_index]
            render.fill_open_order(self._ids, message.open_orders.add(), market, order)
        return message

    def _entry(self, entry: LedgerEntry) -> pb.LedgerEntry:
        reference = entry.reference
        asset = self._shard.exchange.ledger.assets[entry.asset_index]
        return pb.LedgerEntry(
            sequence=entry.sequence,
            time=render.timestamp(entry.time_ns),
            kind=entry.kind,  # type: ignore[arg-type]
            asset_id=asset.asset_id,
            scale=asset.scale,
            amount_atoms=entry.amount_atoms,
            reference=reference if isinstance(reference, str) else self._ids.format(reference),
        )


def _key(key: Key) -> pb.AccountKey:
    message = pb.AccountKey(
        public_key=key.public_key,
        scopes=[scope for scope in KeyScope.values() if scope and key.scopes & 1 << (scope - 1)],
        label=key.label,
    )
    if key.expire_time_ns:
        message.expire_time.CopyFrom(render.timestamp(key.expire_time_ns))
    if key.revoke_time_ns:
        message.revoke_time.CopyFrom(render.timestamp(key.revoke_time_ns))
    return message


def _cursor(page: list[LedgerEntry], before: tuple[int, int] | None) -> tuple[int, int]:
    """Sequence of the last entry of a page and how many of its entries were shown so far."""
    sequence = page[-1].sequence
    seen = sum(1 for entry in page if entry.sequence == sequence)
    if before is not None and before[0] == sequence:
        seen += before[1]
    return sequence, seen
