"""docs/limits.md: every bound of a node on one page, its figures read off the code."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from msgspec import structs

from dexcore import expiry
from dexcore import limits as core
from dexflight.calls import STREAMS_MAX
from dexnode.admission import ORDER_BURST_MIN, PREVIEW_READS, PROVEN_KEYS_MAX
from dexnode.gate import CANCEL_METHODS
from dexnode.intake import PAYLOAD_BYTES_MAX
from dexnode.services.order_stream import STREAM_WAIT_SECONDS, STREAM_WINDOW
from dexnode.settings import GrpcSettings, LimitSettings
from dexnode.stream_session import SKIPPED_ORDERS_MAX
from dexnode.tokens import LIFETIME_NS_MAX
from dexrpc import ServerConfig
from dexrpc.door import NETWORKS_MAX as DOOR_NETWORKS_MAX
from dexruntime import drain_rate, sequencer, verifier, views

_NS: Final = 10**9
Row = tuple[str, str, str]

# What a peer meets when it passes a limit of ServerConfig; every field is here or in _NOT_LIMITS.
_RPC_BEYOND: Final = {
    "max_message_bytes": "`MESSAGE_TOO_LARGE`",
    "max_connections": "closed when accepted",
    "max_connections_per_address": "closed when accepted",
    "max_concurrent_streams": "RST_STREAM(REFUSED_STREAM), which clients retry",
    "max_header_list_bytes": "RESOURCE_EXHAUSTED; four times it: GOAWAY(ENHANCE_YOUR_CALM)",
    "stream_window_bytes": "the sender waits",
    "connection_window_bytes": "the sender waits",
    "max_buffered_bytes": "RESOURCE_EXHAUSTED",
    "max_buffered_bytes_total": "RESOURCE_EXHAUSTED",
    "max_output_bytes": "`send` waits; four times it: the connection is not read",
    "max_message_batch": "taken in the next turn",
    "max_resets_per_second": "GOAWAY(ENHANCE_YOUR_CALM)",
    "max_earned_resets": "those of `max_resets_per_second`",
    "max_floods_per_address": "its next connections are held, neither read nor answered",
    "flood_forgiven_after": "one flood less",
    "max_held_per_address": "closed when accepted",
    "max_refusals_per_second": "GOAWAY(ENHANCE_YOUR_CALM)",
    "max_window_updates_per_second": "GOAWAY(ENHANCE_YOUR_CALM)",
    "max_settings_per_second": "GOAWAY(ENHANCE_YOUR_CALM)",
    "max_control_frames_per_second": "GOAWAY(ENHANCE_YOUR_CALM)",
    "handshake_timeout": "closed",
    "keepalive_interval": "a PING",
    "keepalive_timeout": "closed",
    "idle_timeout": "drained, then closed",
    "stall_timeout": "`SLOW_CONSUMER`, or RST_STREAM(ENHANCE_YOUR_CALM)",
    "write_timeout": "closed",
    "backlog": "the kernel refuses",
}
_RPC_NOT_LIMITS: Final = {"codec"}
# Settings that size a limit of ServerConfig by another name.
_GRPC_SETTINGS: Final = {
    "max_message_bytes": "message_bytes_max",
    "max_connections": "connections_max",
    "max_connections_per_address": "connections_per_address_max",
    "max_concurrent_streams": "streams_max",
}
_LIMIT_BEYOND: Final = {
    "burst_seconds": "what a budget holds",
    "bad_signatures_per_minute": "the connection cools down: `COOLING_DOWN`",
    "cool_down_seconds": "looked at again",
    "calls_in_flight_max": "`OVERLOADED`",
    "subscribers_max": "`OVERLOADED`",
    "subscribers_per_connection_max": "`OVERLOADED`",
    "sessions_max": "`OVERLOADED`",
    "sessions_per_connection_max": "`OVERLOADED`",
    "operator_calls_max": "`OVERLOADED`",
    "memory_bytes_max": "`OVERLOADED`, but for cancels and operators",
}
_RATE_LIMITED: Final = "`RATE_LIMITED`"


def limits_page() -> str:
    """docs/limits.md."""
    return f"""# Limits

Everything a node holds or does for others has a bound, and meeting one ends in an answer that says
so. This page is written by `python -m dexnode.reference` from the values the code uses, and a test
holds it to them. Where each stands at the moment is in the [metrics](reference/metrics.md):
`dex_ceiling_used`, `dex_ceiling_limit`, and a counter for every kind of refusal.

## What may be asked

