"""Bounds of the state machine. Each keeps one structure finite."""

from __future__ import annotations

from typing import Final, NamedTuple

INT64_MAX: Final = 2**63 - 1

# Items of one signed batch; must stay below ITEM_INDEX_LIMIT.
BATCH_ITEMS_MAX: Final = 1_000
# Results of cancel-all must fit one message: about 50 bytes each.
OPEN_ORDERS_PER_ACCOUNT_MAX: Final = 20_000
# What an order meets when it comes in: orders, parts of icebergs, runs of the pool's lots and
# self-trades prevented, one after the other. Then its rest expires.
MEETINGS_PER_ENTRY_MAX: Final = 1_000
# What all items of an order command meet: those of counts, too, and for each item that met anything
# where there is a concentrated pool, as many more as that has bounds. About 20 us each.
MEETINGS_PER_COMMAND_MAX: Final = 10_000
# Stops that one command runs; and when its orders, these too, have met so many, no other begins.
# The next command goes on with them.
STOPS_PER_COMMAND_MAX: Final = 100
MEETINGS_BEFORE_STOPS_MAX: Final = 500
# Trailing stops, and pegged orders, of one market, and of one account there: a trade has to look at
# each of the first, a new best price at each of the second.
FOLLOWERS_PER_MARKET_MAX: Final = 200
FOLLOWERS_PER_ACCOUNT_MAX: Final = 20
# Each part that an iceberg shows is a trade of its own: few orders must not use a taker up.
ICEBERG_PARTS_MAX: Final = 100
KEYS_PER_ACCOUNT_MAX: Final = 16
# With the revoked ones, which stay known so that nobody registers them again.
KEYS_EVER_PER_ACCOUNT_MAX: Final = 256
KEY_LABEL_CHARACTERS_MAX: Final = 64
# What no label holds, since it moves or hides what is printed around it: C0, DEL and C1 controls,
# the Arabic letter mark, left-to-right and right-to-left marks, line and paragraph separators with
# bidi embeddings, bidi isolates. By code point: Unicode tables differ between Python versions.
CONTROL_RANGES: Final = (
    (0x00, 0x1F),
    (0x7F, 0x9F),
    (0x61C, 0x61C),
    (0x200E, 0x200F),
    (0x2028, 0x202E),
    (0x2066, 0x2069),
)
# A payload may be valid at most this long; nonces are remembered as long.
EXPIRY_AHEAD_NS_MAX: Final = 5 * 60 * 10**9
# Requests for quotes and quotes: how far ahead they end, how many of an account are open, how many
# makers a request names, and how many quotes it ever gets, in all and from one maker.
QUOTE_AHEAD_NS_MAX: Final = 5 * 60 * 10**9
OPEN_REQUESTS_PER_ACCOUNT_MAX: Final = 10
OPEN_QUOTES_PER_ACCOUNT_MAX: Final = 100
MAKERS_PER_REQUEST_MAX: Final = 100
QUOTES_PER_REQUEST_MAX: Final = 1_000
QUOTES_PER_REQUEST_AND_MAKER_MAX: Final = 20
# Sessions: how many of an account are open, and how much of one may wait for a countersignature,
# and for how long. Clients sign every second of their own; a node that is behind by a multiple must
# not end their sessions for it.
SESSIONS_PER_ACCOUNT_MAX: Final = 16
SESSION_UNSIGNED_ORDERS_MAX: Final = 65_536
SESSION_UNSIGNED_NS_MAX: Final = 15 * 10**9
EXTERNAL_TRADES_PER_COMMAND_MAX: Final = 10_000
FEE_PPM_MAX: Final = 100_000
PPM: Final = 1_000_000
ASSET_SCALE_MAX: Final = 18
# A taker may go through all of a pool's ranges: about 20 us each.
POOL_BOUNDS_MAX: Final = 500
POOL_POSITIONS_MAX: Final = 10_000
POOL_POSITIONS_PER_ACCOUNT_MAX: Final = 100
PRICE_TICKS_MAX_DEFAULT: Final = 10**12
QUANTITY_LOTS_MAX_DEFAULT: Final = 10**12

# Ids are made from the journal position: key = sequence * ITEM_INDEX_LIMIT + index.
ITEM_INDEX_LIMIT: Final = 4_096


class Bounds(NamedTuple):
    """Bounds of the work of one order and one command; others than these are for tests alone."""

    meetings_per_entry: int = MEETINGS_PER_ENTRY_MAX
    stops_per_command: int = STOPS_PER_COMMAND_MAX
    meetings_before_stops: int = MEETINGS_BEFORE_STOPS_MAX
    followers_per_market: int = FOLLOWERS_PER_MARKET_MAX
    followers_per_account: int = FOLLOWERS_PER_ACCOUNT_MAX
    meetings_per_command: int = MEETINGS_PER_COMMAND_MAX


BOUNDS: Final = Bounds()


def is_control(character: str) -> bool:
    """Whether a character is in CONTROL_RANGES."""
    point = ord(character)
    return any(first <= point <= last for first, last in CONTROL_RANGES)
