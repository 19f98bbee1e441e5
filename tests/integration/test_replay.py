"""`dex market replay` on a node: a stream with a known outcome, random ones, the recorded one."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import trio

from dexnode.cli.root import main
from dexnode.recorded import proof, replayer
from dexnode.recorded.proof import Party
from dexnode.recorded.replayer import replay_stream
from dexsdk import NewOrder, Side
from tests.support import recordings
from tests.support.node_process import NodeProcess

SEED = int(os.environ.get("REPLAY_SEED", "11"))
MARKET_ID = "REPLAY.BTC-REPLAY.USDT"
START_US = 1_723_161_601_000_000
EXCERPT_LINES = 15_000


def run_replay(node: NodeProcess, file: Path, speed: float = 0.0) -> dict[str, Any]:
    return trio.run(replay_stream, recordings.target(node), file, None, speed)


def known_messages() -> list[dict[str, Any]]:
    t = START_US
    return [
        recordings.depth(t, [("99.50", "1.00")], [("101.00", "2.00"), ("102.00", "1.00")]),
        recordings.trade(t + 1, 1, "101.00", "0.50", buyer_is_maker=False),
        # Takes 1.5 at 101, 1 at 102, and 0.5 that nothing in the recording shows.
        recordings.trade(t + 2, 2, "103.00", "3.00", buyer_is_maker=False),
        recordings.trade(t + 3, 3, "99.50", "0.25", buyer_is_maker=True),
        recordings.depth(t + 4, [("99.50", "0.75"), ("98.00", "0.10")], [("100.50", "4.00")]),
        recordings.depth(t + 500_000, [("98.00", "0.00")], []),
    ]


def market_file(path: Path, seed: int, count: int = 1_500) -> Path:
    """A random market: a wandering price, levels that come and go, trades at both sides."""
    chance = random.Random(seed)
    middle = 60_000_00
    messages = []
    for number in range(1, count):
        middle += chance.randrange(-40, 41)
        time_us = START_US + number * 1_000
        if chance.randrange(3):
            sides: list[list[tuple[str, str]]] = []
            for sign in (-1, 1):
                prices = {middle + sign * chance.randrange(1, 60) for _ in range(6)}
                sides.append([(_cents(each), _size(chance.randrange(0, 900))) for each in prices])
            messages.append(recordings.depth(time_us, *sides))
        else:
            price = _cents(middle + chance.randrange(-20, 21))
            size = _size(chance.randrange(1, 2_000))
            maker = bool(chance.randrange(2))
            messages.append(recordings.trade(time_us, number, price, size, buyer_is_maker=maker))
    return recordings.write(path, messages)


def _cents(price: int) -> str:
    return f"{price // 100}.{price % 100:02d}000000"


def _size(lots: int) -> str:
    return f"0.{lots:05d}000"


def require_sound(report: dict[str, Any]) -> None:
    assert report["orders"]["refused"] == {}
    assert report["book"]["differing_count"] == 0
    assert report["balanced"] is True
    divergence = report["quantity_divergence"]
    assert divergence["filled_quantity"] == divergence["recorded_quantity"]
    assert report["recording"]["trade_count"] == report["orders"]["taker_count"]
    quote = report["balances"][1]
    assert 0 < quote["fee_atoms"] == quote["deposited_atoms"] - quote["balance_atoms"]


def test_a_stream_with_a_known_outcome(node: NodeProcess, tmp_path: Path) -> None:
    file = recordings.write(tmp_path / "known.jsonl", known_messages())
    report = run_replay(node, file, speed=2.0)
    require_sound(report)
    orders = report["orders"]
    assert {name: orders[f"{name}_count"] for name in ("placed", "amended", "cancelled")} == {
        "placed": 5,
        "amended": 0,
        "cancelled": 1,
    }
    assert (orders["taker_count"], orders["synthetic_count"]) == (3, 1)
    assert (orders["synthetic_quantity"], orders["stale_count"]) == ("0.50", 0)
    assert (report["fill_count"], report["exact_trade_count"]) == (5, 2)
    price = report["price_divergence"]
    # A tick is 0.1. 1.5 filled 20 ticks away and 1.0 filled 10 away, of 3.75 in all.
    assert (price["trade_count"], price["quantity"], price["tick_size"]) == (1, "2.50", "0.1")
    assert (price["mean_ticks"], price["max_ticks"]) == ("10.666", 20)
    assert report["book"]["level_count"] == 2
    # The recording takes half a second and the replay half of that.
    assert float(report["elapsed_seconds"]) >= 0.25


def test_random_markets_again_and_again(node: NodeProcess, tmp_path: Path) -> None:
    print(f"seed {SEED}: REPLAY_SEED={SEED} pytest {__file__}")
    recorded = 0
    for seed in (SEED, SEED + 1):
        file = market_file(tmp_path / f"{seed}.jsonl.gz", seed)
        report = run_replay(node, file)
        require_sound(report)
        assert report["orders"]["synthetic_count"] > 0
        assert report["orders"]["stale_count"] > 0
        assert report["price_divergence"]["trade_count"] > 0
        with node.client() as client:
            book = client.get_book(MARKET_ID)
            market = client.get_market(MARKET_ID)
            trades = client.list_trades(MARKET_ID)
        assert not book.bids
        assert not book.asks
        lots = sum(trade.quantity_lots for trade in trades)
        new = market.format_quantity(lots - recorded)
        assert new == report["quantity_divergence"]["recorded_quantity"]
        recorded = lots


def test_an_excerpt_of_the_recorded_stream(
    recording: Callable[[str], Path], node: NodeProcess, tmp_path: Path
) -> None:
    excerpt = tmp_path / "excerpt.jsonl"
    with gzip.open(recording("binance-spot-btcusdt-20240809.jsonl.gz"), "rb") as lines:
        excerpt.write_bytes(b"".join(itertools.islice(lines, EXCERPT_LINES)))
    report = run_replay(node, excerpt)
    require_sound(report)
    assert report["orders"]["count"] > 10_000


def test_it_fails_loudly_when_an_atom_is_missing(
    node: NodeProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The proof is told of one atom more than was deposited, as if the node had lost it."""
    honest = proof.prove

    def prove(market: Any, parties: Sequence[Party], *rest: Any) -> Any:
        parties[0].deposits[market.quote_asset_id] += 1
        return honest(market, parties, *rest)

    monkeypatch.setattr(replayer, "prove", prove)
    file = recordings.write(tmp_path / "known.jsonl", known_messages())
    arguments = ["market", "replay", str(file), "--address", node.grpc_address]
    arguments += ["--network-id", node.network_id, "--operator-key", str(node.operator_key_path)]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert "do not balance" in printed.err
    report = json.loads(printed.out)
    assert report["balances"][1]["differences"] == {"liquidity": -1}


def test_a_market_in_use_is_left_alone(node: NodeProcess, tmp_path: Path) -> None:
    file = recordings.write(tmp_path / "known.jsonl", known_messages())
    run_replay(node, file)
    key, account_id = node.open_account({"REPLAY.USDT": 10**12})
    with node.client(key, account_id) as client:
        client.place_order(NewOrder(MARKET_ID, Side.BUY, 1, 1))
    with pytest.raises(click.ClickException, match="--market"):
        run_replay(node, file)