An order, an amend and a cancel count as one item each, wherever they stand: a batch of 100 costs
100, and is charged in whole or not at all. Cancels have a budget of their own, which the dead man's
switch is charged to as well, so who is out of orders can still cancel. A budget belongs to an
account or to one of its keys, and is charged only when a signature of that key has verified: nobody
can use up the budget of an account by claiming it. What does not verify counts against the
connection it came on, and so does a token of a key that belongs to nobody, or to no operator where
one is asked for. Opening an account takes no proof but a new key, and the account is kept for good:
it is charged to the connection and to the whole node.

Calls say in their trailers what is left, in the words of the IETF's RateLimit header fields:
`ratelimit-limit` (items the tightest budget holds), `ratelimit-remaining` (items left),
`ratelimit-reset` (seconds until it is full again, rounded up). An order stream says it in
`OrderStreamResponse.rate_limit`. A refusal carries `google.rpc.RetryInfo`, on a stream
`Rejection.retry_delay`: who waits that long is served.

{_table("Setting in [limits]", _asked())}
A budget of orders or cancels holds at least {ORDER_BURST_MIN:,} items. A connection remembers
{PROVEN_KEYS_MAX} keys that have verified on it; one that has run dry is refused there from the
payload alone, before its signature costs anything. A preview (`CheckOrder`, `QuoteSwap`,
`QuotePoolSwap`) costs {PREVIEW_READS} reads, or all that the budget holds where that is less.

## What the node takes at once

{_table("Setting in [limits]", _taken())}
A call over a ceiling is refused before a task is made for it or its message is read, with RetryInfo
from the rate at which calls leave, {_ms(drain_rate.DELAY_NS_MIN)} to
{_ms(drain_rate.DELAY_NS_MAX)}. One connection gets half of the calls at most.
{", ".join(sorted(CANCEL_METHODS))} may take a quarter more than the rest. Calls of operator
methods have a ceiling of their own, whatever else is inside: half of it is kept for connections on
which an operator has proven itself, and one that has not gets an eighth of it, a single call while
memory is over its ceiling. A connection that cools down is refused there as well; an operator takes
another. Health checks are always let in; watching is a stream as any other. Calls whose deadline
has passed or that were cancelled are dropped where they wait, before they cost a signature.

{_table("Queue", _queues())}
An order stream is held back before it is refused: what waits stops the reading, and HTTP/2's flow
control the sender.

{_parts()}"""


def _parts() -> str:
    """What is bounded whoever asks."""
    return f"""## What one message may hold

{_table("What", _messages())}
## What one command may do

