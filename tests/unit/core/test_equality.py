"""One journal gives the same hashes in every process, in any groups, through any snapshot, on
every Python that is here (docs/determinism.md)."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from dexcompiled import COMPILED, INTERPRETED, VARIABLE
from dexcore.commands import (
    EXTERNAL_TRADE,
    BeginEpoch,
    Command,
    RecordOperation,
    RecordTrades,
    SetMarketStatus,
    encode_command,
)
from tests.support.builds import need_compiled
from tests.support.pythons import ROOT, SUPPORTED, find_python, import_path
from tests.unit.core import replay as program
from tests.unit.core.beside_twin import Pair
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import OPERATOR, SECOND_NS, World, seed_of
from tests.unit.core.goldens import order_semantics, waiting
from tests.unit.core.pool_exchange import pool_life
from tests.unit.core.replay import Hashes, Row, replay
from tests.unit.core.session_maker import SessionMaker

COMMANDS = 4_000
# Twice more than the trades from which K-lines are made column by column.
BULK_TRADES = 1_100
BULKS = 4


class Workload(typing.NamedTuple):
    """A journal in a file, and what it gives here, one command at a time."""

    path: Path
    rows: list[Row]
    hashes: list[Hashes]


def bulk(chance: random.Random, maker: CommandMaker) -> RecordTrades:
    """Many recorded trades in one command, spread over an hour."""
    rows = []
    for _ in range(BULK_TRADES):
        maker.external_id += 1
        time_ns = maker.time_ns - chance.randrange(3600 * SECOND_NS)
        side = chance.choice((1, 2))
        row = (maker.external_id, time_ns, chance.randint(1, 999), chance.randint(1, 499), side)
        rows.append(EXTERNAL_TRADE.pack(*row))
    return RecordTrades(OPERATOR, 3, maker.time_ns - 1, b"".join(rows))


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    seed = seed_of("tests/unit/core/test_equality.py")
    chance = random.Random(f"{seed} bulk")
    pair = Pair()
    pair.compare = False
    maker = CommandMaker(random.Random(seed), pair.exchange, pair.traders)
    while len(pair.journal) < COMMANDS:
        pair.apply(*maker.next())
        if len(pair.journal) % (COMMANDS // BULKS) == 0:
            pair.apply(maker.time_ns, RecordOperation(OPERATOR, "Drain"))
            epochs = pair.exchange.epochs
            epoch = epochs[-1][1] if epochs else 1
            pair.apply(maker.time_ns, BeginEpoch(epoch, epoch + 1, epoch << 36))
            pair.apply(maker.time_ns, SetMarketStatus(OPERATOR, 3, 1))
            outcome = pair.apply(maker.time_ns, bulk(chance, maker))
            assert len(outcome.events) >= BULK_TRADES, "the bulk of trades was refused"
    for command in (*order_semantics(maker), *waiting(maker)):
        pair.apply(maker.time_ns, command)
    for command in pool_life(pair.traders[1], 1 << 40, maker.time_ns):
        pair.apply(maker.time_ns, command)
    world = World(pair.exchange)
    world.time_ns = maker.time_ns
    session = SessionMaker(world, pair.traders[1], 1 << 41)
    session.open()
    session.order()
    session.countersign()
    session.end()
    pair.journal += world.journal
    assert {type(command) for _, _, command in pair.journal} == set(typing.get_args(Command))
    rows = [(time_ns, encode_command(command).hex()) for _, time_ns, command in pair.journal]
    path = tmp_path_factory.mktemp("equality") / "journal.json"
    path.write_text(json.dumps({"commands": rows}))
    hashes = replay(rows)
    assert hashes[-1].event_hash == pair.exchange.event_hash.hex()
    assert len({one.klines for one in hashes}) > 2
    return Workload(path, rows, hashes)


def run(
    python: list[str], hash_seed: str, path: str, *arguments: str, **environment: str
) -> list[Hashes]:
    """What the program prints under another interpreter."""
    environment |= {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path, "PATH": os.defpath}
    command = [*python, "-B", str(Path(program.__file__)), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [Hashes(*row) for row in json.loads(done.stdout)]


@pytest.mark.parametrize("group", [7, 512])
def test_the_size_of_a_group_changes_nothing(workload: Workload, group: int) -> None:
    assert replay(workload.rows, group) == workload.hashes


@pytest.mark.parametrize("count", [1, 40])
def test_snapshots_change_nothing(workload: Workload, count: int) -> None:
    chance = random.Random(seed_of("tests/unit/core/test_equality.py -k snapshots"))
    restarts = sorted(chance.sample(range(1, len(workload.rows)), count))
    again = replay(workload.rows, 7, restarts)
    assert again == workload.hashes, f"snapshots after {restarts}"


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_hash_randomization_changes_nothing(workload: Workload, hash_seed: str) -> None:
    # Without assertions once.
    options = ["-O"] if hash_seed == "random" else []
    seen = run([sys.executable, *options], hash_seed, str(ROOT / "core"), str(workload.path))
    assert seen == workload.hashes


@pytest.mark.parametrize("build", [INTERPRETED, COMPILED])
def test_both_builds_of_the_core_agree(workload: Workload, build: str) -> None:
    if build == COMPILED:
        need_compiled()
    path = str(ROOT / "core")
    seen = run([sys.executable], "0", path, str(workload.path), **{VARIABLE: build})
    assert seen == workload.hashes


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_python_agrees(workload: Workload, version: str, tmp_path: Path) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"not run: Python {version} is not here")
    path, numpy = import_path(version, tmp_path)
    arguments = [str(workload.path), "--group", "512", "--restarts", "1000", "2001"]
    seen = run([python, "-s"], "random", path, *arguments)
    if numpy:
        assert seen == workload.hashes
    else:
        print(f"Python {version}: dexcore alone, numpy for it is not here (make tools)")
        assert seen == [one._replace(klines="") for one in workload.hashes]
