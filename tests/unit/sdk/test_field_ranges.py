"""A value that no message can hold is the caller's mistake, not a traceback of protobuf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dexsdk import CallerError, Client, Market, NewOrder, OffGrid, Session, Side, SyncClient
from tests.unit.sdk.conftest import ACCOUNT, KEY

MARKET = "BTC-USDC.eth"
ORDER = NewOrder(MARKET, Side.BUY, 1, 1, client_order_id=10**20)
TOO_LARGE: list[Callable[[Any], Any]] = [
    lambda client: client.place_order(ORDER),
    lambda client: client.cancel_order(client_order_id=10**20),
    lambda client: client.amend_order(quantity_lots=-(10**20), client_order_id=1),
    lambda client: client.check_order(ORDER),
    lambda client: client.transfer(ACCOUNT, "BTC", 10**20),
    lambda client: client.get_book(MARKET, 10**11),
    lambda client: client.list_trades(MARKET, start_sequence=10**20),
    lambda client: client.admin.set_fees(MARKET, maker_fee_ppm=10**11, taker_fee_ppm=1),
    lambda client: client.get_book(MARKET, "ten"),
]


@pytest.mark.parametrize("call", TOO_LARGE)
def test_blocking(sync_client: SyncClient, call: Callable[[Any], Any]) -> None:
    with pytest.raises(CallerError) as raised:
        call(sync_client)
    assert raised.value.reason == "FIELD_INVALID"


@pytest.mark.parametrize("call", TOO_LARGE)
async def test_on_trio(client: Client, call: Callable[[Any], Any]) -> None:
    async with client:
        with pytest.raises(CallerError) as raised:
            await call(client)
    assert raised.value.reason == "FIELD_INVALID"


def test_feeds(sync_client: SyncClient) -> None:
    with sync_client.stream_trades(MARKET, 10**20) as feed, pytest.raises(CallerError) as raised:
        next(feed)
    assert raised.value.reason == "FIELD_INVALID"


def test_what_is_signed_ahead() -> None:
    session = Session("triodex-test", KEY, ACCOUNT)
    with pytest.raises(CallerError) as raised:
        session.sign_action(ORDER)
    assert raised.value.reason == "FIELD_INVALID"


def test_a_market() -> None:
    with pytest.raises(CallerError) as raised:
        Market.define(
            "C-D", base_scale=8, quote_scale=8, tick_size="1", lot_size="1", maker_fee_ppm=10**11
        )
    assert raised.value.reason == "FIELD_INVALID"
    # A more exact error of the SDK keeps its kind.
    with pytest.raises(OffGrid):
        Market.define("C-D", base_scale=0, quote_scale=8, tick_size="1", lot_size="0.1")
