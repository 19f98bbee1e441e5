"""The core's enumerations have the contract's numbers, so the edge maps them without a table."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest

from dex.errors.v1 import errors_pb2
from dex.kline.v1 import kline_query_pb2
from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2, signed_payload_pb2
from dexcore import items
from dexcore.book import Side
from dexcore.limits import BATCH_ITEMS_MAX, FEE_PPM_MAX, ITEM_INDEX_LIMIT
from dexcore.market import MarketKind, MarketStatus
from dexcore.reasons import Reason
from dexcore.results import OrderStatus
from dexkline import Interval


def numbers(enum: Any, prefix: str) -> dict[str, int]:
    """The contract's values by name, without prefix and without the unspecified one."""
    return {name.removeprefix(prefix): number for name, number in enum.items() if number}


def ours(prefix: str) -> dict[str, int]:
    """The core's constants with this prefix, without the one for none."""
    return {
        name.removeprefix(prefix): number
        for name, number in vars(items).items()
        if name.startswith(prefix) and number
    }


@pytest.mark.parametrize(
    ("core", "theirs", "prefix"),
    [
        (Side, signed_payload_pb2.Side, "SIDE_"),
        (OrderStatus, order_intake_pb2.OrderStatus, "ORDER_STATUS_"),
        (MarketStatus, matching_pb2.MarketStatus, "MARKET_STATUS_"),
        (MarketKind, matching_pb2.MarketKind, "MARKET_KIND_"),
    ],
)
def test_enumerations_are_the_contracts(core: type[IntEnum], theirs: Any, prefix: str) -> None:
    assert {value.name: int(value) for value in core if value} == numbers(theirs, prefix)


def test_reasons_are_among_the_contracts() -> None:
    theirs = numbers(errors_pb2.ErrorReason, "ERROR_REASON_")
    known = {reason.name: int(reason) for reason in Reason if reason}
    assert known.items() <= theirs.items()
    # All that is about accounts, markets and orders is the core's to say.
    told = (*range(40, 100), *range(120, 140))
    assert {number for number in theirs.values() if number in told} <= set(known.values())


def test_intervals_are_the_contracts() -> None:
    theirs = numbers(kline_query_pb2.Interval, "INTERVAL_")
    assert {interval.label.upper(): int(interval) for interval in Interval} == theirs


def test_order_types_and_times_in_force_are_the_contracts() -> None:
    assert numbers(signed_payload_pb2.OrderType, "ORDER_TYPE_") == ours("TYPE_")
    lives = ("GTC", "IOC", "FOK", "DAY", "GTD", "AT_OPEN", "AT_CLOSE")
    assert numbers(signed_payload_pb2.TimeInForce, "TIME_IN_FORCE_") == {
        name: getattr(items, name) for name in lives
    }


def test_what_orders_may_add_is_the_contracts() -> None:
    modes = numbers(signed_payload_pb2.SelfTradePrevention, "SELF_TRADE_PREVENTION_")
    assert modes == ours("STP_")
    assert numbers(signed_payload_pb2.PegReference, "PEG_REFERENCE_") == ours("PEG_")


def test_limits_fit_each_other() -> None:
    assert BATCH_ITEMS_MAX < ITEM_INDEX_LIMIT
    assert FEE_PPM_MAX == 100_000
