"""The client on Trio. Every method is an operation of `*_operations.py` or a feed of `feeds.py`."""

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
from dexsdk.trio_driver import TrioFace, TrioOrderStream, TrioQuoteSession, awaited, streamed


@final
class Admin(TrioFace):
    """The operator's methods."""

    create_market = awaited(admin_operations.create_market)
    create_pool = awaited(admin_operations.create_pool)
    set_market_status = awaited(admin_operations.set_market_status)
    set_fees = awaited(admin_operations.set_fees)
    set_market_limits = awaited(admin_operations.set_market_limits)
    set_self_trade_group = awaited(admin_operations.set_self_trade_group)
    cancel_orders = awaited(admin_operations.cancel_orders)
    credit_account = awaited(admin_operations.credit_account)
    debit_account = awaited(admin_operations.debit_account)
    record_trades = awaited(admin_operations.record_trades)
    take_snapshot = awaited(admin_operations.take_snapshot)
    drain = awaited(admin_operations.drain)
    get_node_status = awaited(admin_operations.get_node_status)


@final
class Audit(TrioFace):
    """The audit log; what comes back was checked (dexsdk.audit)."""

    get_tree_head = awaited(audit_operations.get_tree_head)
    check_consistent = awaited(audit_operations.check_consistent)
    get_inclusion_proof = awaited(audit_operations.get_inclusion_proof)
    list_entries = awaited(audit_operations.list_entries)
    list_account_entries = awaited(audit_operations.list_account_entries)
    stream_tree_heads = streamed(audit_operations.stream_tree_heads)


@final
class Client(TrioFace):
    """One connection to one node, for one account at most. Use it as `async with Client(...)`.

    Calls may run at the same time from many tasks.
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
        self.admin: Final = Admin(session, self._channel, flight)
        self.audit: Final = Audit(session, self._channel, flight)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
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
    ) -> TrioOrderStream:
        """A pipelined stream with at most `window` unanswered actions.

        With `session` they carry a MAC instead of a signature each, and the client signs for all of
        them once a second and whenever all is answered: keep some in flight, and many orders cost a
        fraction. `node_key` is the node's audit key, if nobody else may open the session.

        With `cancel_on_disconnect` the node cancels every open order of the account when the
        stream ends, however it ends: leaving the block, losing the connection, dying.
        """
        return TrioOrderStream(self, window, cancel_on_disconnect, session, node_key)

    def quote_session(
        self, *, after_sequence: int = 0, keep_quotes: bool = False
    ) -> TrioQuoteSession:
        """A maker's session; `after_sequence` resumes behind the last item that was seen."""
        return TrioQuoteSession(self, after_sequence, keep_quotes)

    register_key = awaited(order_operations.register_key)
    revoke_key = awaited(order_operations.revoke_key)
    list_keys = awaited(order_operations.list_keys)
    place_order = awaited(order_operations.place_order)
    cancel_order = awaited(order_operations.cancel_order)
    amend_order = awaited(order_operations.amend_order)
    cancel_all = awaited(order_operations.cancel_all)
    set_dead_mans_switch = awaited(order_operations.set_dead_mans_switch)
    submit_batch = awaited(order_operations.submit_batch)
    check_order = awaited(order_operations.check_order)
    transfer = awaited(order_operations.transfer)
    get_account = awaited(order_operations.get_account)
    list_open_orders = awaited(order_operations.list_open_orders)
    list_ledger_entries = awaited(order_operations.list_ledger_entries)

    request_quote = streamed(quote_operations.request_quote)
    accept_quote = awaited(quote_operations.accept_quote)
    list_quotes = awaited(quote_operations.list_quotes)

    quote_swap = awaited(swap_operations.quote_swap)
    take_swap = awaited(swap_operations.take_swap)
    swap = awaited(swap_operations.swap)

    list_pools = awaited(pool_operations.list_pools)
    get_pool = awaited(pool_operations.get_pool)
    list_positions = awaited(pool_operations.list_positions)
    add_liquidity = awaited(pool_operations.add_liquidity)
    remove_liquidity = awaited(pool_operations.remove_liquidity)
    swap_with_pool = awaited(pool_operations.swap_with_pool)
    quote_pool_swap = awaited(pool_operations.quote_pool_swap)
    stream_pool = streamed(feeds.stream_pool)

    list_markets = awaited(market_operations.list_markets)
    get_market = awaited(market_operations.get_market)
    get_book = awaited(market_operations.get_book)
    list_trades = awaited(market_operations.list_trades)
    list_klines = awaited(market_operations.list_klines)
    stream_book = streamed(feeds.stream_book)
    stream_trades = streamed(feeds.stream_trades)
    stream_klines = streamed(feeds.stream_klines)

    pull_klines = awaited(bulk_operations.pull_klines)
    pull_trades = awaited(bulk_operations.pull_trades)
