"""A million seeded commands give the trades they must, and all events the same in both builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from dexcompiled import COMPILED, INTERPRETED, VARIABLE
from dexcore.funds import NoFunds
from tests.reference.seeded_market import EventDigest, SeededMarket
from tests.support.builds import need_compiled
from tests.support.pythons import ROOT
from tests.unit.core.seeded import GOLDEN, MatcherRun, item_of, plain_events

CHECK_EVERY = 50_000
# Through a whole exchange; `python -m tests.soak market` does the million.
PREFIX = 30_000


def test_a_million_commands_give_the_plain_events_of_the_reference() -> None:
    run, said, expected = MatcherRun(NoFunds()), EventDigest(), EventDigest()
    market = SeededMarket()
    orders: dict[int, tuple[int, int]] = {}
    for index, record in enumerate(market.records(1_000_000), 1):
        owner, price = orders.setdefault(record.order, (record.account, record.price))
        result = run.step(run.accounts[owner], item_of(record, record.order), record.order)
        said.take(plain_events(record, run.events, result, price, int))
        if index % CHECK_EVERY == 0:
            expected.take(market.book.events)
            assert said.hexdigest() == expected.hexdigest(), f"by command {index}"
    golden = GOLDEN[1_000_000]
    assert (said.count, said.hexdigest()) == (golden["plain_events"], golden["plain"])


@pytest.mark.parametrize("build", [INTERPRETED, COMPILED])
def test_all_events_are_the_golden_ones(build: str) -> None:
    if build == COMPILED:
        need_compiled()
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.core.seeded", str(PREFIX)],
        cwd=ROOT,
        env={**os.environ, VARIABLE: build, "PYTHONPATH": str(ROOT / "core")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen == GOLDEN[PREFIX]
