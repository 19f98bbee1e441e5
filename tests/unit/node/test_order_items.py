"""Orders of the contract as items of an order command: nothing that was said is lost."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from dex.errors.v1 import errors_pb2
from dex.orders.v1 import signed_payload_pb2 as wire
from dexnode.errors import error_info, refuse, rejection
from dexnode.ids import IdFormat
from dexnode.order_items import OrderItems
from dexnode.times import duration_ns_of
from dexrpc import RpcError

# The layout as docs/reference/journal-format.md has it, not as the product does.
ITEM = struct.Struct("<BBBBBxHqqqq")
TERMS = struct.Struct("<qqqqqqBB6x")
POST_ONLY, SLIDE, HAS_TERMS, OCO = 1, 2, 4, 8
NO_MARKET = 0xFFFF


MARKETS: Any = {"BTC-USDT": SimpleNamespace(index=5)}
ITEMS = OrderItems(IdFormat(1, 1), MARKETS)
PLAIN: dict[str, Any] = {
    "market_id": "BTC-USDT",
    "side": wire.SIDE_SELL,
    "type": wire.ORDER_TYPE_LIMIT,
    "time_in_force": wire.TIME_IN_FORCE_GTC,
    "price_ticks": 100,
    "quantity_lots": 7,
    "client_order_id": 9,
}


def packed(**parts: Any) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The item of an order that is plain but for `parts`, and its terms."""
    terms: list[bytes] = []
    item = ITEMS.pack("place", wire.NewOrder(**{**PLAIN, **parts}), terms)
    return ITEM.unpack(item), [TERMS.unpack(each) for each in terms]


def test_a_plain_order_has_no_terms() -> None:
    plain: Any = ((1, 2, 1, 1, 0, 5, 100, 7, 9, 0), [])
    assert packed() == plain
    # Said, but with nothing in it.
    assert packed(terms=wire.OrderTerms()) == plain


def test_every_term_has_its_place() -> None:
    terms = wire.OrderTerms(
        display_lots=1,
        min_lots=2,
        trigger_price_ticks=3,
        trail_ticks=4,
        peg_offset_ticks=-5,
        self_trade_prevention=wire.SELF_TRADE_PREVENTION_DECREMENT,
        peg=wire.PEG_REFERENCE_MIDPOINT,
        slide=True,
        oco=True,
    )
    terms.expire_time.FromNanoseconds(1_790_000_000_123_456_789)
    assert {field.name for field, _ in terms.ListFields()} == {
        field.name for field in wire.OrderTerms.DESCRIPTOR.fields
    }, "a new term is in no test"
    item, said = packed(post_only=True, terms=terms)
    assert item[4] == POST_ONLY | SLIDE | HAS_TERMS | OCO
    assert said == [(1, 2, 3, 4, -5, 1_790_000_000_123_456_789, 4, 3)]


def test_flags_alone_need_no_terms() -> None:
    item, said = packed(post_only=True, terms=wire.OrderTerms(slide=True))
    assert (item[4], said) == (POST_ONLY | SLIDE, [])
    item, said = packed(terms=wire.OrderTerms(oco=True))
    assert (item[4], said) == (OCO, [])


@pytest.mark.parametrize("number", [-1, 256, 2**31 - 1])
def test_a_mode_of_a_later_contract_is_not_none(number: int) -> None:
    """Whoever asks for what this node does not know must not trade as if nothing was said."""
    terms = wire.OrderTerms(self_trade_prevention=number, peg=number)  # type: ignore[arg-type]
    _, said = packed(terms=terms)
    assert said[0][6:] == (255, 255)
    cancel_all = wire.OrderCancelAll(side=number)  # type: ignore[arg-type]
    assert ITEM.unpack(ITEMS.pack("cancel_all", cancel_all, []))[1] == 255


def test_terms_of_a_batch_stand_in_the_order_of_its_items() -> None:
    batch = wire.Batch()
    batch.items.add(place=wire.NewOrder(**PLAIN, terms=wire.OrderTerms(display_lots=1)))
    batch.items.add(place=wire.NewOrder(**PLAIN))
    batch.items.add(cancel=wire.OrderCancel(client_order_id=3))
    batch.items.add(
        amend=wire.OrderAmend(client_order_id=4, quantity_lots=2, trigger_price_ticks=50)
    )
    terms: list[bytes] = []
    items = list(ITEM.iter_unpack(ITEMS.pack_batch(batch, terms)))
    assert [(item[0], item[4]) for item in items] == [
        (1, HAS_TERMS),
        (1, 0),
        (2, 0),
        (3, HAS_TERMS),
    ]
    assert [TERMS.unpack(each)[:3] for each in terms] == [(1, 0, 0), (0, 0, 50)]


def test_cancel_all_may_name_a_side() -> None:
    cancel_all = wire.OrderCancelAll(market_id="BTC-USDT", side=wire.SIDE_BUY)
    assert ITEM.unpack(ITEMS.pack("cancel_all", cancel_all, [])) == (4, 1, 0, 0, 0, 5, 0, 0, 0, 0)
    item = ITEM.unpack(ITEMS.pack("cancel_all", wire.OrderCancelAll(), []))
    assert item == (4, 0, 0, 0, 0, NO_MARKET, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(-1, 0), (0, -1), (0, 10**9), (2**63 - 1, 0), (10**10, 0)]
)
def test_what_is_no_duration_is_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(RpcError) as raised:
        duration_ns_of(Duration(seconds=seconds, nanos=nanos), "timeout")
    info = error_info(raised.value)
    assert info is not None
    assert (info.reason, info.metadata["field"]) == ("FIELD_INVALID", "timeout")


def test_a_refused_field_says_what_it_must_be() -> None:
    invalid = errors_pb2.ERROR_REASON_FIELD_INVALID
    assert rejection(invalid, "display_lots").message.startswith("display_lots is for limit orders")
    assert refuse(invalid, field="trail_ticks").message.startswith("trail_ticks is for trailing")
    assert rejection(invalid, "nothing_known").message == rejection(invalid).message
