"""The rules of trading that a user would quote, one small case each."""

from __future__ import annotations

from dexcore.commands import Deposit, SetMarketStatus
from dexcore.events import Trade
from dexcore.items import IOC
from dexcore.ledger import FEE_ACCOUNT_KEY
from dexcore.market import MarketStatus
from dexcore.reasons import Reason
from dexcore.results import OrderStatus, Outcome
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SECOND_NS,
    SELL,
    Trader,
    World,
    amend,
    orders,
    place,
    small_world,
)

# Of the first market: 7 atoms a tick and lot, takers pay 56,789 ppm.
NOTIONAL_ATOMS = 10 * 100 * 7
TAKER_FEE_ATOMS = 398  # 397.523 rounded up


def makers(outcome: Outcome) -> list[int]:
    """Accounts whose resting orders were filled, in order."""
    return [event.maker_account_key for event in outcome.events if isinstance(event, Trade)]


def balance(world: World, trader: Trader, asset_id: str) -> tuple[int, int]:
    """(available, held) atoms."""
    ledger = world.exchange.ledger
    cell = ledger.cell(trader.account_key, ledger.assets_by_id[asset_id])
    return cell.available, cell.held


def test_a_fee_is_rounded_up() -> None:
    world = small_world()
    seller, buyer = world.traders[:2]
    world.order(seller, place(SELL, 100, 10))
    [result] = world.order(buyer, place(BUY, 100, 10, tif=IOC)).items
    assert [fill[3] for fill in result.fills] == [TAKER_FEE_ATOMS]
    ledger = world.exchange.ledger
    # The maker's share is 8.638 atoms, rounded up too.
    assert ledger.cell(FEE_ACCOUNT_KEY, ledger.assets_by_id["QQQ"]).available == TAKER_FEE_ATOMS + 9


def test_a_buy_reserves_its_fee() -> None:
    world = small_world(traders=1)
    poor, rich = world.open_account(), world.open_account()
    for trader, atoms in ((poor, -1), (rich, 0)):
        amount_atoms = NOTIONAL_ATOMS + TAKER_FEE_ATOMS + atoms
        reference = f"for {trader.account_key}"
        world.do(Deposit(OPERATOR, trader.account_key, "QQQ", amount_atoms, reference))
    [refused] = world.order(poor, place(BUY, 100, 10, tif=IOC)).items
    assert refused.reason == Reason.INSUFFICIENT_FUNDS
    [taken] = world.order(rich, place(BUY, 100, 10, tif=IOC)).items
    assert taken.status == OrderStatus.EXPIRED


def test_first_come_is_first_served() -> None:
    world = small_world()
    first, second, taker = world.traders
    world.order(first, place(SELL, 100, 5))
    world.order(second, place(SELL, 100, 5))
    outcome = world.order(taker, place(BUY, 100, 7, tif=IOC))
    assert makers(outcome) == [first.account_key, second.account_key]


def test_a_larger_order_goes_to_the_back_and_a_smaller_one_stays() -> None:
    world = small_world()
    first, second, taker = world.traders
    ids = [
        world.order(trader, place(SELL, 100, 5)).items[0].order_key for trader in (first, second)
    ]
    world.order(first, amend(4, order_key=ids[0]))
    kept = world.order(taker, place(BUY, 100, 1, tif=IOC))
    assert makers(kept) == [first.account_key]
    world.order(first, amend(9, order_key=ids[0]))
    moved = world.order(taker, place(BUY, 100, 1, tif=IOC))
    assert makers(moved) == [second.account_key]


def test_a_post_only_order_never_takes() -> None:
    world = small_world()
    world.order(world.traders[0], place(SELL, 100, 5))
    [refused] = world.order(world.traders[1], place(BUY, 100, 5, post_only=True)).items
    assert refused.reason == Reason.POST_ONLY_WOULD_TAKE
    [resting] = world.order(world.traders[1], place(BUY, 99, 5, post_only=True)).items
    assert resting.status == OrderStatus.OPEN


def test_only_an_open_market_takes_orders() -> None:
    world = small_world()
    for status in (MarketStatus.CANCEL_ONLY, MarketStatus.HALTED):
        world.do(SetMarketStatus(OPERATOR, 0, status))
        [refused] = world.order(world.traders[0], place()).items
        assert refused.reason == Reason.MARKET_NOT_OPEN
    world.do(SetMarketStatus(OPERATOR, 0, MarketStatus.OPEN))
    assert world.order(world.traders[0], place()).items[0].status == OrderStatus.OPEN


def test_a_deposit_counts_once() -> None:
    world = small_world()
    trader = world.traders[0]
    deposit = Deposit(OPERATOR, trader.account_key, "QQQ", 500, "transfer 1")
    before = balance(world, trader, "QQQ")[0]
    first = world.do(deposit)
    again = world.do(deposit)
    assert balance(world, trader, "QQQ")[0] == before + 500
    assert (again.repeated, again.sequence) == (True, first.sequence)
    other = world.do(deposit._replace(amount_atoms=501))
    assert other.reason == Reason.REFERENCE_REUSED


def test_a_retried_payload_takes_effect_once() -> None:
    world = small_world()
    trader = world.traders[0]
    command = orders(trader, 1, [place(SELL, 100, 5)])
    first = world.do(command)
    world.time_ns += 59 * SECOND_NS
    again = world.do(command)
    assert balance(world, trader, "AAA")[1] == 5 * 1_000
    assert (again.repeated, again.sequence, again.items) == (True, first.sequence, first.items)


def test_a_nonce_carries_one_payload() -> None:
    world = small_world()
    world.do(orders(world.traders[0], 1, [place(SELL, 100, 5)]))
    other = world.do(orders(world.traders[0], 1, [place(SELL, 101, 5)]))
    assert other.reason == Reason.NONCE_REUSED


def test_a_payload_has_no_effect_from_its_expiry_on() -> None:
    world = small_world()
    command = orders(world.traders[0], 1, [place(SELL, 100, 5)])
    world.time_ns = command.expire_time_ns
    outcome = world.do(command)
    assert outcome.reason == Reason.PAYLOAD_EXPIRED
    assert balance(world, world.traders[0], "AAA")[1] == 0


def test_an_account_may_trade_with_itself() -> None:
    """Unless an order asks for self-trade prevention: docs/reference/order-semantics.md."""
    world = small_world()
    [trader] = world.traders[:1]
    world.order(trader, place(SELL, 100, 10))
    outcome = world.order(trader, place(BUY, 100, 10, tif=IOC))
    assert makers(outcome) == [trader.account_key]
