"""Why the core refuses something.

The numbers are those of ``dex.errors.v1.ErrorReason``, so that the edge maps a
refusal without a table; a test holds the two lists against each other.
"""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """One refusal reason; ``NONE`` means accepted."""

    NONE = 0
    FIELD_INVALID = 3
    PAYLOAD_EXPIRED = 22
    EXPIRY_TOO_FAR = 23
    NONCE_REUSED = 24
    UNKNOWN_SESSION = 30
    SESSION_OUT_OF_ORDER = 32
    SESSION_UNSIGNED = 33
    SESSION_HASH_MISMATCH = 34
    TOO_MANY_SESSIONS = 35
    UNKNOWN_ACCOUNT = 40
    UNKNOWN_KEY = 41
    KEY_ALREADY_REGISTERED = 42
    TOO_MANY_KEYS = 43
    INSUFFICIENT_FUNDS = 44
    REFERENCE_REUSED = 45
    UNKNOWN_ASSET = 46
    AMOUNT_OUT_OF_RANGE = 47
    KEY_REVOKED = 48
    KEY_EXPIRED = 49
    KEY_LACKS_SCOPE = 50
    LAST_FULL_KEY = 51
    UNKNOWN_MARKET = 60
    MARKET_EXISTS = 61
    SCALE_INEXACT = 62
    ASSET_MISMATCH = 63
    MARKET_NOT_OPEN = 64
    MARKET_IS_EXTERNAL = 65
    TRADE_OUT_OF_ORDER = 66
    NO_REFERENCE_PRICE = 67
    PROTECTION_REQUIRED = 68
    PRICE_OFF_TICK = 80
    PRICE_OUT_OF_RANGE = 81
    QUANTITY_OUT_OF_RANGE = 82
    QUANTITY_OFF_LOT = 83
    TIME_IN_FORCE_INVALID = 84
    POST_ONLY_WOULD_TAKE = 85
    FILL_OR_KILL_UNFILLABLE = 86
    NO_LIQUIDITY = 87
    UNKNOWN_ORDER = 88
    CLIENT_ORDER_ID_IN_USE = 89
    AMEND_BELOW_FILLED = 90
    TOO_MANY_OPEN_ORDERS = 91
    BATCH_SIZE = 92
    NOTIONAL_OUT_OF_RANGE = 93
    PRICE_OUT_OF_BAND = 94
    MIN_QUANTITY_UNFILLABLE = 95
    STOP_WOULD_TRIGGER = 96
    TOO_MANY_PARKED = 97
    OCO_BROKEN = 98
    NO_POOL = 110
    POOL_EXISTS = 111
    SLIPPAGE = 112
    UNKNOWN_POSITION = 113
    LIQUIDITY_OUT_OF_RANGE = 114
    TOO_MANY_POSITIONS = 115
    UNKNOWN_QUOTE_REQUEST = 120
    UNKNOWN_QUOTE = 121
    QUOTE_MISMATCH = 123
    QUOTE_PRICES_INVALID = 124
    CLIENT_QUOTE_ID_IN_USE = 126
    TOO_MANY_QUOTE_REQUESTS = 127
    TOO_MANY_QUOTES = 128
    SELF_TRADE = 129
    TOO_MANY_MEETINGS = 130


class Refused(Exception):
    """Ends the handling of one item or command; caught inside the core.

    ``field`` is the contract's name of the offending field, or empty.
    """

    __slots__ = ("field", "reason")

    def __init__(self, reason: Reason, field: str = "") -> None:
        super().__init__(reason, field)
        self.reason = reason
        self.field = field
