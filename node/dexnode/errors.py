"""How the exchange refuses: one table from reason to status, and the two shapes of a refusal.

A refused call ends with google.rpc.Status (AIP-193) that holds exactly one ErrorInfo; a refused
item of a batch carries a dex.errors.v1.Rejection. Both name the same reason, and programs read
nothing else. The statuses follow google.rpc.Code: INVALID_ARGUMENT when the request is wrong
whatever the state, FAILED_PRECONDITION when the state forbids it, UNAVAILABLE and
RESOURCE_EXHAUSTED when it may be sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

from dex.errors.v1 import errors_pb2 as pb
from dexrpc import CallContext, RpcError, SendStalled, StatusCode

logger = logging.getLogger(__name__)

DOMAIN: Final = "triodex"
REASON_PREFIX: Final = "ERROR_REASON_"
# A status travels in HTTP/2 trailers, which clients bound at 8 KiB, and holds the text twice.
MESSAGE_CHARACTERS_MAX: Final = 512


class ErrorRule(NamedTuple):
    """What a reason means to a caller."""

    code: StatusCode
    sentence: str
    """The message when the place that refuses has nothing more exact to say."""

    retry_delay_ms: int = 0
    """Wait before the same request may be sent again, where the place that refuses knows no better;
    zero: sending it again is refused again."""

    @property
    def retryable(self) -> bool:
        """Whether the unchanged request can succeed later (a subscriber resumes where it was)."""
        return self.retry_delay_ms > 0


_BAD: Final = StatusCode.INVALID_ARGUMENT
_STATE: Final = StatusCode.FAILED_PRECONDITION
_EXISTS: Final = StatusCode.ALREADY_EXISTS
_MISSING: Final = StatusCode.NOT_FOUND
_WHO: Final = StatusCode.UNAUTHENTICATED
_DENIED: Final = StatusCode.PERMISSION_DENIED
_FULL: Final = StatusCode.RESOURCE_EXHAUSTED

RULES: Final[Mapping[int, ErrorRule]] = {
    pb.ERROR_REASON_MALFORMED_MESSAGE: ErrorRule(
        _BAD, "The bytes are not a message of the expected type."
    ),
    pb.ERROR_REASON_MESSAGE_TOO_LARGE: ErrorRule(_FULL, "The message is too large."),
    pb.ERROR_REASON_FIELD_INVALID: ErrorRule(_BAD, "A field breaks its validation rule."),
    pb.ERROR_REASON_PAGE_TOKEN_INVALID: ErrorRule(
        _BAD, "The page token is not one of this query's."
    ),
    pb.ERROR_REASON_NOT_SERVED: ErrorRule(
        StatusCode.UNIMPLEMENTED, "This node does not serve the method yet."
    ),
    pb.ERROR_REASON_SIGNATURE_INVALID: ErrorRule(_WHO, "The signature does not verify."),
    pb.ERROR_REASON_NETWORK_MISMATCH: ErrorRule(_BAD, "The payload is for another network."),
    pb.ERROR_REASON_PAYLOAD_EXPIRED: ErrorRule(_STATE, "The payload has expired."),
    pb.ERROR_REASON_EXPIRY_TOO_FAR: ErrorRule(
        _BAD, "The payload expires more than five minutes ahead."
    ),
    pb.ERROR_REASON_NONCE_REUSED: ErrorRule(
        _EXISTS, "The nonce was used with a different payload."
    ),
    pb.ERROR_REASON_ACTION_MISMATCH: ErrorRule(
        _BAD, "The signed action is not the one this method performs."
    ),
    pb.ERROR_REASON_UNAUTHENTICATED: ErrorRule(_WHO, "The method asks for an identity."),
    pb.ERROR_REASON_PERMISSION_DENIED: ErrorRule(_DENIED, "The caller lacks the permission."),
    pb.ERROR_REASON_TOKEN_INVALID: ErrorRule(_WHO, "The access token does not verify."),
    pb.ERROR_REASON_TOKEN_EXPIRED: ErrorRule(_WHO, "The token has expired."),
    pb.ERROR_REASON_UNKNOWN_SESSION: ErrorRule(
        _STATE, "No such session is open on this stream: it may have ended."
    ),
    pb.ERROR_REASON_MAC_INVALID: ErrorRule(
        _WHO, "The MAC is not the session's over this order; the session has ended."
    ),
    pb.ERROR_REASON_SESSION_OUT_OF_ORDER: ErrorRule(
        _STATE, "The order does not follow the one before it; the session has ended."
    ),
    pb.ERROR_REASON_SESSION_UNSIGNED: ErrorRule(
        _STATE,
        "Too much of the session has no countersignature, or some for too long; it has ended.",
    ),
    pb.ERROR_REASON_SESSION_HASH_MISMATCH: ErrorRule(
        _STATE, "The countersignature is not over what was sent; the session has ended."
    ),
    pb.ERROR_REASON_TOO_MANY_SESSIONS: ErrorRule(_STATE, "The account may have no more sessions."),
    pb.ERROR_REASON_UNKNOWN_ACCOUNT: ErrorRule(_MISSING, "No such account."),
    pb.ERROR_REASON_UNKNOWN_KEY: ErrorRule(
        _DENIED, "The public key is not registered for the account."
    ),
    pb.ERROR_REASON_KEY_ALREADY_REGISTERED: ErrorRule(
        _EXISTS, "The public key is already registered."
    ),
    pb.ERROR_REASON_TOO_MANY_KEYS: ErrorRule(_STATE, "The account may have no more keys."),
    pb.ERROR_REASON_INSUFFICIENT_FUNDS: ErrorRule(
        _STATE, "The available balance does not cover the worst case."
    ),
    pb.ERROR_REASON_REFERENCE_REUSED: ErrorRule(
        _EXISTS, "The external reference was used with other content."
    ),
    pb.ERROR_REASON_UNKNOWN_ASSET: ErrorRule(_MISSING, "No such asset."),
    pb.ERROR_REASON_AMOUNT_OUT_OF_RANGE: ErrorRule(
        _STATE, "The balance would leave the ledger's range."
    ),
    pb.ERROR_REASON_KEY_REVOKED: ErrorRule(_WHO, "The public key was revoked."),
    pb.ERROR_REASON_KEY_EXPIRED: ErrorRule(_WHO, "The public key has expired."),
    pb.ERROR_REASON_KEY_LACKS_SCOPE: ErrorRule(_DENIED, "The public key lacks the scope for this."),
    pb.ERROR_REASON_LAST_FULL_KEY: ErrorRule(
        _STATE, "It is the account's last key that has every scope and never expires."
    ),
    pb.ERROR_REASON_UNKNOWN_MARKET: ErrorRule(_MISSING, "No such market."),
    pb.ERROR_REASON_MARKET_EXISTS: ErrorRule(_EXISTS, "The market exists with other parameters."),
    pb.ERROR_REASON_SCALE_INEXACT: ErrorRule(
        _BAD, "A tick times a lot, or a lot, is not a whole number of atoms."
    ),
    pb.ERROR_REASON_ASSET_MISMATCH: ErrorRule(_STATE, "The asset exists with another scale."),
    pb.ERROR_REASON_MARKET_NOT_OPEN: ErrorRule(_STATE, "The market's status does not allow it."),
    pb.ERROR_REASON_MARKET_IS_EXTERNAL: ErrorRule(
        _STATE, "The market records external trades and takes no orders."
    ),
    pb.ERROR_REASON_TRADE_OUT_OF_ORDER: ErrorRule(
        _STATE, "The trade does not continue the market's record."
    ),
    pb.ERROR_REASON_NO_REFERENCE_PRICE: ErrorRule(_STATE, "The market has no price to start from."),
    pb.ERROR_REASON_PROTECTION_REQUIRED: ErrorRule(
        _STATE, "The market has no protection band, so it takes no stops without a limit."
    ),
    pb.ERROR_REASON_PRICE_OFF_TICK: ErrorRule(
        _BAD, "The price is not a multiple of the price increment."
    ),
    pb.ERROR_REASON_PRICE_OUT_OF_RANGE: ErrorRule(_BAD, "The price is outside the market's range."),
    pb.ERROR_REASON_QUANTITY_OUT_OF_RANGE: ErrorRule(
        _BAD, "The quantity is outside the market's range."
    ),
    pb.ERROR_REASON_QUANTITY_OFF_LOT: ErrorRule(
        _BAD, "The quantity is not a multiple of the quantity increment."
    ),
    pb.ERROR_REASON_TIME_IN_FORCE_INVALID: ErrorRule(
        _BAD, "Order type and time in force do not go together."
    ),
    pb.ERROR_REASON_POST_ONLY_WOULD_TAKE: ErrorRule(
        _STATE, "The post-only order would have taken liquidity."
    ),
    pb.ERROR_REASON_FILL_OR_KILL_UNFILLABLE: ErrorRule(
        _STATE, "The order could not be filled in full."
    ),
    pb.ERROR_REASON_NO_LIQUIDITY: ErrorRule(
        _STATE, "The other side of the book is empty, or the pool has too little for this."
    ),
    pb.ERROR_REASON_UNKNOWN_ORDER: ErrorRule(_MISSING, "The account has no open order of that id."),
    pb.ERROR_REASON_CLIENT_ORDER_ID_IN_USE: ErrorRule(
        _EXISTS, "An open order of the account has that client order id."
    ),
    pb.ERROR_REASON_AMEND_BELOW_FILLED: ErrorRule(
        _STATE, "The new quantity is not above what is filled."
    ),
    pb.ERROR_REASON_TOO_MANY_OPEN_ORDERS: ErrorRule(
        _STATE, "The account may have no more open orders."
    ),
    pb.ERROR_REASON_BATCH_SIZE: ErrorRule(_BAD, "The batch is empty or too large."),
    pb.ERROR_REASON_NOTIONAL_OUT_OF_RANGE: ErrorRule(
        _BAD, "Price times quantity is outside the market's range."
    ),
    pb.ERROR_REASON_PRICE_OUT_OF_BAND: ErrorRule(
        _STATE, "The price is too far from the last price."
    ),
    pb.ERROR_REASON_MIN_QUANTITY_UNFILLABLE: ErrorRule(
        _STATE, "The minimum quantity could not be filled at once."
    ),
    pb.ERROR_REASON_STOP_WOULD_TRIGGER: ErrorRule(
        _STATE, "The last price, or one for which stops still run, already reaches the trigger."
    ),
    pb.ERROR_REASON_TOO_MANY_PARKED: ErrorRule(
        _STATE, "The market takes no more orders of this kind, or no more from this account."
    ),
    pb.ERROR_REASON_OCO_BROKEN: ErrorRule(_STATE, "The pair of orders is not to be had."),
    pb.ERROR_REASON_NO_POOL: ErrorRule(_STATE, "The market has no pool."),
    pb.ERROR_REASON_POOL_EXISTS: ErrorRule(
        StatusCode.ALREADY_EXISTS, "The market has a pool with other parameters."
    ),
    pb.ERROR_REASON_SLIPPAGE: ErrorRule(_STATE, "The amount is worse than the request allows."),
    pb.ERROR_REASON_UNKNOWN_POSITION: ErrorRule(
        StatusCode.NOT_FOUND, "The account has no such position in the pool."
    ),
    pb.ERROR_REASON_LIQUIDITY_OUT_OF_RANGE: ErrorRule(
        _STATE, "The amounts are too little or too much liquidity for the pool or the position."
    ),
    pb.ERROR_REASON_TOO_MANY_POSITIONS: ErrorRule(
        _STATE, "The pool or the account may have no more positions."
    ),
    pb.ERROR_REASON_UNKNOWN_QUOTE_REQUEST: ErrorRule(
        _MISSING, "The account sees no open request of that id."
    ),
    pb.ERROR_REASON_UNKNOWN_QUOTE: ErrorRule(
        _MISSING, "There is no open quote of that id: it may have been filled or have expired."
    ),
    pb.ERROR_REASON_QUOTE_MISMATCH: ErrorRule(
        _STATE, "The quote has another price, or none on that side."
    ),
    pb.ERROR_REASON_QUOTE_PRICES_INVALID: ErrorRule(
        _BAD, "A quote has a bid below its ask, or one of the two, on the side that was asked for."
    ),
    pb.ERROR_REASON_CLIENT_QUOTE_ID_IN_USE: ErrorRule(
        _EXISTS, "An open quote of the account has that client quote id."
    ),
    pb.ERROR_REASON_TOO_MANY_QUOTE_REQUESTS: ErrorRule(
        _STATE, "The account may have no more open requests for quotes."
    ),
    pb.ERROR_REASON_TOO_MANY_QUOTES: ErrorRule(
        _STATE, "The account, or the request, may have no more quotes."
    ),
    pb.ERROR_REASON_SELF_TRADE: ErrorRule(_STATE, "An owner does not trade with itself."),
    pb.ERROR_REASON_TOO_MANY_MEETINGS: ErrorRule(
        _STATE, "The items before it used up what one command may take and count."
    ),
    pb.ERROR_REASON_NODE_DRAINING: ErrorRule(
        StatusCode.UNAVAILABLE, "The node is stopping.", retry_delay_ms=1000
    ),
    pb.ERROR_REASON_OVERLOADED: ErrorRule(_FULL, "A queue is full.", retry_delay_ms=100),
    pb.ERROR_REASON_SLOW_CONSUMER: ErrorRule(
        _FULL, "The subscriber read too slowly.", retry_delay_ms=100
    ),
    pb.ERROR_REASON_SEQUENCE_GONE: ErrorRule(
        StatusCode.OUT_OF_RANGE, "The feed no longer holds the sequence."
    ),
    pb.ERROR_REASON_NOT_IN_AUDIT_LOG: ErrorRule(
        _MISSING, "The audit log has no such record or head."
    ),
    pb.ERROR_REASON_INTERNAL: ErrorRule(
        StatusCode.INTERNAL, "A fault of the node; its log has the details."
    ),
    pb.ERROR_REASON_RATE_LIMITED: ErrorRule(
        _FULL, "The budget is used up for now.", retry_delay_ms=1000
    ),
    pb.ERROR_REASON_COOLING_DOWN: ErrorRule(
        _FULL, "Too much on this connection did not verify.", retry_delay_ms=1000
    ),
}

# dexrpc refuses on its own account too: what its bare statuses mean in the contract's terms.
_REASON_OF_BARE_STATUS: Final[Mapping[StatusCode, int]] = {
    StatusCode.INVALID_ARGUMENT: pb.ERROR_REASON_MALFORMED_MESSAGE,
    StatusCode.RESOURCE_EXHAUSTED: pb.ERROR_REASON_MESSAGE_TOO_LARGE,
    StatusCode.UNIMPLEMENTED: pb.ERROR_REASON_NOT_SERVED,
    StatusCode.UNAVAILABLE: pb.ERROR_REASON_NODE_DRAINING,
    StatusCode.INTERNAL: pb.ERROR_REASON_INTERNAL,
}


def reason_name(reason: int) -> str:
    """`PRICE_OFF_TICK` for 80. Raises ValueError for a number the contract does not have."""
    return pb.ErrorReason.Name(cast("pb.ErrorReason.ValueType", reason)).removeprefix(REASON_PREFIX)


# What the core refuses with FIELD_INVALID or TIME_IN_FORCE_INVALID, by the field it names: words
# that follow the name. docs/reference/order-semantics.md has the rules.
FIELD_RULES: Final[Mapping[str, str]] = {
    "type": "must be an order type the exchange takes",
    "time_in_force": "must go with the order's type and the market's phase",
    "price_ticks": "must be the limit price, zero for a market order, a stop and a trailing stop",
    "post_only": "is for limit orders with GTC, DAY or GTD, outside an auction",
    "slide": "is for post-only orders",
    "display_lots": "is for limit orders that may rest: 1 to quantity_lots, on the lot increment",
    "min_lots": "must be at most quantity_lots, and goes with neither FOK nor post-only",
    "trigger_price_ticks": "is for stops and stop limits, which need it: a price of the market",
    "trail_ticks": "is for trailing stops, which need it: a multiple of the price increment",
    "peg": "is for pegged orders, which need it",
    "peg_offset_ticks": "is for pegged orders: not above 0 to buy, not below 0 to sell, a "
    "multiple of the price increment",
    "expire_time": "is for GTD, which needs it: a time that is ahead",
    "self_trade_prevention": "must be a mode of the contract",
    "oco": "is for a limit order that rests and a stop, next to each other in a batch, of one "
    "market, side and quantity",
    "timeout": "must be zero, or 1 second to 24 hours",
    "notional_max_atoms": "must be zero, or at least notional_min_atoms",
}


def refuse(
    reason: int,
    message: str = "",
    *,
    field: str | None = None,
    metadata: Mapping[str, str] | None = None,
    retry_delay_ns: int = 0,
) -> RpcError:
    """The error that ends a call for `reason`: `raise refuse(...)`.

    `message` is one sentence for a person, by default the reason's own. `field` is the path of the
    offending field. `metadata` goes into ErrorInfo beside it. `retry_delay_ns` is what RetryInfo
    asks for instead of the reason's own delay. Raises ValueError for a reason that is not in the
    contract: a fault of the caller.
    """
    rule = _rule(reason)
    text = (message or _sentence(reason, field))[:MESSAGE_CHARACTERS_MAX]
    info = ErrorInfo(reason=reason_name(reason), domain=DOMAIN, metadata=metadata or {})
    details: list[Message] = [info]
    if field:
        info.metadata["field"] = field
        violation = BadRequest.FieldViolation(field=field, description=text, reason=info.reason)
        details.append(BadRequest(field_violations=[violation]))
    if rule.retryable:
        delay = Duration()
        delay.FromNanoseconds(retry_delay_ns or rule.retry_delay_ms * 1_000_000)
        details.append(RetryInfo(retry_delay=delay))
    return RpcError(rule.code, text, details)


def refuse_field(field: str, rule: str) -> RpcError:
    """FIELD_INVALID: the `field`, and what it must be, in words that follow its name."""
    return refuse(pb.ERROR_REASON_FIELD_INVALID, f"{field} {rule}", field=field)


def rejection(reason: int, field: str = "", message: str = "") -> pb.Rejection:
    """The refusal of one item of a batch. Raises ValueError for a reason not in the contract."""
    return pb.Rejection(
        reason=cast("pb.ErrorReason.ValueType", reason),
        field=field,
        message=message or _sentence(reason, field),
    )


def rejection_of(error: RpcError) -> pb.Rejection:
    """The same refusal for an item of a stream. An error without ErrorInfo becomes INTERNAL."""
    info = error_info(error)
    if info is None:
        return rejection(pb.ERROR_REASON_INTERNAL)
    reason = pb.ErrorReason.Value(REASON_PREFIX + info.reason)
    refusal = rejection(reason, info.metadata.get("field", ""), error.message)
    retry = next((detail for detail in error.details if isinstance(detail, RetryInfo)), None)
    if retry is not None:
        refusal.retry_delay.CopyFrom(retry.retry_delay)
    return refusal


def error_info(error: RpcError) -> ErrorInfo | None:
    """The ErrorInfo an error carries, if any."""
    return next((detail for detail in error.details if isinstance(detail, ErrorInfo)), None)


def _sentence(reason: int, field: str | None) -> str:
    """What to tell a person when nobody said more: of an order's field what it must be."""
    if reason in {pb.ERROR_REASON_FIELD_INVALID, pb.ERROR_REASON_TIME_IN_FORCE_INVALID}:
        must = FIELD_RULES.get(field or "")
        if must is not None:
            return f"{field} {must}"
    return _rule(reason).sentence


