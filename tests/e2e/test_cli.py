"""The command line against a running demo: the five lines of `dex --help`, JSON, mistakes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from dexnode.cli import main
from dexnode.cli.root import COMMANDS, dex
from dexsdk import Market, NewOrder, Side
from tests.support.markets import open_market, rich_account
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until

DEX = (sys.executable, "-m", "dexnode")
MARKET = "BTC-USDC.eth"
START_SECONDS = 60.0
# Usage, a hint and the error are what click prints; ours is one line.
ERROR_LINES_MAX = 5


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Demo:
    """`dex demo --no-top` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "DEX_GRPC__PORT": "0",
            "DEX_FLIGHT__PORT": "0",
            "DEX_METRICS__PORT": "0",
            "DEX_HOME": str(folder / "home"),
        }
        self._out, self._err = folder / "demo.out", folder / "demo.err"
        with self._out.open("wb") as out, self._err.open("wb") as errors:
            self._process = subprocess.Popen(
                [*DEX, "demo", "--no-top"],
                cwd=folder,
                env=self.environment,
                stdout=out,
                stderr=errors,
            )

    def wait_ready(self) -> None:
        """Wait for the welcome and the first trades of the bots."""
        wait_until(self._welcomed, "the demo's welcome", START_SECONDS)
        wait_until(
            lambda: self.run("kline", "get", MARKET, "1s", "--json").out.startswith("[{"),
            "trades of the bots",
            START_SECONDS,
        )

    def _welcomed(self) -> bool:
        assert self._process.poll() is None, self._err.read_text()
        found = re.search(r"^\s+gRPC\s+(\S+)$", self._out.read_text(), re.MULTILINE)
        if found:
            self.environment["DEX_ADDRESS"] = found[1]
        return found is not None

    def stop(self) -> None:
        """Ctrl-C, as its user would."""
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(40) in {0, 1, 130}

    def shell(self, line: str) -> Answer:
        """Run a line as its user would: `dex ...`, in a process of its own."""
        words = shlex.split(line)
        assert words[0] == "dex"
        done = subprocess.run(
            [*DEX, *words[1:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def run(self, *arguments: str, **environment: str) -> Answer:
        """The same in this process, which is quicker."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in {**self.environment, **environment}.items():
                patch.setenv(name, value)
            code: Any = 0
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main(list(arguments))
                except SystemExit as end:
                    code = end.code
        return Answer(code, out.getvalue(), err.getvalue())

    def json(self, *arguments: str) -> Any:
        """A command's answer with --json."""
        answer = self.run(*arguments, "--json")
        assert answer.code == 0, answer
        return json.loads(answer.out)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo"))
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def trader(demo: Demo) -> Demo:
    """The demo, with an account of one's own that has bought something."""
    lines = re.findall(r"^\s+(dex .*?)\s{2,}", str(dex.help), re.MULTILINE)
    assert lines[0] == "dex demo"
    assert len(lines) == 5
    answers = [demo.shell(line) for line in lines[1:]]
    assert [answer.code for answer in answers] == [0] * 4, answers
    created, given, placed, shown = (answer.out for answer in answers)
    account_id = re.findall(r"account ([0-9a-f]{22})", created)[0]
    assert f"{account_id} got" in given
    assert re.search(r"order [0-9a-f]{22} is filled: 0.010* filled, 0.0* open", placed), placed
    assert account_id in shown
    assert re.search(r"^BTC\s+\S+", shown, re.MULTILINE)
    return demo


def test_the_five_lines_of_the_help(trader: Demo) -> None:
    balances = {each["asset_id"]: each for each in trader.json("account", "show")["balances"]}
    assert int(balances["BTC"]["available_atoms"]) > 0
    kinds = {entry["kind"] for entry in trader.json("account", "ledger")}
    assert {"LEDGER_ENTRY_KIND_DEPOSIT", "LEDGER_ENTRY_KIND_TRADE"} <= kinds


def test_json_everywhere(trader: Demo) -> None:
    (market,) = (m for m in trader.json("market", "list") if m["market_id"] == MARKET)
    assert market["tick_size"]
    book = trader.json("market", "book", MARKET)
    assert book["bids"]
    assert book["asks"]
    lines = trader.json("kline", "get", MARKET, "1m", "--limit", "3")
    assert lines[0]["market_id"] == MARKET
    placed = trader.json("order", "place", MARKET, "buy", "0.001", "--price", "1")
    assert placed["status"] == "ORDER_STATUS_OPEN"
    checked = trader.json("order", "check", MARKET, "buy", "0.001", "--price", "1")
    assert int(checked["reserve_atoms"]) > 0
    order_id = placed["order_id"]
    amend = ("order", "amend", order_id, "--market", MARKET, "--quantity", "0.002")
    assert trader.json(*amend)["order_id"] == order_id
    assert trader.json("order", "cancel", order_id)["status"] == "ORDER_STATUS_CANCELLED"
    trader.json("order", "place", MARKET, "buy", "0.001", "--price", "1", "--client-order-id", "9")
    assert len(trader.json("order", "cancel-all")) == 1
    account_id = trader.json("account", "create")["account_id"]
    assert trader.json("account", "keys")["account_id"] == account_id
    booked = trader.json("account", "deposit", account_id, "BTC", "1.5", "--reference", "cli-1")
    assert int(booked["applied"]["sequence"]) > 0
    assert trader.json("account", "withdraw", account_id, "BTC", "0.5")["reference"]
    assert "authorization" in trader.json("token", "--operator")
    assert trader.json("demo", "faucet")["account_id"] == account_id
    fees = trader.json("market", "fees", MARKET, "--maker-fee-ppm", "10", "--taker-fee-ppm", "20")
    assert fees["maker_fee_ppm"] == 10
    assert trader.json("market", "status", MARKET, "open")["status"] == "MARKET_STATUS_OPEN"
    assert trader.json("node", "status")["demo"] is True
    assert trader.json("node", "snapshot")["state_hash"]
    assert {"check", "verdict", "text"} <= {*trader.json("doctor")[0]}


def test_what_people_read(trader: Demo) -> None:
    for arguments, shown in {
        ("market", "list"): MARKET,
        ("market", "book", MARKET): "price",
        ("kline", "get", MARKET, "1m"): "open time",
        ("account", "ledger"): "deposit",
        ("account", "keys"): "",
        ("node", "status"): "event_hash",
        ("order", "check", MARKET, "buy", "0.001", "--price", "1"): "would reserve",
    }.items():
        answer = trader.run(*arguments)
        assert answer.code == 0, answer
        assert shown in answer.out, answer


def test_a_ledger_shows_units_of_money_that_is_gone(trader: Demo) -> None:
    account_id = trader.json("account", "create")["account_id"]
    trader.json("demo", "faucet")
    held = trader.json("account", "show")["balances"][-1]
    units = f"{Decimal(held['available_atoms']).scaleb(-held['scale']).normalize():f}"
    trader.json("account", "withdraw", account_id, held["asset_id"], units)
    left = {each["asset_id"] for each in trader.json("account", "show")["balances"]}
    assert held["asset_id"] not in left
    answer = trader.run("account", "ledger", "--limit", "1")
    assert f"-{units} " in answer.out, answer


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command below a group."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def test_every_command_explains_itself(demo: Demo) -> None:
    paths = list(commands(dex))
    assert len(paths) > 30
    assert {path[0] for path in paths} == set(COMMANDS)
    for path in ((), *paths):
        answer = demo.run(*path, "--help")
        assert answer.code == 0, path
        assert answer.out.startswith("Usage: dex"), path
        assert len(answer.out.splitlines()) > 4, path


WRONG: list[tuple[str, int]] = [
    ("order place NO-SUCH buy 1 --market", 1),
    (f"order place {MARKET} buy 0.00000001 --price 1", 1),
    (f"order place {MARKET} buy 0.01 --price 0.00001", 1),
    (f"order place {MARKET} buy 1000000 --price 1000000", 1),
    (f"order place {MARKET} buy -- -1 --market", 2),
    (f"order place {MARKET} buy -1 --market", 2),
    (f"order place {MARKET} buy 0 --price 1", 1),
    (f"order place {MARKET} buy NaN --market", 2),
    (f"order place {MARKET} buy Infinity --market", 2),
    (f"order place {MARKET} buy 1e60 --market", 2),
    (f"order place {MARKET} buy 1e18 --price 1", 1),
    (f"order place {MARKET} buy 1", 2),
    (f"order place {MARKET} buy 1 --price 1 --market", 2),
    (f"order place {MARKET} hold 1 --market", 2),
    (f"order place {MARKET} buy much --market", 2),
    (f"order place {MARKET} buy 0.01 --market --tif gtc", 1),
    (f"order place {MARKET} sell 0.01 --stop-price 0 --price 50000", 2),
    (f"order place {MARKET} sell 0.01 --trail 0", 2),
    (f"order place {MARKET} buy 0.01 --price 61000 --display 0", 2),
    (f"order oco {MARKET} sell 0.01 --price 90000 --stop-price 0", 2),
    (f"swap {MARKET} buy 0.01 --limit 61000", 2),
    ("order cancel", 2),
    ("order cancel 0000000000000000000000", 1),
    ("order cancel not-an-id", 1),
    (f"order amend --market {MARKET} --quantity 1", 2),
    (f"order place {MARKET} buy 0.01 --price 61000 --client-order-id 99999999999999999999", 2),
    (f"order amend --client-order-id 5 --market {MARKET} --quantity 1", 1),
    ("account deposit 0000000000000000000000 BTC 1", 1),
    ("account deposit 0000000000000000000000 NONE 1", 1),
    ("account deposit 0000000000000000000000 BTC NaN", 2),
    ("account deposit 0000000000000000000000 BTC 1e-30", 1),
    ("account transfer 0000000000000000000000 BTC 1e30", 1),
    ("account show --home empty-home", 1),
    ("account show --network-id another", 1),
    ("account create --network-id another --home other-home", 1),
    ("account show --address 127.0.0.1:1", 1),
    ("account show --address nonsense", 1),
    ("market book NO-SUCH", 1),
    ("market book", 2),
    (f"market book {MARKET} --depth 99999999999", 2),
    (f"market fees {MARKET} --maker-fee-ppm 99999999999 --taker-fee-ppm 1", 2),
    ("market create C-D --tick-size 1 --lot-size 1 --maker-fee-ppm 99999999999", 2),
    ("market status NO-SUCH open", 1),
    (f"market status {MARKET} ajar", 2),
    (f"kline get {MARKET} 2m", 2),
    ("kline get NO-SUCH 1m", 1),
    (f"kline get {MARKET} 1m --start yesterday", 2),
    ("token --key no-such-file", 1),
    ("node status --operator-key no-such-file", 1),
    ("node status --ca no-such-file", 2),
    ("journal verify .", 1),
    ("journal dump .", 1),
    ("journal replay .", 1),
    ("journal verify no-such-folder", 2),
    ("journal replay build/demo/journal --network-id another", 1),
    ("node run --set grpc.port=seventy", 1),
    ("node run --set nonsense", 2),
    ("node run --set grpc.prot=1", 1),
    ("node run --config no-such-file.toml", 1),
    ("demo faucet 0000000000000000000000", 1),
    ("no-such-command", 2),
]


@pytest.mark.parametrize(("line", "code"), WRONG, ids=[line for line, _ in WRONG])
def test_a_mistake_is_answered_in_a_line(trader: Demo, line: str, code: int) -> None:
    answer = trader.run(*shlex.split(line))
    assert answer.code == code, answer
    lines = answer.err.strip().splitlines()
    assert lines, answer
    assert len(lines) <= ERROR_LINES_MAX, answer.err
    assert "Traceback" not in answer.err
    assert len(lines[-1]) > 10


def test_a_mistake_in_json_is_json(trader: Demo) -> None:
    answer = trader.run("market", "book", "NO-SUCH", "--json")
    assert answer.code == 1
    said = json.loads(answer.err)
    assert said["reason"] == "UNKNOWN_MARKET"
    assert said["field"] == "market_id"


def test_the_journal_of_a_live_node(trader: Demo) -> None:
    folder = "build/demo/journal"
    report = trader.json("journal", "verify", folder)
    assert report["damage"] is None
    assert report["records"] == report["last_sequence"] > 0
    dumped = trader.run("journal", "dump", folder, "--limit", "5", "--json").out.splitlines()
    rows = [json.loads(line) for line in dumped]
    assert [row["sequence"] for row in rows] == [1, 2, 3, 4, 5]
    assert "CreateMarket" in {row["command"] for row in rows}
    assert trader.run("journal", "verify", folder).code == 0
    assert trader.run("journal", "dump", folder, "--limit", "1").out.startswith("sequence=1 ")


def replay_to_a_position(node: NodeProcess, folder: str) -> None:
    """A node that has moved on still has the hash it showed."""
    with node.operator() as operator:
        shown = operator.admin.get_node_status()
        operator.admin.create_market(
            Market.define("C-D", base_scale=8, quote_scale=8, tick_size="1", lot_size="1")
        )
    arguments = [*DEX, "journal", "replay", "--json", folder, "--network-id", node.network_id]

    def replay_to(sequence: int) -> subprocess.CompletedProcess[str]:
        line = [*arguments, "--to-sequence", str(sequence)]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    replayed = json.loads(replay_to(shown.applied_sequence).stdout)
    assert replayed["sequence"] == replayed["replayed"] == shown.applied_sequence
    assert replayed["event_hash"] == shown.event_hash
    beyond = replay_to(10**9)
    assert beyond.returncode == 1
    assert "before 1000000000" in beyond.stderr


def test_replay_gives_the_hash_of_the_live_node(tmp_path: Path) -> None:
    """On a quiet node, for the bots of the demo never rest."""
    node = NodeProcess(tmp_path / "node").start()
    try:
        market = open_market(node)
        key, account_id = rich_account(node)
        with node.client(key, account_id) as client:
            for price in range(1, 20):
                client.place_order(NewOrder(market.market_id, Side.BUY, price, 5))

        folder = str(node.data_dir / "journal")

        def same() -> bool:
            with node.operator() as operator:
                live = operator.admin.get_node_status()
            done = subprocess.run(
                [*DEX, "journal", "replay", "--json", folder, "--network-id", node.network_id],
                capture_output=True,
                check=True,
            )
            replayed = json.loads(done.stdout)
            # A tick of the clock may come between the two.
            if replayed["sequence"] != live.applied_sequence:
                return False
            assert replayed["event_hash"] == live.event_hash
            return True

        wait_until(same, "one position seen by both")
        replay_to_a_position(node, folder)
    finally:
        node.kill()
