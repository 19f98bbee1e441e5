"""`dex order` and `dex market`: every kind of order, and what is wrong in the words of the user."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from dexsdk import Key
from tests.support.command_line import call_dex
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until
from tests.support.wire import OperatorWire, Wire, buy, sell

Dex = Callable[[str], CompletedProcess[str]]
# One lot of the test's markets is 0.00001, one tick 1.
TEN = "0.00010"


def command_line(served: NodeProcess, operator: OperatorWire, home: Path, base: str) -> Dex:
    """`dex` of an account with money, and of the operator."""
    trader = operator.trader(base, "USDT")
    profile = home / served.network_id
    profile.mkdir()
    trader.key.save(profile / "key")
    (profile / "account").write_text(trader.account_id)
    options = (
        *("--address", served.grpc_address, "--network-id", served.network_id),
        *("--home", str(home), "--operator-key", str(served.operator_key_path)),
    )
    return lambda line: call_dex(*line.split(), *options)


def told(dex: Dex, line: str) -> Any:
    """What a command answers with --json."""
    done = dex(f"{line} --json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_account_of_a_node_begun_anew_is_not_shown_as_if_it_were_there(
    served: NodeProcess, operator: OperatorWire, tmp_path: Path
) -> None:
    operator.open_market("CLIN")
    dex = command_line(served, operator, tmp_path, "CLIN")
    assert "you have account" in dex("account create").stdout
    profile = tmp_path / served.network_id
    for name, text in (("account", "0001000000000000777000"), ("key", "")):
        (profile / name).unlink()
        if text:
            (profile / name).write_text(text)
    Key.generate().save(profile / "key")
    done = dex("account create")
    assert (done.returncode, "--new" in done.stderr) == (1, True), done.stderr
    assert "account " in dex("account create --new").stdout
    assert dex("account show").returncode == 0


def test_every_kind_of_order(
    served: NodeProcess, api: Wire, operator: OperatorWire, tmp_path: Path
) -> None:
    market = operator.open_market("CLIA")
    dex = command_line(served, operator, tmp_path, "CLIA")
    maker = operator.trader("CLIA", "USDT")
    changed = told(dex, f"market limits {market} --protection 50 --price-band 90")
    assert (changed["protection_ticks"], changed["price_band_ppm"]) == ("50", "900000")
    again = told(dex, f"market limits {market} --notional-min 0.0001")
    assert (again["protection_ticks"], again["notional_min_atoms"]) == ("50", "10000")
    assert "protection   50" in dex(f"market limits {market}").stdout
    api.batch(maker, sell(market, 100, 10), buy(market, 100, 10), buy(market, 99, 10))

    place = f"order place {market} sell {TEN}"
    placed = {
        "--price 110 --display 0.00002 --stp oldest --expire-at 12h": (
            "ORDER_STATUS_OPEN",
            "shows 0.00002, gtd, until",
        ),
        "--price 99 --post-only=slide": ("ORDER_STATUS_OPEN", "post only"),
        "--stop-price 90 --tif day": ("ORDER_STATUS_PARKED", "waits, stop, at 90, day"),
        "--stop-price 90 --price 89": ("ORDER_STATUS_PARKED", "waits, stop limit, at 90"),
        "--trail 20": ("ORDER_STATUS_PARKED", "waits, trailing stop, at 80, trail 20"),
        "--peg primary --peg-offset 3 --price 105": (
            "ORDER_STATUS_OPEN",
            "pegged, to primary, offset 3, limit 105",
        ),
        "--price 115 --tif at-close": ("ORDER_STATUS_PARKED", "waits, at close"),
    }
    for options, (status, _) in placed.items():
        assert told(dex, f"{place} {options}")["status"] == status, options
    pair = told(dex, f"order oco {market} sell {TEN} --price 120 --stop-price 85")
    assert [each["status"] for each in pair] == ["ORDER_STATUS_OPEN", "ORDER_STATUS_PARKED"]
    shown = dex("account show").stdout
    for conditions in (each for _, each in placed.values()):
        assert conditions in shown, shown
    assert f"or {pair[1]['order_id']}" in shown
    assert dex(f"order list --market {market}").stdout in shown
    listed = told(dex, f"order list --market {market}")
    assert [each["order_id"] for each in listed[-2:]] == [each["order_id"] for each in pair]
    assert len(listed) == len(placed) + 2
    assert told(dex, "order list --limit 3") == listed[:3]
    would = dex(f"order check {market} buy {TEN} --price 110 --min-quantity {TEN}")
    assert would.returncode == 0, would.stdout
    named = pair[1]["order_id"]
    refused = dex(f"order amend {named} --market {market} --quantity {TEN} --stop-price 84")
    assert "OCO_BROKEN" in refused.stderr
    assert told(dex, "order cancel-all --side buy") == []
    switch = told(dex, "order dead-mans-switch 60s")
    assert told(dex, "account show")["dead_mans_switch_time"] == switch["cancel_time"]
    assert dex("order dead-mans-switch off").stdout == "the switch is off\n"
    assert len(told(dex, "order cancel-all")) == 9
    assert dex("order list").stdout == "no open orders\n"
    over = dex(f"order place {market} buy {TEN} --price 100 --tif ioc").stdout
    assert over.endswith(f" is expired: 0.00000 filled, {TEN} unfilled\n"), over


def test_an_auction_and_the_operator(
    served: NodeProcess, api: Wire, operator: OperatorWire, tmp_path: Path
) -> None:
    market = operator.open_market("CLIB")
    dex = command_line(served, operator, tmp_path, "CLIB")
    assert dex(f"market auction {market}").stdout == "no auction: the market is open\n"
    told(dex, f"market status {market} opening-auction")
    assert dex(f"market auction {market}").stdout == "nothing would trade\n"
    told(dex, f"order place {market} buy {TEN} --price 100 --tif at-open")
    told(dex, f"order place {market} sell 0.00004 --price 90")
    said = "0.00004 would trade at 90, 0.00006 more to buy there\n"
    assert dex(f"market auction {market}").stdout == said
    account_id = told(dex, "account show")["account_id"]
    assert dex(f"account self-trade-group {account_id} 4").stdout == "group 4\n"
    assert told(dex, "account show")["self_trade_group"] == "4"
    counted = told(dex, f"market cancel-orders --account {account_id} --side sell")
    assert counted == {"cancelled_count": 1}
    told(dex, f"market status {market} open")
    wait_until(lambda: "open_orders" not in told(dex, "account show"), "the end of the auction")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("order place {} buy 1", "give --price, or --market, --stop-price or --trail"),
        ("order place {} buy 1 --trail 5 --peg primary", "only one of --market"),
        ("order place {} buy 1 --trail 5 --price 5", "--price goes with neither"),
        ("order place {} buy 1 --price 5 --post-only=never", "'never' is not one of"),
        ("order place {} buy 1 --price 5 --expire-at tomorrow", "'tomorrow' is not like"),
        ("order place {} buy 1 --price 5 --expire-at 2026-12-31T00:00:00", "has no zone"),
        ("order place {} buy 1 --price 5 --expire-at 5m --tif gtc", "expire_time is for GTD"),
        ("order place {} buy 1 --price 5 --display 2", "display_lots is for limit orders"),
        ("order place {} buy 1 --price 5 --peg market --peg-offset x", "'x' is no decimal"),
        (
            "order place {} buy 1 --price 5 --peg primary --peg-offset 3",
            "peg_offset_ticks is for pegged orders: not above 0 to buy",
        ),
        ("order place {} buy 1 --stop-price 5", "no protection band"),
        ("order dead-mans-switch soon", "'soon' is not like 30s"),
        ("order dead-mans-switch 25h", "timeout must be zero, or 1 second to 24 hours"),
        ("market cancel-orders", "give --account or --market, or else --all"),
        ("market limits {} --price-band 0.12345", "more than 4 decimals"),
        ("market limits {} --price-band 101", "price_band_ppm must be"),
        ("order place {} buy -0.5 --price 1", "-0.5: a number cannot be negative here"),
        ("order place {} buy 1 --peg primary", "give --price too"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    served: NodeProcess, operator: OperatorWire, tmp_path: Path, line: str, says: str
) -> None:
    market = operator.open_market("CLIC")
    done = command_line(served, operator, tmp_path, "CLIC")(line.format(market))
    assert done.returncode in (1, 2), done
    assert says in done.stderr.splitlines()[-1], done.stderr
