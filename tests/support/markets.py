"""The market most tests trade in."""

from __future__ import annotations

from dexsdk import Key, Market, MarketKind
from tests.support.node_process import NodeProcess

MARKET_ID = "BTC-USDC.eth"
PLENTY_ATOMS = 10**15


def btc_market(maker_fee_ppm: int = 100, taker_fee_ppm: int = 200) -> Market:
    """BTC against USDC: tick 0.01, lot 0.00001, both ledgers with 8 decimals."""
    return Market.define(
        MARKET_ID,
        base_scale=8,
        quote_scale=8,
        tick_size="0.01",
        lot_size="0.00001",
        maker_fee_ppm=maker_fee_ppm,
        taker_fee_ppm=taker_fee_ppm,
        kind=MarketKind.ORDER_BOOK,
    )


def open_market(node: NodeProcess) -> Market:
    """Create the market on a node."""
    with node.operator() as operator:
        created: Market = operator.admin.create_market(btc_market())
    return created


def rich_account(node: NodeProcess) -> tuple[Key, str]:
    """An account with plenty of both assets."""
    return node.open_account({"BTC": PLENTY_ATOMS, "USDC.eth": PLENTY_ATOMS})
