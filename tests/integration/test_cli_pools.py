"""`dex pool` and `dex swap` from the first provider to the last, and over a crash of the node."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.support.command_line import call_dex
from tests.support.markets import MARKET_ID, open_market, rich_account
from tests.support.node_process import NodeProcess

Dex = Callable[[str], CompletedProcess[str]]


def command_line(node: NodeProcess, home: Path) -> Dex:
    """`dex` of an account with money, and of the operator."""
    profile = home / node.network_id
    profile.mkdir(parents=True)
    key, account_id = rich_account(node)
    key.save(profile / "key")
    (profile / "account").write_text(account_id)

    # The node's address is another after each start.
    def dex(line: str) -> CompletedProcess[str]:
        return call_dex(
            *line.split(),
            *("--address", node.grpc_address, "--network-id", node.network_id),
            *("--home", str(home), "--operator-key", str(node.operator_key_path)),
        )

    return dex


def said(dex: Dex, line: str) -> str:
    done = dex(line)
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(dex: Dex, line: str) -> Any:
    return json.loads(said(dex, f"{line} --json"))


def everything(dex: Dex) -> tuple[Any, Any, Any]:
    """All pools, and the account's positions and balances."""
    return (
        told(dex, "pool list"),
        told(dex, "pool positions"),
        told(dex, "account show")["balances"],
    )


def wrong(dex: Dex, line: str) -> str:
    done = dex(line)
    assert done.returncode, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def mistakes_are_told_in_words(dex: Dex, shares: str, ranges: str) -> None:
    upside_down = f"pool add {ranges} --base 1 --quote 2500 --lower 2900 --upper 2400"
    assert "--upper 2400 must be above --lower 2900" in wrong(dex, upside_down)
    too_much = wrong(dex, f"pool swap {shares} buy --get 1000")
    assert "NO_LIQUIDITY" in too_much
    assert "the pool has too little" in too_much
    assert "are in its shares" in wrong(dex, f"pool remove {shares} --fees-only")
    nothing = f"pool remove {ranges} --percent 0.0000000000000001 --ticks 77820:78660"
    assert "--fees-only" in wrong(dex, nothing)
    assert "comes to nothing" in wrong(dex, nothing)


def a_part_has_no_price(dex: Dex, market_id: str) -> None:
    done = dex(f"swap {market_id} sell 100000")
    assert (done.returncode, "would be refused" in done.stdout) == (1, True)
    assert "of 100000.0000 ETH: not the whole of it" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("order ("))
    assert row.split(")")[1].split() == ["-"] * 4, "the price of a part, as that of the whole"
    assert dex(f"swap {market_id} sell 100000 --json").returncode == 1


def test_a_pool_from_the_command_line_and_over_a_crash(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node").start()
    try:
        open_market(node)
        other = "ETH-USDC.eth"
        dex = command_line(node, tmp_path / "home")
        said(dex, f"market create {other} --tick-size 0.01 --lot-size 0.0001")
        assert "NO_POOL" in wrong(dex, f"pool show {MARKET_ID}")
        assert "--price" in wrong(dex, f"pool create {other} --kind concentrated --fee 0.3")
        create = f"pool create {MARKET_ID} --kind constant-product --fee 0.3"
        assert "shares" in said(dex, create)
        said(dex, f"pool create {other} --kind concentrated --fee 0.3 --price 2500")

        gave = said(dex, f"pool add {MARKET_ID} --base 1 --quote 61000")
        assert gave.startswith("gave 1.00000000 BTC and 61000.00000000 USDC.eth for ")
        assert "61000" in said(dex, "pool list")
        # As `dex pool --help` has it.
        dry = said(dex, f"pool swap {MARKET_ID} buy --pay 610 --dry-run")
        assert dry == "would have paid 610.00000000 USDC.eth for 0.00987158 BTC\n"
        assert "SLIPPAGE" not in said(dex, f"pool swap {MARKET_ID} buy --pay 610 --slippage 0")
        sold = said(dex, f"pool swap {MARKET_ID} sell --get 610")
        assert "for 610.00000000 USDC.eth" in sold
        assert "--pay or --get" in wrong(dex, f"pool swap {MARKET_ID} buy")

        assert "--lower and --upper" in wrong(dex, f"pool add {other} --base 1 --quote 2500")
        node.fund(told(dex, "account show")["account_id"], "ETH", 10**12)
        within = f"pool add {other} --base 10 --quote 25000 --lower 2400 --upper 2600"
        assert "in pool ticks 77820:78660" in said(dex, within)
        said(dex, f"pool add {other} --base 10 --quote 25000 --lower 2000 --upper 3000")
        assert "--ticks" in wrong(dex, f"pool remove {other} --percent 50")
        assert "nothing" in wrong(dex, f"pool remove {other} --percent 50 --ticks 60:120")

        mistakes_are_told_in_words(dex, MARKET_ID, other)

        shown = said(dex, f"swap {other} buy 0.5")
        assert "better: the order" in shown
        assert "pool 0.5000" in shown
        assert "beyond --limit" in wrong(dex, f"swap {other} buy 0.5 --take --limit 2000")
        assert "taken by order" in said(dex, f"swap {other} buy 0.5 --take --limit 4000")
        a_part_has_no_price(dex, other)

        before = everything(dex)
        assert [len(part) for part in before[:2]] == [2, 3]
        node.kill()
        node.start()
        after = everything(dex)
        assert after == before, "a crash changed pools or positions"

        said(dex, f"pool remove {MARKET_ID} --percent 100")
        fees = said(dex, f"pool remove {other} --fees-only --ticks 77820:78660")
        assert fees.startswith("got 0.00000000 ETH and ")
        assert "fees included" in said(dex, f"pool remove {other} --percent 50 --ticks 77820:78660")
        left = told(dex, "pool positions")
        assert [each["market_id"] for each in left] == [other, other]
    finally:
        node.kill()
