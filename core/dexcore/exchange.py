"""The exchange of one shard: apply a command, get its outcome.

Theory of operation: ``apply`` is the only way to change the state. It is given
the command's journal position and time, dispatches on the command's type, and
returns an :class:`~dexcore.results.Outcome` with events and answers. A refusal
is an outcome, never an exception; an exception from ``apply`` means that the
books contradict themselves, and the shard must stop. After every command money
is conserved, no book is crossed, and the running hash has taken in the events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

from dexcore.accounts import (
    ALL_SCOPES,
    MANAGE_KEYS,
    TRADE,
    TRANSFER,
    Account,
    Accounts,
    Key,
)
from dexcore.admin import Epochs, OperatorDesk
from dexcore.amending import cancel_all
from dexcore.auction import Uncross
from dexcore.book import Order
from dexcore.commands import (
    BeginEpoch,
    ClockTick,
    Command,
    CreateMarket,
    Deposit,
    MassCancel,
    OrderCommand,
    RecordOperation,
    RecordTrades,
    RegisterKey,
    RevokeKey,
    SetDeadMansSwitch,
    SetFees,
    SetMarketLimits,
    SetMarketStatus,
    SetStpGroup,
    Transfer,
    Withdraw,
)
from dexcore.events import (
    HASH_BYTES,
    AccountOpened,
    CommandRefused,
    KeyLimited,
    KeyRegistered,
    KeyRevoked,
    Ticked,
    Transferred,
    chain_hash,
)
from dexcore.expiry import Timekeeper
from dexcore.funds import LedgerFunds
from dexcore.invariant import InvariantError
from dexcore.items import NO_MARKET, NO_TERMS, Item, Terms
from dexcore.ledger import Ledger
from dexcore.limits import (
    BOUNDS,
    ITEM_INDEX_LIMIT,
    KEY_LABEL_CHARACTERS_MAX,
    Bounds,
    is_control,
)
from dexcore.market import Market
from dexcore.matching import Matcher
from dexcore.nonces import NonceTable, row_of
from dexcore.orders import OrderDesk
from dexcore.phases import indicative
from dexcore.pool_commands import AddLiquidity, CreatePool, PoolSwap, RemoveLiquidity
from dexcore.pool_desk import PoolCommand, PoolDesk
from dexcore.quote_commands import (
    AcceptQuote,
    EndQuoteSession,
    GiveQuote,
    RequestQuote,
    WithdrawQuotes,
    WithdrawRequest,
)
from dexcore.quotes import QuoteBook
from dexcore.reasons import Reason, Refused
from dexcore.results import OrderStatus, Outcome
from dexcore.rfq import QuoteDesk, SignedQuoteCommand
from dexcore.session_commands import CountersignSession, EndSession, OpenSession, SessionOrders
from dexcore.sessions import SessionDesk
from dexcore.steps import begin_command, end_command, end_step
from dexcore.supervision import Supervision

SignedCommand = (
    OrderCommand
    | RegisterKey
    | RevokeKey
    | SetDeadMansSwitch
    | Transfer
    | PoolCommand
    | SignedQuoteCommand
    | OpenSession
    | CountersignSession
)
_ACCEPTED: Final = Reason.NONE


@final
class Exchange:
    """State machine of one shard."""

    __slots__ = (
        "_desk",
        "_handlers",
        "_matcher",
        "_orders_desk",
        "_pools",
        "_quote_desk",
        "accounts",
        "epochs",
        "event_hash",
        "ledger",
        "markets",
        "markets_by_id",
        "nonces",
        "quotes",
        "references",
        "sequence",
        "sessions",
        "time_ns",
        "timekeeper",
    )

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self.ledger = Ledger()
        self.accounts = Accounts()
        self.nonces = NonceTable()
        self.markets: list[Market] = []
        self.markets_by_id: dict[str, Market] = {}
        # External references of deposits and withdrawals, for good:
        # (kind, reference) -> account key, asset index, atoms, sequence, time_ns.
        self.references: dict[tuple[str, str], tuple[int, int, int, int, int]] = {}
        self.epochs: Epochs = []
        self.sequence = 0
        self.time_ns = 0
        self.event_hash = bytes(HASH_BYTES)
        self._matcher = Matcher(self.markets, LedgerFunds(self.ledger), bounds)
        self._orders_desk = OrderDesk(self._matcher)
        self.timekeeper = Timekeeper(self._matcher)
        supervision = Supervision(self.accounts, self._matcher)
        self.quotes = QuoteBook()
        self._quote_desk = QuoteDesk(self.quotes, self.accounts, self.ledger, self.markets)
        self._desk = OperatorDesk(
            self.accounts,
            self.ledger,
            self.markets,
            self.markets_by_id,
            self.references,
            self.epochs,
        )
        self._pools = PoolDesk(self.ledger, self.markets)
        self.sessions = SessionDesk(self.accounts)
        self._handlers: dict[type, Callable[[Any, Outcome], None]] = {
            OrderCommand: self._orders,
            RegisterKey: self._register_key,
            RevokeKey: self._revoke_key,
            Transfer: self._transfer,
            CreateMarket: self._desk.create_market,
            SetMarketStatus: supervision.set_market_status,
            SetFees: self._desk.set_fees,
            SetMarketLimits: supervision.set_market_limits,
            SetStpGroup: supervision.set_stp_group,
            MassCancel: supervision.mass_cancel,
            Deposit: self._desk.deposit,
            Withdraw: self._desk.withdraw,
            RecordTrades: self._desk.record_trades,
            RecordOperation: self._desk.record_operation,
            BeginEpoch: self._desk.begin_epoch,
            SetDeadMansSwitch: self._set_switch,
            ClockTick: self._tick,
            CreatePool: self._pools.create_pool,
            AddLiquidity: self._pool,
            RemoveLiquidity: self._pool,
            PoolSwap: self._pool,
            RequestQuote: self._quotes,
            GiveQuote: self._quotes,
            WithdrawQuotes: self._quotes,
            AcceptQuote: self._quotes,
            EndQuoteSession: self._quote_desk.end_session,
            WithdrawRequest: self._quote_desk.withdraw_request,
        }
        self._handlers |= self._of_sessions()

    def apply(self, sequence: int, time_ns: int, command: Command) -> Outcome:
        """Apply one command.

        Args:
            sequence: journal position, one more than the last.
            time_ns: the exchange's time, UTC nanoseconds since the epoch; never
                less than the last.
            command: what to do.

        Raises:
            InvariantError: the books contradict themselves; stop the shard.
        """
        if sequence != self.sequence + 1:
            raise InvariantError("commands are not applied in order")
        if time_ns != self.time_ns:
            if time_ns < self.time_ns:
                raise InvariantError("time went backwards")
            self.nonces.forget_expired(time_ns)
            self.time_ns = self._matcher.time_ns = time_ns
        self.sequence = sequence
        outcome = Outcome(sequence, time_ns)
        matcher = self._matcher
        begin_command(matcher, outcome.logged)
        try:
            self._handlers[type(command)](command, outcome)
        except Refused as refused:
            outcome.reason = refused.reason
            outcome.field = refused.field
            account_key: int = getattr(command, "account_key", 0)
            outcome.logged.append(CommandRefused(account_key, refused.reason))
        if matcher.touched is not None or matcher.moved:
            end_command(matcher)
        self.ledger.check_conserved()
        # The answer may be an earlier command's; the hash is always this one's.
        self.event_hash = chain_hash(self.event_hash, sequence, time_ns, outcome.logged)
        return outcome

    def resume(self, sequence: int, time_ns: int, event_hash: bytes) -> None:
        """Go on behind the command at ``sequence``, whose state is here."""
        self.sequence = sequence
        self.time_ns = self._matcher.time_ns = time_ns
        self.event_hash = event_hash

    def leave_overdue(self, market: Market) -> None:
        """Know a market of a restored state where triggered stops wait for the next command."""
        self._matcher.overdue[market.index] = market

    def reopen(self, order: Order) -> None:
        """Know an order of a restored state that is open."""
        self._matcher.keep_open(order, (), int(OrderStatus.OPEN))

    def preview(
        self, account_key: int, item: Item, said: Terms = NO_TERMS
    ) -> tuple[int, int, int, int]:
        """What placing an order would do now; see :meth:`Matcher.preview`.

        Raises:
            Refused: as placing it now would.
        """
        return self._matcher.preview(self._account(account_key), item, said)

    def indicative(self, market_index: int) -> Uncross | None:
        """What a call auction of the market would give now; None when its book is not crossed."""
        return indicative(self.markets[market_index])

    def _account(self, account_key: int) -> Account:
        account = self.accounts.by_key.get(account_key)
        if account is None:
            raise Refused(Reason.UNKNOWN_ACCOUNT, "account_id")
        return account

    # --- signed commands

    def _once(self, command: SignedCommand, nonce_space: int, outcome: Outcome) -> bool:
        """Fill in the first answer if the payload was seen before."""
        known = self.nonces.first_answer(
            nonce_space, command.nonce, command.digest, command.expire_time_ns, self.time_ns
        )
        if known is None:
            return False
        outcome.repeated = True
        outcome.sequence = known.sequence
        outcome.time_ns = known.time_ns
        outcome.reason = Reason(known.reason)
        outcome.field = known.field
        outcome.key = known.key
        outcome.results = known.items
        outcome.amounts = known.amounts
        return True

    def _remember(self, command: SignedCommand, nonce_space: int, outcome: Outcome) -> None:
        reason = outcome.reason
        row = row_of(
            command.digest,
            command.expire_time_ns,
            outcome.sequence,
            outcome.time_ns,
            0 if reason is _ACCEPTED else reason.value,
            outcome.field,
            outcome.key,
            outcome.results,
            outcome.amounts,
        )
        self.nonces.remember(nonce_space, command.nonce, row)

    def _signer(self, command: SignedCommand, scope: int, outcome: Outcome) -> Key | None:
        """The key that signed, if it may do this now; None when the payload was answered before.

        The first answer comes before the key's state: who asks again because an answer was lost
        would take KEY_REVOKED for "not applied".
        """
        key = self.accounts.key_of(command.account_key, command.public_key)
        if self._once(command, key.account.key, outcome):
            return None
        key.check_may(scope, self.time_ns)
        return key

    def _orders(self, command: OrderCommand, outcome: Outcome) -> None:
        signer = self._signer(command, TRADE, outcome)
        if signer is None:
            return
        self._orders_desk.apply(signer.account, command, outcome)
        self._remember(command, signer.account.key, outcome)

    def _of_sessions(self) -> dict[type, Callable[[Any, Outcome], None]]:
        return {
            OpenSession: self._open_session,
            SessionOrders: self._session_orders,
            CountersignSession: self._countersign,
            EndSession: self.sessions.end,
        }

    def _open_session(self, command: OpenSession, outcome: Outcome) -> None:
        self._judge_once(command, TRADE, self.sessions.open, outcome)

    def _session_orders(self, command: SessionOrders, outcome: Outcome) -> None:
        orders = command.orders
        try:
            self.sessions.take(command, outcome)
            self._orders(orders, outcome)
        except Refused as refused:
            outcome.reason = refused.reason
            outcome.field = refused.field
            outcome.logged.append(CommandRefused(orders.account_key, refused.reason))

    def _countersign(self, command: CountersignSession, outcome: Outcome) -> None:
        # Said by the node, whatever becomes of the client's signature beside it.
        self.sessions.skip(command, outcome.time_ns)
        self._judge_once(command, TRADE, self.sessions.countersign, outcome)

    def _register_key(self, command: RegisterKey, outcome: Outcome) -> None:
        signer: Key | None = None
        space = command.account_key
        if space:
            signer = self._signer(command, MANAGE_KEYS, outcome)
        else:
            # A stranger has no account to number nonces in; its key is the space.
            space = -1 - int.from_bytes(command.public_key[:8], "big")
            self._once(command, space, outcome)
        if outcome.repeated:
            return
        self._check_limits(command)
        if signer is None:
            key = Key(self._open_account(command, outcome), command.public_key, label=command.label)
        else:
            scopes = command.scopes or signer.scopes
            expire_time_ns = command.key_expire_time_ns or signer.expire_time_ns
            signer.check_covers(scopes, expire_time_ns, "register_key")
            key = Key(signer.account, command.new_public_key, scopes, expire_time_ns, command.label)
        self.accounts.register(key)
        account_key = key.account.key
        outcome.logged.append(KeyRegistered(account_key, key.public_key))
        if not key.is_full or key.label:
            outcome.logged.append(
                KeyLimited(account_key, key.public_key, key.scopes, key.expire_time_ns, key.label)
            )
        outcome.key = account_key
        self._remember(command, space, outcome)

    def _check_limits(self, command: RegisterKey) -> None:
        if command.scopes & ~ALL_SCOPES:
            raise Refused(Reason.FIELD_INVALID, "register_key.scopes")
        if command.key_expire_time_ns and command.key_expire_time_ns <= self.time_ns:
            raise Refused(Reason.FIELD_INVALID, "register_key.expire_time")
        label = command.label
        if len(label) > KEY_LABEL_CHARACTERS_MAX or any(map(is_control, label)):
            raise Refused(Reason.FIELD_INVALID, "register_key.label")

    def _open_account(self, command: RegisterKey, outcome: Outcome) -> Account:
        """A new account for its first key, which has every scope and never expires."""
        if command.new_public_key != command.public_key:
            raise Refused(Reason.UNKNOWN_KEY, "public_key")
        if command.scopes not in (0, ALL_SCOPES):
            raise Refused(Reason.FIELD_INVALID, "register_key.scopes")
        if command.key_expire_time_ns:
            raise Refused(Reason.FIELD_INVALID, "register_key.expire_time")
        if command.public_key in self.accounts.by_public_key:
            raise Refused(Reason.KEY_ALREADY_REGISTERED, "public_key")
        account_key = outcome.sequence * ITEM_INDEX_LIMIT
        account = self.accounts.open(account_key)
        self.ledger.open_account(account_key)
        outcome.logged.append(AccountOpened(account_key))
        return account

    def _revoke_key(self, command: RevokeKey, outcome: Outcome) -> None:
        signer = self._signer(command, MANAGE_KEYS, outcome)
        if signer is None:
            return
        account = signer.account
        key = account.keys.get(command.revoked_public_key)
        if key is None:
            raise Refused(Reason.UNKNOWN_KEY, "revoke_key.public_key")
        if not key.revoke_sequence:
            signer.check_covers(key.scopes, key.expire_time_ns, "revoke_key.public_key")
            self.accounts.revoke(key, outcome.sequence, outcome.time_ns)
            outcome.logged.append(KeyRevoked(account.key, key.public_key))
            self.sessions.end_of_key(key, outcome)
        if command.cancel_all:
            outcome.results = tuple(cancel_all(self._matcher, account, NO_MARKET))
            end_step(self._matcher)
        outcome.key = account.key
        self._remember(command, account.key, outcome)

    def _transfer(self, command: Transfer, outcome: Outcome) -> None:
        self._judge_once(command, TRANSFER, self._move, outcome)

    def _quotes(self, command: SignedQuoteCommand, outcome: Outcome) -> None:
        self._judge_once(command, TRADE, self._quote_desk.apply, outcome)

    def _judge_once(
        self,
        command: SignedCommand,
        scope: int,
        act: Callable[[Account, Any, Outcome], None],
        outcome: Outcome,
    ) -> None:
        """Act for the account once; a refusal is remembered as an answer like any other."""
        signer = self._signer(command, scope, outcome)
        if signer is None:
            return
        account = signer.account
        try:
            act(account, command, outcome)
        except Refused as refused:
            _refuse(account, refused, outcome)
        self._remember(command, account.key, outcome)

    def _pool(self, command: PoolCommand, outcome: Outcome) -> None:
        self._judge_once(command, TRADE, self._pools.apply, outcome)

    def _move(self, account: Account, command: Transfer, outcome: Outcome) -> None:
        asset = self.ledger.assets_by_id.get(command.asset_id)
        if asset is None:
            raise Refused(Reason.UNKNOWN_ASSET, "asset_id")
        if command.to_account_key not in self.accounts.by_key:
            raise Refused(Reason.UNKNOWN_ACCOUNT, "to_account_id")
        if command.amount_atoms <= 0:
            raise Refused(Reason.FIELD_INVALID, "amount_atoms")
        if command.amount_atoms > self.ledger.cell(account.key, asset).available:
            raise Refused(Reason.INSUFFICIENT_FUNDS, "amount_atoms")
        self.ledger.transfer(account.key, command.to_account_key, asset, command.amount_atoms)
        outcome.logged.append(
            Transferred(account.key, command.to_account_key, asset.index, command.amount_atoms)
        )

    # --- time

    @property
    def next_due_ns(self) -> int | None:
        """When a ClockTick has something to do next; None when nothing waits for one.

        At once while triggered stops wait for a command.
        """
        if self._matcher.overdue:
            return self.time_ns
        orders_ns, quotes_ns = self.timekeeper.next_ns(), self.quotes.next_due_ns
        if orders_ns is None or quotes_ns is None:
            return orders_ns or quotes_ns
        return min(orders_ns, quotes_ns)

    def _set_switch(self, command: SetDeadMansSwitch, outcome: Outcome) -> None:
        signer = self._signer(command, TRADE, outcome)
        if signer is None:
            return
        account = signer.account
        self.timekeeper.set_switch(account, command.timeout_ns)
        outcome.key = account.key
        self._remember(command, account.key, outcome)

    def _tick(self, _command: ClockTick, outcome: Outcome) -> None:
        self.timekeeper.tick(self.time_ns)
        # Pegs and levels before what quotes do: the hash is over the events in their order.
        end_command(self._matcher)
        self._quote_desk.expire(outcome)
        outcome.logged.append(Ticked(self.time_ns))


def _refuse(account: Account, refused: Refused, outcome: Outcome) -> None:
    """A refusal that a retry of the same payload is answered with, too."""
    outcome.reason = refused.reason
    outcome.field = refused.field
    outcome.logged.append(CommandRefused(account.key, refused.reason))
