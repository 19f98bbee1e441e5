"""kill -9 under load: what was acknowledged is there, what was retried counts once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.kill_drill import (
    ACKNOWLEDGED,
    DRAIN,
    LOAD,
    REPLAY,
    REPLAY_MISSED,
    SEEN,
    SNAPSHOT,
    Drill,
)
from tests.support.node_process import NodeProcess

KILLS = 20
# Each life makes the journal longer, and the next replay easier to hit on a busy machine.
REPLAY_TRIES = 8
VOLATILE = "tests.support.volatile_node"


def kill_in_replay(drill: Drill) -> None:
    """At least one kill hits a node that replays its journal, and that is proven."""
    while not drill.counts[REPLAY] and drill.counts[REPLAY_MISSED] < REPLAY_TRIES:
        drill.life(REPLAY)
    assert drill.counts[REPLAY], "no kill hit a replay"


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    counts = {}
    for module in ("dexnode", VOLATILE):
        node = NodeProcess(tmp_path / module, module=module, forked=True)
        try:
            drill = Drill(node, seed)
            for kind in (LOAD, SNAPSHOT, DRAIN):
                drill.life(kind)
            kill_in_replay(drill)
            while drill.kills < KILLS // 2:
                drill.life()
            drill.check_replay()
            counts[module] = drill.counts
        finally:
            node.kill()
    print(counts)
    assert all(found[ACKNOWLEDGED] > KILLS and found[SEEN] for found in counts.values())


def test_a_kill_hits_the_replay(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node", forked=True)
    try:
        kill_in_replay(Drill(node, 1))
    finally:
        node.kill()


def test_a_node_with_an_interpreter_of_its_own_survives_too(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node")
    try:
        Drill(node, 1).life(LOAD)
    finally:
        node.kill()


def test_the_check_turns_red_when_syncs_do_nothing(tmp_path: Path) -> None:
    node = NodeProcess(
        tmp_path / "node",
        module=VOLATILE,
        # Enough to open the market and the accounts; what comes later is never synced.
        environment={"HONEST_SYNCS": "20"},
        forked=True,
    )
    try:
        with pytest.raises(AssertionError, match=r"denied|older|lost its end|differently"):
            Drill(node, 1).life(LOAD)
    finally:
        node.kill()
