"""Who may ask how much: budgets of accounts, keys and connections, and the connection's cool-down.

Theory of operation. A budget is charged to an account or a key only once a signature or a token of
that key has verified, so nobody can use up the budget of an account by claiming it. What does not
verify counts against the connection it came on, and after too many the connection cools down: it is
refused before anything is verified. Nothing here ever looks at a claimed account.

Orders and cancels have budgets of their own: whoever is out of orders can still cancel. Items are
counted, not messages: a batch of 100 costs 100. A request is charged to the account and to its key
or to neither.

A key that has run dry on a connection where it has proven itself before is refused from the
unverified payload alone: on other connections that would tell strangers how busy an account is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, final

from dex.errors.v1 import errors_pb2
from dexnode.errors import error_info, refuse
from dexnode.rate_limit import NS, Bucket, BucketTable, Budget, ClockNs, Standing
from dexnode.settings import LimitSettings
from dexrpc import CallContext, Peer, RpcError

if TYPE_CHECKING:
    from dex.orders.v1 import signed_payload_pb2 as payload_pb

# The largest batch must fit a full budget.
ORDER_BURST_MIN: Final = 1_000
# Keys remembered of one connection as proven.
PROVEN_KEYS_MAX: Final = 64
_STATE: Final = "admission"
# What proves nothing. Who signs well but for a stranger's account is a stranger.
_STRIKES: Final = frozenset(
    {
        "SIGNATURE_INVALID",
        "TOKEN_INVALID",
        "TOKEN_EXPIRED",
        "UNKNOWN_KEY",
        "UNKNOWN_ACCOUNT",
        "KEY_REVOKED",
        "KEY_EXPIRED",
        "MAC_INVALID",
    }
)
# What takes risk away, and what keeps a session open, is charged apart from what adds some.
_CANCELS: Final = frozenset(
    {"cancel", "cancel_all", "dead_mans_switch", "quote_cancel", "session_countersignature"}
)
# A handshake costs the loop as much as so many orders.
SESSION_ITEMS: Final = 10
# A preview walks what an order or a swap would: up to some 31 ms of the loop.
PREVIEW_READS: Final = 20


@final
class RateLimited(RpcError):
    """RATE_LIMITED, and where the budget stands."""

    def __init__(self, budget: str, standing: Standing, wait_ns: int) -> None:
        error = refuse(
            errors_pb2.ERROR_REASON_RATE_LIMITED,
            metadata={"budget": budget},
            retry_delay_ns=wait_ns,
        )
        super().__init__(error.code, error.message, error.details, metadata_of(standing))
        self.standing = standing


class Cost(NamedTuple):
    """What a signed action is charged, in items."""

    orders: int
    cancels: int


@final
class _ConnectionState:
    """What is known of one connection; it ends with it."""

    __slots__ = ("accounts", "cool_until_ns", "is_operator", "proven", "reads", "strikes")

    def __init__(
        self, reads: Bucket | None, accounts: Bucket | None, strikes: Bucket | None
    ) -> None:
        self.reads = reads
        self.accounts = accounts
        self.strikes = strikes
        self.cool_until_ns = 0
        self.is_operator = False
        self.proven: dict[bytes, int] = {}


@final
class Admission:
    """The budgets of one node."""

    def __init__(self, settings: LimitSettings, clock_ns: ClockNs = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        seconds = settings.burst_seconds

        def table(items_per_second: int, least: int = 1) -> BucketTable:
            return BucketTable(_budget(items_per_second, seconds, least))

        self._account_orders = table(settings.account_orders_per_second, ORDER_BURST_MIN)
        self._account_cancels = table(settings.account_cancels_per_second, ORDER_BURST_MIN)
        self._account_reads = table(settings.account_reads_per_second)
        self._key_orders = table(settings.key_orders_per_second, ORDER_BURST_MIN)
        self._key_cancels = table(settings.key_cancels_per_second, ORDER_BURST_MIN)
        self._key_reads = table(settings.key_reads_per_second)
        self._connection_reads = _budget(settings.connection_reads_per_second, seconds, 1)
        self._connection_accounts = _minute(settings.connection_accounts_per_minute)
        accounts = _minute(settings.accounts_per_minute)
        self._accounts = Bucket(accounts, clock_ns()) if accounts.items else None
        self._strikes = _minute(settings.bad_signatures_per_minute)
        self._cool_down_ns = settings.cool_down_seconds * NS
        self.cooling_count = 0
        """Cool-downs begun since the start."""

    @property
    def bucket_count(self) -> int:
        """Budgets of accounts and keys that are kept at the moment."""
        return sum(
            map(
                len,
                (
                    self._account_orders,
                    self._account_cancels,
                    self._account_reads,
                    self._key_orders,
                    self._key_cancels,
                    self._key_reads,
                ),
            )
        )

    # --- the connection

    def cooling(self, peer: Peer) -> RpcError | None:
        """The refusal of a connection that cools down, with the time that is left of it; None for
        any other."""
        state = peer.state.get(_STATE)
        if state is None or not state.cool_until_ns:
            return None
        left_ns = state.cool_until_ns - self._clock_ns()
        if left_ns <= 0:
            state.cool_until_ns = 0
            return None
        return refuse(errors_pb2.ERROR_REASON_COOLING_DOWN, retry_delay_ns=left_ns)

    def is_operator(self, peer: Peer) -> bool:
        """Whether an operator has proven itself on this connection."""
        state = peer.state.get(_STATE)
        return state is not None and state.is_operator

    def note_operator(self, peer: Peer) -> None:
        """An operator has proven itself on this connection."""
        self._state(peer).is_operator = True

    def note_refusal(self, peer: Peer, error: RpcError) -> None:
        """Something on this connection was refused: a strike, if it proved nothing."""
        info = error_info(error)
        if info is not None and info.reason in _STRIKES:
            self.strike(peer)

    def strike(self, peer: Peer) -> None:
        """Something on this connection proved nothing; too many, and it cools down."""
        state = self._state(peer)
        if state.strikes is None:
            return
        now_ns = self._clock_ns()
        if state.strikes.wait_ns(1, now_ns):
            state.cool_until_ns = now_ns + self._cool_down_ns
            self.cooling_count += 1
        else:
            state.strikes.take(1)

    # --- charging

    def charge_anonymous(self, peer: Peer, reads: int = 1) -> Standing | None:
        """Charge the connection for a call that nobody signed for, as so many reads or as all
        that the budget holds.

        Raises:
            RpcError: RATE_LIMITED.
        """
        bucket = self._state(peer).reads
        return self._charge((_reads("connection_reads", bucket, reads),), self._clock_ns())

    def charge_opening(self, peer: Peer) -> Standing | None:
        """Charge the connection and the node for an account that is opened: it is kept for good,
        and who opens it may be anyone.

        Raises:
            RpcError: RATE_LIMITED; nothing was charged.
        """
        state = self._state(peer)
        charges = (
            ("connection_reads", state.reads, 1),
            ("connection_accounts", state.accounts, 1),
            ("accounts", self._accounts, 1),
        )
        return self._charge(charges, self._clock_ns())

    def charge_read(
        self, account_id: object, public_key: bytes | None, reads: int = 1
    ) -> Standing | None:
        """Charge a call to the account that asks and its key, as so many reads or as all that a
        budget holds.

        Raises:
            RpcError: RATE_LIMITED.
        """
        now_ns = self._clock_ns()
        bucket = self._account_reads.bucket(account_id, now_ns)
        charges = [_reads("account_reads", bucket, reads)]
        if public_key is not None:
            bucket = self._key_reads.bucket(public_key, now_ns)
            charges.append(_reads("key_reads", bucket, reads))
        return self._charge(charges, now_ns)

    def charge_signed(
        self, peer: Peer, account_key: int, public_key: bytes, cost: Cost
    ) -> Standing | None:
        """Charge what a verified payload asks for; the signature is the account's.

        Raises:
            RpcError: RATE_LIMITED; nothing was charged.
        """
        proven = self._state(peer).proven
        if public_key not in proven:
            if len(proven) >= PROVEN_KEYS_MAX:
                proven.clear()
            proven[public_key] = account_key
        now_ns = self._clock_ns()
        return self._charge(self._signed(account_key, public_key, cost, now_ns), now_ns)

    def is_short(self, peer: Peer, public_key: bytes) -> bool:
        """Whether a payload of this key is worth a look before its signature is: the key has
        proven itself on this connection, and has asked for more than it had."""
        state = peer.state.get(_STATE)
        account_key = None if state is None else state.proven.get(public_key)
        if account_key is None:
            return False
        return (
            self._account_orders.is_short(account_key)
            or self._key_orders.is_short(public_key)
            or self._account_cancels.is_short(account_key)
            or self._key_cancels.is_short(public_key)
        )

    def check_unverified(self, peer: Peer, public_key: bytes, cost: Cost) -> None:
        """Refuse an unverified payload that would be refused if it did verify. Charges nothing.
        Only after `is_short`.

        Raises:
            RpcError: RATE_LIMITED.
        """
        account_key = self._state(peer).proven[public_key]
        now_ns = self._clock_ns()
        _check(self._signed(account_key, public_key, cost, now_ns), now_ns)

    # --- parts

    def _state(self, peer: Peer) -> _ConnectionState:
        state: _ConnectionState | None = peer.state.get(_STATE)
        if state is None:
            now_ns = self._clock_ns()
            budgets = (self._connection_reads, self._connection_accounts, self._strikes)
            state = peer.state[_STATE] = _ConnectionState(
                *(Bucket(budget, now_ns) if budget.items else None for budget in budgets)
            )
        return state

    def _signed(
        self, account_key: int, public_key: bytes, cost: Cost, now_ns: int
    ) -> list[_Charge]:
        charges: list[_Charge] = []
        if cost.orders:
            orders = cost.orders
            bucket = self._account_orders.bucket(account_key, now_ns)
            charges.append(("account_orders", bucket, orders))
            charges.append(("key_orders", self._key_orders.bucket(public_key, now_ns), orders))
        if cost.cancels:
            cancels = cost.cancels
            bucket = self._account_cancels.bucket(account_key, now_ns)
            charges.append(("account_cancels", bucket, cancels))
            charges.append(("key_cancels", self._key_cancels.bucket(public_key, now_ns), cancels))
        return charges

    def _charge(self, charges: Sequence[_Charge], now_ns: int) -> Standing | None:
        """Charge all or none; returns the tightest standing, None where nothing is limited."""
        for _, bucket, items in charges:
            if bucket is not None and not bucket.fits(items, now_ns):
                _check(charges, now_ns)
        tightest: Bucket | None = None
        least = 0
        for _, bucket, items in charges:
            if bucket is None:
                continue
            remaining = bucket.take(items)
            if tightest is None or remaining < least:
                tightest, least = bucket, remaining
        return None if tightest is None else tightest.standing()


_Charge = tuple[str, Bucket | None, int]


def _check(charges: Sequence[_Charge], now_ns: int) -> None:
    """Raises RATE_LIMITED for the charge that has to wait longest."""
    worst_ns, worst_name, worst_bucket = 0, "", None
    for name, bucket, items in charges:
        if bucket is None:
            continue
        wait_ns = bucket.wait_ns(items, now_ns)
        if wait_ns:
            bucket.is_short = True
        if wait_ns > worst_ns:
            worst_ns, worst_name, worst_bucket = wait_ns, name, bucket
    if worst_bucket is not None:
        raise RateLimited(worst_name, worst_bucket.standing(), worst_ns)


def _budget(items_per_second: int, burst_seconds: int, least: int) -> Budget:
    return Budget(items_per_second, max(least, items_per_second * burst_seconds))


def _minute(items: int) -> Budget:
    return Budget(items, items, 60 * NS)


def cost_of(payload: payload_pb.Payload, action: str) -> Cost:
    """What a payload is charged: one an item, cancels apart."""
    if action == "batch":
        items = payload.batch.items
        # The one kind of item that takes risk away.
        cancels = [item.WhichOneof("action") for item in items].count("cancel")
        return Cost(len(items) - cancels, cancels)
    if action == "session_opening":
        return Cost(SESSION_ITEMS, 0)
    return Cost(0, 1) if action in _CANCELS else Cost(1, 0)


def metadata_of(standing: Standing) -> tuple[tuple[str, str], ...]:
    """The standing as response metadata: items, items, and seconds rounded up."""
    return (
        ("ratelimit-limit", str(standing.limit)),
        ("ratelimit-remaining", str(standing.remaining)),
        ("ratelimit-reset", str(-(-standing.reset_ns // NS))),
    )


def _reads(name: str, bucket: Bucket | None, reads: int) -> _Charge:
    # A budget smaller than a call's weight still lets one through when it is full.
    return name, bucket, reads if bucket is None else min(reads, bucket.burst_items)


def say_standing(ctx: CallContext, standing: Standing | None) -> None:
    """Put the standing into the call's trailers."""
    if standing is not None:
        ctx.set_trailing_metadata((*ctx.trailing_metadata, *metadata_of(standing)))
