"""What the naive twin of the exchange refuses for a field's own sake; numbers of the contract."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

INT64_MAX = 2**63 - 1
SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS
ANY_MARKET = 0xFFFF

BUY, SELL = 1, 2
PLACE, CANCEL, AMEND, CANCEL_ALL = 1, 2, 3, 4
LIMIT, MARKET, STOP, STOP_LIMIT, TRAILING, PEGGED = 1, 2, 3, 4, 5, 6
STOPS = (STOP, STOP_LIMIT, TRAILING)
GTC, IOC, FOK, DAY, GTD, AT_OPEN, AT_CLOSE = 1, 2, 3, 4, 5, 6, 7
LASTING = (GTC, DAY, GTD)
POST_ONLY, SLIDE, HAS_TERMS, OCO = 1, 2, 4, 8
NEWEST, OLDEST, BOTH, DECREMENT = 1, 2, 3, 4
PRIMARY, OTHER_SIDE, MIDPOINT = 1, 2, 3

STATUSES = {
    1: "OPEN",
    2: "CANCEL_ONLY",
    3: "HALTED",
    4: "OPENING_AUCTION",
    5: "CLOSING_AUCTION",
    6: "CLOSED",
}
CALLS = ("OPENING_AUCTION", "CLOSING_AUCTION")
PARTS_MAX = 100

Spec = dict[str, Any]


class Bounds(NamedTuple):
    """How much one order and one command may set off, and what is followed in a market."""

    # What an entering order meets.
    meetings: int = 1_000
    # Triggered stops of a command, and what its orders meet before no other begins.
    stops: int = 100
    before_stops: int = 500
    # Pegged orders and trailing stops, of each kind.
    of_market: int = 200
    of_account: int = 20
    # What all items of a command meet, their counts too.
    of_command: int = 10_000


class Result(NamedTuple):
    """What became of one item."""

    order: int
    client_id: int
    status: str
    filled: int
    remaining: int
    fills: tuple[tuple[int, int, int, int], ...]
    reason: str
    where: str


class No(Exception):
    """A refusal: the reason's name and the contract's name of the field."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason, where)
        self.reason = reason
        self.where = where


def check_price(spec: Spec, price: int, where: str = "price_ticks") -> None:
    if not 0 < price <= spec["price_ticks_max"]:
        raise No("PRICE_OUT_OF_RANGE", where)
    if price % spec["price_increment_ticks"]:
        raise No("PRICE_OFF_TICK", where)


def check_size(spec: Spec, size: int) -> None:
    if not 0 < size <= spec["quantity_lots_max"]:
        raise No("QUANTITY_OUT_OF_RANGE", "quantity_lots")
    if size % spec["quantity_increment_lots"]:
        raise No("QUANTITY_OFF_LOT", "quantity_lots")


def valid_price(spec: Spec, price: int) -> bool:
    """Whether an order may rest at this price."""
    return 0 < price <= spec["price_ticks_max"] and not price % spec["price_increment_ticks"]


def check_spec(spec: Spec) -> None:
    for side in ("base", "quote"):
        if not 0 <= spec[f"{side}_scale"] <= 18:
            raise No("FIELD_INVALID", f"market.{side}_asset.scale")
    if spec["base_asset_id"] == spec["quote_asset_id"]:
        raise No("FIELD_INVALID", "market.quote_asset.asset_id")
    if spec["kind"] == 1 and spec["market_id"] != "-".join(
        (spec["base_asset_id"], spec["quote_asset_id"])
    ):
        raise No("FIELD_INVALID", "market.market_id")
    for name in (
        "quote_atoms_per_tick_lot",
        "base_atoms_per_lot",
        "price_increment_ticks",
        "quantity_increment_lots",
        "price_ticks_max",
        "quantity_lots_max",
    ):
        if not 0 < spec[name] <= INT64_MAX:
            raise No("FIELD_INVALID", f"market.{name}")
    quote = Fraction(spec["quote_atoms_per_tick_lot"], 10 ** spec["quote_scale"])
    base = Fraction(spec["base_atoms_per_lot"], 10 ** spec["base_scale"])
    if (quote / base * 10**18).denominator != 1:
        raise No("SCALE_INEXACT", "market.quote_atoms_per_tick_lot")
    for name in ("maker_fee_ppm", "taker_fee_ppm"):
        if not 0 <= spec[name] <= 100_000:
            raise No("FIELD_INVALID", f"market.{name}")
    if spec["kind"] not in (1, 2):
        raise No("FIELD_INVALID", "market.kind")
