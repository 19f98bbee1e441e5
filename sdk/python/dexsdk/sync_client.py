"""The blocking client: the same operations and feeds as `client.py`."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self, final

from dexsdk import (
    admin_operations,
    audit_operations,
    bulk_operations,
    feeds,
    market_operations,
    order_operations,
    pool_operations,
    quote_operations,
    swap_operations,
)
from dexsdk.channel import Channel, Tls
from dexsdk.connection import flight_target, make_session
from dexsdk.keys import Key
from dexsdk.order_window import WINDOW_DEFAULT
from dexsdk.sync_driver import SyncFace, SyncOrderStream, SyncQuoteSession, blocking, iterated


@final
class SyncAdmin(SyncFace):
    """The operator's methods."""

    create_market = blocking(admin_operations.create_market)
    create_pool = blocking(admin_operations.create_pool)
    set_market_status = blocking(admin_operations.set_market_status)
    set_fees = blocking(admin_operations.set_fees)
    set_market_limits = blocking(admin_operations.set_market_limits)
    set_self_trade_group = blocking(admin_operations.set_self_trade_group)
    cancel_orders = blocking(admin_operations.cancel_orders)
    credit_account = blocking(admin_operations.credit_account)
    debit_account = blocking(admin_operations.debit_account)
    record_trades = blocking(admin_operations.record_trades)
    take_snapshot = blocking(admin_operations.take_snapshot)
    drain = blocking(admin_operations.drain)
    get_node_status = blocking(admin_operations.get_node_status)


@final
class SyncAudit(SyncFace):
    """The audit log; what comes back was checked (dexsdk.audit)."""

    get_tree_head = blocking(audit_operations.get_tree_head)
    check_consistent = blocking(audit_operations.check_consistent)
    get_inclusion_proof = blocking(audit_operations.get_inclusion_proof)
    list_entries = blocking(audit_operations.list_entries)
    list_account_entries = blocking(audit_operations.list_account_entries)
    stream_tree_heads = iterated(audit_operations.stream_tree_heads)


@final
class SyncClient(SyncFace):
    """One connection to one node, for one account at most. Use it as `with SyncClient(...)`.

    Calls may run at the same time from many threads.
    """

    def __init__(
        self,
        address: str,
        *,
        network_id: str,
        key: Key | None = None,
        account_id: str | None = None,
        tls: Tls | None = None,
        flight_address: str | None = None,
        timeout_seconds: float = 10.0,
        reconnect_timeout_seconds: float = 60.0,
    ) -> None:
        """Prepares a client; nothing is sent before the first call.

        `address` and `flight_address` are host:port; Flight's default is the next port.
        `timeout_seconds` bounds a call with all its retries, `reconnect_timeout_seconds` how long
        a stream tries to come back.
        """
        session = make_session(
            network_id, key, account_id, timeout_seconds, reconnect_timeout_seconds
        )
        flight = flight_target(address, flight_address, tls)
        super().__init__(session, Channel(address, tls), flight)
        self.admin: Final = SyncAdmin(session, self._channel, flight)
        self.audit: Final = SyncAudit(session, self._channel, flight)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    @property
    def account_id(self) -> str:
        """The account the client acts for; empty before `register_key`."""
        return self._session.account_id

    def order_stream(
        self,
        *,
        window: int = WINDOW_DEFAULT,
        cancel_on_disconnect: bool = False,
        session: bool = False,
        node_key: bytes | None = None,
    ) -> SyncOrderStream:
        """A pipelined stream with at most `window` unanswered actions.

        With `session` they carry a MAC instead of a signature each, and the client signs for all of
        them once a second and whenever all is answered: keep some in flight, and many orders cost a
        fraction. `node_key` is the node's audit key, if nobody else may open the session.

        With `cancel_on_disconnect` the node cancels every open order of the account when the
        stream ends, however it ends: leaving the block, losing the connection, dying.
        """
        return SyncOrderStream(self, window, cancel_on_disconnect, session, node_key)

    def quote_session(
        self, *, after_sequence: int = 0, keep_quotes: bool = False
    ) -> SyncQuoteSession:
        """A maker's session; `after_sequence` resumes behind the last item that was seen."""
        return SyncQuoteSession(self, after_sequence, keep_quotes)

    register_key = blocking(order_operations.register_key)
    revoke_key = blocking(order_operations.revoke_key)
    list_keys = blocking(order_operations.list_keys)
    place_order = blocking(order_operations.place_order)
    cancel_order = blocking(order_operations.cancel_order)
    amend_order = blocking(order_operations.amend_order)
    cancel_all = blocking(order_operations.cancel_all)
    set_dead_mans_switch = blocking(order_operations.set_dead_mans_switch)
    submit_batch = blocking(order_operations.submit_batch)
    check_order = blocking(order_operations.check_order)
    transfer = blocking(order_operations.transfer)
    get_account = blocking(order_operations.get_account)
    list_open_orders = blocking(order_operations.list_open_orders)
    list_ledger_entries = blocking(order_operations.list_ledger_entries)

    request_quote = iterated(quote_operations.request_quote)
    accept_quote = blocking(quote_operations.accept_quote)
    list_quotes = blocking(quote_operations.list_quotes)

    quote_swap = blocking(swap_operations.quote_swap)
    take_swap = blocking(swap_operations.take_swap)
    swap = blocking(swap_operations.swap)

    list_pools = blocking(pool_operations.list_pools)
    get_pool = blocking(pool_operations.get_pool)
    list_positions = blocking(pool_operations.list_positions)
    add_liquidity = blocking(pool_operations.add_liquidity)
    remove_liquidity = blocking(pool_operations.remove_liquidity)
    swap_with_pool = blocking(pool_operations.swap_with_pool)
    quote_pool_swap = blocking(pool_operations.quote_pool_swap)
    stream_pool = iterated(feeds.stream_pool)

    list_markets = blocking(market_operations.list_markets)
    get_market = blocking(market_operations.get_market)
    get_book = blocking(market_operations.get_book)
    list_trades = blocking(market_operations.list_trades)
    list_klines = blocking(market_operations.list_klines)
    stream_book = iterated(feeds.stream_book)
    stream_trades = iterated(feeds.stream_trades)
    stream_klines = iterated(feeds.stream_klines)

    pull_klines = blocking(bulk_operations.pull_klines)
    pull_trades = blocking(bulk_operations.pull_trades)
