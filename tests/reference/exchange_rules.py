"""What the naive twin of the exchange refuses for a field's own sake; numbers of the contract."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

INT64_MAX = 2**63 - 1
BUY, SELL = 1, 2
LIMIT, MARKET = 1, 2
GTC, IOC, FOK = 1, 2, 3
PLACE, CANCEL, AMEND, CANCEL_ALL = 1, 2, 3, 4
ANY_MARKET = 0xFFFF

Spec = dict[str, Any]


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


def check_price(spec: Spec, price: int) -> None:
    if not 0 < price <= spec["price_ticks_max"]:
        raise No("PRICE_OUT_OF_RANGE", "price_ticks")
    if price % spec["price_increment_ticks"]:
        raise No("PRICE_OFF_TICK", "price_ticks")


def check_size(spec: Spec, size: int) -> None:
    if not 0 < size <= spec["quantity_lots_max"]:
        raise No("QUANTITY_OUT_OF_RANGE", "quantity_lots")
    if size % spec["quantity_increment_lots"]:
        raise No("QUANTITY_OFF_LOT", "quantity_lots")


def check_kind(spec: Spec, kind: int, tif: int, post_only: bool, price: int) -> None:
    if kind == LIMIT:
        check_price(spec, price)
    elif price:
        raise No("FIELD_INVALID", "price_ticks")
    elif tif == GTC:
        raise No("TIME_IN_FORCE_INVALID", "time_in_force")
    if post_only and (kind, tif) != (LIMIT, GTC):
        raise No("TIME_IN_FORCE_INVALID", "post_only")


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
