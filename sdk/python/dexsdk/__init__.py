"""The Python client of Triodex: orders, market data, accounts, bulk pulls, the operator's side.

`Client` runs on Trio, `SyncClient` blocks; both have the same methods. What a caller says are the
dataclasses and enums below, what the exchange answers are the contract's generated messages;
`Market` alone is wrapped, because it converts between decimals and whole numbers.
"""

from __future__ import annotations

from dexsdk.audit import Head
from dexsdk.audit_operations import InclusionProof
from dexsdk.book import LocalBook
from dexsdk.channel import Tls
from dexsdk.client import Client
from dexsdk.errors import (
    CallerError,
    DexError,
    OffGrid,
    PeerError,
    Unavailable,
    from_rejection,
)
from dexsdk.ids import Id, format_id, parse_id
from dexsdk.keys import Key
from dexsdk.market import Market
from dexsdk.pool_ticks import pool_tick, price_at
from dexsdk.session import Session, Signed
from dexsdk.swap_operations import SwapTaken
from dexsdk.sync_client import SyncClient
from dexsdk.times import time_ns_of, timestamp_of
from dexsdk.types import (
    Amend,
    Cancel,
    CancelAll,
    DeadMansSwitch,
    ExternalTrade,
    Interval,
    KeyScope,
    LedgerEntryKind,
    MarketKind,
    MarketStatus,
    NewOrder,
    OrderStatus,
    OrderType,
    PegReference,
    Phased,
    Place,
    PoolKind,
    SelfTradePrevention,
    Side,
    SwapExact,
    SwapSource,
    TimeInForce,
    pair_of,
)
from dexsdk.windows import INTERVAL_NS, open_time_ns

__all__ = [
    "INTERVAL_NS",
    "Amend",
    "CallerError",
    "Cancel",
    "CancelAll",
    "Client",
    "DeadMansSwitch",
    "DexError",
    "ExternalTrade",
    "Head",
    "Id",
    "InclusionProof",
    "Interval",
    "Key",
    "KeyScope",
    "LedgerEntryKind",
    "LocalBook",
    "Market",
    "MarketKind",
    "MarketStatus",
    "NewOrder",
    "OffGrid",
    "OrderStatus",
    "OrderType",
    "PeerError",
    "PegReference",
    "Phased",
    "Place",
    "PoolKind",
    "SelfTradePrevention",
    "Session",
    "Side",
    "Signed",
    "SwapExact",
    "SwapSource",
    "SwapTaken",
    "SyncClient",
    "TimeInForce",
    "Tls",
    "Unavailable",
    "format_id",
    "from_rejection",
    "open_time_ns",
    "pair_of",
    "parse_id",
    "pool_tick",
    "price_at",
    "time_ns_of",
    "timestamp_of",
]