Matching is one thread: what a command sets off delays all others. The rules are those of
[order semantics](reference/order-semantics.md#what-bounds-an-order); what the dearest commands
cost is in [performance](performance.md#the-dearest-commands).

{_table("What", _work())}
Not bounded by these: a cancel of all orders of an account, a tick at which orders end by time, an
operator's change of phase. They end orders, each of which was an item of somebody's budget.

## The transport

Fields of `dexrpc.ServerConfig`, in bytes, seconds, or a count; those with a setting have its
default. More in [rpc.md](reference/rpc.md). With `grpc.backend = "aio"` grpcio keeps limits of its
own, and floods and stalls are left to it.

{_table("Limit", _transport())}
Floods are charged to the peer's address, of IPv6 to its network of 64 bits: one for each connection
that was ended with ENHANCE_YOUR_CALM, a share for one that closed with over half of such a limit
used in its last second. Connections of that address that are open are not touched, and neither is
any other address. {DOOR_NETWORKS_MAX:,} of them are remembered. A reset is earned by each call that
ends with its status, so a client that waits for answers may cancel all its calls at once.

## Readers of feeds

{_table("Feed", _feeds())}
A reader that takes nothing for the `stall_timeout` is cut even if the feed stands still: its stream
ends with `SLOW_CONSUMER` and `metadata["last_sequence"]`, the last item that was sent in full. When
part of a message is out, no status can follow it (HTTP/2 has no place for one), and the stream is
reset with ENHANCE_YOUR_CALM: the reader resumes after the last sequence it has itself. Either way
nothing is lost that the feed still holds, and nothing of the stream stays in memory.

## Arrow Flight

{_table("What", _FLIGHT)}"""


def _asked() -> list[Row]:
    beyond = {
        field.name: _LIMIT_BEYOND.get(field.name, _RATE_LIMITED)
        for field in structs.fields(LimitSettings)
        if field.name.endswith(("_per_second", "accounts_per_minute"))
        or field.name in _WHO_SETTINGS
    }
    return _settings(beyond)


_FLIGHT: Final[list[Row]] = [
    ("open streams of the node", f"{STREAMS_MAX:,}", "`OVERLOADED`"),
]
_WHO_SETTINGS: Final = {"burst_seconds", "bad_signatures_per_minute", "cool_down_seconds"}


def _taken() -> list[Row]:
    beyond = {
        field.name: _LIMIT_BEYOND[field.name]
        for field in structs.fields(LimitSettings)
        if field.name.endswith("_max")
    }
    return _settings(beyond)


def _settings(beyond: dict[str, str]) -> list[Row]:
    defaults = LimitSettings()
    # Zero stands for what is found out at start.
    return [
        (f"`{name}`", f"{value:,}" if value else "nine tenths of the memory", text)
        for name, text in beyond.items()
        for value in (getattr(defaults, name),)
    ]


def _queues() -> list[Row]:
    stream = f"rejected with `OVERLOADED` after {STREAM_WAIT_SECONDS:g} s"
    return [
        (
            "signatures to verify",
            f"{verifier.QUEUE_SIGNATURES_MAX:,}",
            "`OVERLOADED`; streams are held back from half of it",
        ),
        (
            "commands for the sequencer",
            f"{sequencer.QUEUE_COMMANDS_MAX:,}",
            f"`OVERLOADED`; streams are held back from half of it, and {stream}",
        ),
        ("order items in them", f"{sequencer.QUEUE_ITEMS_MAX:,}", "the same"),
        ("order items of one batch to disk", f"{sequencer.BATCH_ITEMS:,}", "the next batch"),
        (
            "batches in front of the disk",
            f"{sequencer.BATCHES_IN_FLIGHT_MAX:,}",
            "the sequencer waits",
        ),
        ("requests of one stream", f"{STREAM_WINDOW:,}", "the stream is not read"),
    ]


def _messages() -> list[Row]:
    return [
        ("items of a batch", f"{core.BATCH_ITEMS_MAX:,}", "`BATCH_SIZE`"),
        ("bytes of a payload", f"{PAYLOAD_BYTES_MAX:,}", "`MESSAGE_TOO_LARGE`"),
        (
            "expiry of a payload, ahead",
            f"{core.EXPIRY_AHEAD_NS_MAX // _NS} s",
            "`EXPIRY_TOO_FAR`",
        ),
        ("life of an access token", f"{LIFETIME_NS_MAX // _NS} s", "`TOKEN_INVALID`"),
        ("keys of an account", f"{core.KEYS_PER_ACCOUNT_MAX:,}", "`TOO_MANY_KEYS`"),
        (
            "keys of an account, the revoked ones too",
            f"{core.KEYS_EVER_PER_ACCOUNT_MAX:,}",
            "`TOO_MANY_KEYS`",
        ),
        (
            "characters of a key's label",
            f"{core.KEY_LABEL_CHARACTERS_MAX:,}",
            "`FIELD_INVALID`",
        ),
        (
            "open orders of an account",
            f"{core.OPEN_ORDERS_PER_ACCOUNT_MAX:,}",
            "`TOO_MANY_OPEN_ORDERS`",
        ),
        *_sessions(),
        *_quotes(),
        *_pools(),
        ("parts that an iceberg shows", f"{core.ICEBERG_PARTS_MAX:,}", "`FIELD_INVALID`"),
        *_waiting(),
        (
            "timeout of a dead man's switch, unless zero",
            f"{expiry.TIMEOUT_NS_MIN // _NS} s to {expiry.TIMEOUT_NS_MAX // _NS:,} s",
            "`FIELD_INVALID`",
        ),
        (
            "recorded trades of a command",
            f"{core.EXTERNAL_TRADES_PER_COMMAND_MAX:,}",
            "`FIELD_INVALID`",
        ),
        ("a fee, in parts per million", f"{core.FEE_PPM_MAX:,}", "`FIELD_INVALID`"),
        (
            "a price in ticks, unless the market says less",
            f"{core.PRICE_TICKS_MAX_DEFAULT:,}",
            "`PRICE_OUT_OF_RANGE`",
        ),
        (
            "a size in lots, unless the market says less",
            f"{core.QUANTITY_LOTS_MAX_DEFAULT:,}",
            "`QUANTITY_OUT_OF_RANGE`",
        ),
        ("decimal places of an asset", f"{core.ASSET_SCALE_MAX:,}", "the market is refused"),
        ("supply of an asset, in atoms", f"{core.INT64_MAX:,}", "`AMOUNT_OUT_OF_RANGE`"),
    ]


def _work() -> list[Row]:
    entry = (
        "resting orders, parts of icebergs, runs of a pool's lots and self-trades prevented that "
        "an order meets when it enters"
    )
    beyond = (
        "its rest ends `ORDER_STATUS_EXPIRED`; `FILL_OR_KILL_UNFILLABLE`, `MIN_QUANTITY_UNFILLABLE`"
    )
    goes_on = "the next command goes on"
    whole = (
        "what all items of a command meet, their counts too, and for each that met any the bounds "
        "of a concentrated pool"
    )
    return [
        (entry, f"{core.MEETINGS_PER_ENTRY_MAX:,}", beyond),
        (
            whole,
            f"{core.MEETINGS_PER_COMMAND_MAX:,}",
            "an item that takes or is counted: `TOO_MANY_MEETINGS`",
        ),
        ("triggered stops that a command runs", f"{core.STOPS_PER_COMMAND_MAX:,}", goes_on),
        (
            "what its orders, stops too, have met when no other stop begins",
            f"{core.MEETINGS_BEFORE_STOPS_MAX:,}",
            goes_on,
        ),
        (
            "times that it prices the pegged orders that stand",
            "1",
            "it stays until the command is done",
        ),
    ]


def _waiting() -> list[Row]:
    beyond = "`TOO_MANY_PARKED`"
    return [
        (
            "trailing stops, and pegged orders, of a market: of each",
            f"{core.FOLLOWERS_PER_MARKET_MAX:,}",
            beyond,
        ),
        ("those of one account there", f"{core.FOLLOWERS_PER_ACCOUNT_MAX:,}", beyond),
    ]


def _sessions() -> list[Row]:
    return [
        ("MAC sessions of an account", f"{core.SESSIONS_PER_ACCOUNT_MAX:,}", "`TOO_MANY_SESSIONS`"),
        (
            "orders of a session that wait for a countersignature",
            f"{core.SESSION_UNSIGNED_ORDERS_MAX:,}",
            "`SESSION_UNSIGNED`: the session ends",
        ),
        (
            "their wait",
            f"{core.SESSION_UNSIGNED_NS_MAX // _NS} s",
            "`SESSION_UNSIGNED`: the session, and its stream, end",
        ),
        (
            "orders in a row that the node refused by itself, none of them signed for",
            f"{SKIPPED_ORDERS_MAX:,}",
            "`SESSION_UNSIGNED`: the session ends",
        ),
    ]


def _quotes() -> list[Row]:
    ahead = f"{core.QUOTE_AHEAD_NS_MAX // _NS} s"
    quotes = "`TOO_MANY_QUOTES`"
    return [
        (
            "open requests for quotes of an account",
            f"{core.OPEN_REQUESTS_PER_ACCOUNT_MAX:,}",
            "`TOO_MANY_QUOTE_REQUESTS`",
        ),
        ("makers named by a request", f"{core.MAKERS_PER_REQUEST_MAX:,}", "`FIELD_INVALID`"),
        ("close of a request and expiry of a quote, ahead", ahead, "`EXPIRY_TOO_FAR`"),
        ("open quotes of an account", f"{core.OPEN_QUOTES_PER_ACCOUNT_MAX:,}", quotes),
        ("quotes ever given on a request", f"{core.QUOTES_PER_REQUEST_MAX:,}", quotes),
        ("those of one maker", f"{core.QUOTES_PER_REQUEST_AND_MAKER_MAX:,}", quotes),
    ]


def _pools() -> list[Row]:
    positions = "`TOO_MANY_POSITIONS`"
    return [
        ("positions of a concentrated pool", f"{core.POOL_POSITIONS_MAX:,}", positions),
        ("those of one account", f"{core.POOL_POSITIONS_PER_ACCOUNT_MAX:,}", positions),
        ("pool ticks where they begin or end", f"{core.POOL_BOUNDS_MAX:,}", positions),
        ("liquidity of a pool", f"{core.INT64_MAX:,}", "`LIQUIDITY_OUT_OF_RANGE`"),
    ]


def _transport() -> list[Row]:
    defaults, grpc = ServerConfig(), GrpcSettings()
    rows = []
    for field in fields(ServerConfig):
        if field.name in _RPC_NOT_LIMITS:
            continue
        setting = _GRPC_SETTINGS.get(field.name)
        name, value = f"`{field.name}`", getattr(defaults, field.name)
        if setting is not None:
            name, value = f"{name} (`grpc.{setting}`)", getattr(grpc, setting)
        rows.append((name, f"{value:,}", _RPC_BEYOND[field.name]))
    return rows


def _feeds() -> list[Row]:
    return [
        ("book, changes held", f"{views.BOOK_FEED_ITEMS:,}", "`SLOW_CONSUMER`, `SEQUENCE_GONE`"),
        ("trades held", f"{views.TRADE_FEED_ITEMS:,}", "stored trades are sent first"),
        (
            "K-lines, changes held per interval",
            f"{views.KLINE_FEED_ITEMS:,}",
            "`SLOW_CONSUMER`, `SEQUENCE_GONE`",
        ),
    ]


def _ms(duration_ns: int) -> str:
    return f"{duration_ns // 10**6:,} ms"


def _table(what: str, rows: list[Row]) -> str:
    lines = [(what, "At most", "Beyond it"), ("---", "---", "---"), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
