"""kill -9 of a real node under load, on a real disk and on one that forgets unsynced writes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.e2e.test_kill9 import replayed_event_hash, run_kills
from tests.soak.job import Run
from tests.support.node_process import NodeProcess

# A fresh node now and then, so that journals of all ages are killed.
KILLS_PER_NODE = 5
MODULES = ("dexnode", "tests.support.volatile_node")


def work(run: Run) -> None:
    """Kill nodes; after each kill every acknowledged batch is there and its retry counts once."""
    number = 0
    while run.goes_on(rounds_ahead=KILLS_PER_NODE):
        module = MODULES[number % len(MODULES)]
        kills = min(KILLS_PER_NODE, run.goal - run.done)
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            node = NodeProcess(Path(folder) / "node", module=module)
            try:
                traders = run_kills(node, kills, run.seed + number)
                with node.operator() as operator:
                    live = operator.admin.get_node_status()
                assert live.event_hash == replayed_event_hash(node)
            finally:
                node.kill()
        run.done += kills
        run.counts[f"kills of {module}"] += kills
        run.counts["acknowledged batches"] += sum(len(trader.acknowledged) for trader in traders)
        run.counts["replays with the live event hash"] += 1
        number += 1
