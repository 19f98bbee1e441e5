"""Arrow Flight: bulk pulls of K-lines and trades. docs/reference/flight.md is its reference."""

from __future__ import annotations

from dexflight.service import TICKET_TTL_NS, FlightService, FlightTls
from dexflight.source import FlightSource, MarketInfo, UnknownMarketError

__all__ = [
    "TICKET_TTL_NS",
    "FlightService",
    "FlightSource",
    "FlightTls",
    "MarketInfo",
    "UnknownMarketError",
]
