"""The exchange against its naive twin: results, trades, balances and books after every command."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from dexcore.commands import Deposit, Item, SetFees, SetMarketStatus, Transfer, Withdraw
from tests.unit.core.beside_twin import Pair
from tests.unit.core.exchanges import (
    ASSETS,
    OPERATOR,
    SECOND_NS,
    START_NS,
    CommandMaker,
    amend,
    cancel,
    cancel_all,
    orders,
    place,
    seed_of,
)

RUNS, COMMANDS = 12, 1_800

traders = st.integers(0, 2)
sides = st.sampled_from((1, 2))
prices = st.sampled_from((90, 95, 99, 100, 101, 105, 110))
sizes = st.sampled_from((1, 2, 3, 10, 20, 50))
fee_rates = st.sampled_from((0, 1, 333, 99_999, 100_000))


def test_random_commands_match_the_twin() -> None:
    seed = seed_of("tests/property/test_exchange_twin.py -k random_commands")
    for run in range(RUNS):
        pair = Pair()
        maker = CommandMaker(random.Random(f"{seed} {run}"), pair.exchange, pair.traders)
        for step in range(COMMANDS):
            time_ns, command = maker.next()
            try:
                pair.apply(time_ns, command)
            except Exception:
                print(f"run {run}, step {step}: {command}")
                raise


class Beside(RuleBasedStateMachine):
    """Hypothesis chooses the commands and shrinks what fails to the shortest run."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(traders=3)
        self.time_ns = START_NS
        self.nonce = 0
        self.reference = 0

    def _send(self, who: int, *items: Item) -> None:
        self.nonce += 1
        trader = self.pair.traders[who]
        self.pair.apply(self.time_ns, orders(trader, self.nonce, items, now_ns=self.time_ns))

    def _order(self, draw: st.DataObject, who: int) -> dict[str, int]:
        """Names one open order of the trader, or none that exists."""
        owner = self.pair.traders[who].account_key
        keys = [order.key for order in self.pair.twin.open_orders(owner)]
        return {"order_key": draw.draw(st.sampled_from([*keys, 1]))}

    @rule(
        who=traders,
        side=sides,
        price=prices,
        lots=sizes,
        tif=st.sampled_from((1, 1, 1, 2, 3)),
        post_only=st.booleans(),
        market=st.integers(0, 2),
        client_id=st.integers(0, 4),
    )
    def place(self, who: int, **terms: Any) -> None:
        fields = {
            "side": terms["side"],
            "price_ticks": terms["price"],
            "quantity_lots": terms["lots"],
        }
        names = ("tif", "post_only", "market", "client_id")
        self._send(who, place(**fields, **{name: terms[name] for name in names}))

    @rule(who=traders, side=sides, lots=sizes, tif=st.sampled_from((2, 3)))
    def place_market(self, who: int, side: int, lots: int, tif: int) -> None:
        self._send(who, place(side, 0, lots, order_type=2, tif=tif))

    @rule(who=traders, draw=st.data(), lots=sizes, price=st.one_of(st.just(0), prices))
    def amend(self, who: int, draw: st.DataObject, lots: int, price: int) -> None:
        self._send(who, amend(lots, price, **self._order(draw, who)))

    @rule(who=traders, draw=st.data())
    def cancel(self, who: int, draw: st.DataObject) -> None:
        self._send(who, cancel(**self._order(draw, who)))

    @rule(who=traders, market=st.sampled_from((0, 1, 0xFFFF)))
    def cancel_all(self, who: int, market: int) -> None:
        self._send(who, cancel_all(market))

    @rule(who=traders, whom=traders, asset_id=st.sampled_from(ASSETS), atoms=st.integers(0, 10**5))
    def transfer(self, who: int, whom: int, asset_id: str, atoms: int) -> None:
        self.nonce += 1
        trader, other = self.pair.traders[who], self.pair.traders[whom]
        head = (trader.account_key, self.nonce, self.time_ns + SECOND_NS, bytes(16))
        command = Transfer(*head, trader.public_key, other.account_key, asset_id, atoms)
        self.pair.apply(self.time_ns, command)

    @rule(kind=st.sampled_from((Deposit, Withdraw)), who=traders, atoms=st.integers(1, 10**6))
    def book(self, kind: type[Deposit | Withdraw], who: int, atoms: int) -> None:
        self.reference += 1
        owner = self.pair.traders[who].account_key
        self.pair.apply(self.time_ns, kind(OPERATOR, owner, "QQQ", atoms, str(self.reference)))

    @rule(market=st.integers(0, 2), fees=st.tuples(fee_rates, fee_rates))
    def set_fees(self, market: int, fees: tuple[int, int]) -> None:
        self.pair.apply(self.time_ns, SetFees(OPERATOR, market, *fees))

    @rule(market=st.integers(0, 2), status=st.sampled_from((1, 1, 1, 2, 3)))
    def set_status(self, market: int, status: int) -> None:
        self.pair.apply(self.time_ns, SetMarketStatus(OPERATOR, market, status))

    @rule(step_ns=st.sampled_from((1, SECOND_NS, 301 * SECOND_NS)))
    def wait(self, step_ns: int) -> None:
        self.time_ns += step_ns


Beside.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBeside = Beside.TestCase