def _rule(reason: int) -> ErrorRule:
    rule = RULES.get(reason)
    if rule is None:
        raise ValueError(f"{reason} is not a reason of dex.errors.v1.ErrorReason")
    return rule


class ErrorInterceptor:
    """The outermost interceptor: every failed call of the contract leaves with one ErrorInfo.

    dexrpc knows nothing of the contract, so its bare statuses get their reason here. An exception
    that nobody expected is logged and answered with INTERNAL, saying no more.
    """

    __slots__ = ("_refused",)

    def __init__(self, refused: Callable[[str], None]) -> None:
        """`refused(reason name)` is called for every failed call that has a reason."""
        self._refused = refused

    async def __call__(self, ctx: CallContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """Interceptor of dexrpc."""
        try:
            await call_next()
        except Exception as error:
            failure = _with_reason(_rpc_error(error, ctx.method.path))
            info = error_info(failure)
            if info is not None:
                self._refused(info.reason)
            raise failure from error


def _rpc_error(error: Exception, path: str) -> RpcError:
    """The refusal in `error`, looking through groups that a handler's nursery wrapped around it."""
    cause: BaseException = error
    while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
        cause = cause.exceptions[0]
    if isinstance(cause, RpcError):
        return cause
    logger.error("the handler of %s failed", path, exc_info=error)
    return refuse(pb.ERROR_REASON_INTERNAL)


def _with_reason(failure: RpcError) -> RpcError:
    if isinstance(failure, SendStalled):
        return refuse(pb.ERROR_REASON_SLOW_CONSUMER)
    reason = _REASON_OF_BARE_STATUS.get(failure.code)
    if reason is None or error_info(failure) is not None:
        return failure
    info = ErrorInfo(reason=reason_name(reason), domain=DOMAIN)
    return RpcError(
        failure.code, failure.message, [info, *failure.details], failure.trailing_metadata
    )
