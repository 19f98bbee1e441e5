"""kill -9 of a real node under load, on a real disk and on one that forgets unsynced writes."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from tests.soak.job import Run
from tests.support.kill_drill import KINDS, Drill
from tests.support.node_process import NodeProcess

# A fresh node now and then, so that journals of all ages are killed and checks stay short.
KILLS_PER_NODE = 20
MODULES = ("dexnode", "tests.support.volatile_node")
# From so many kills on, a kind that never came up means that the drill misses its aim.
KILLS_WITH_ALL_KINDS = 200


def work(run: Run) -> None:
    """Kill nodes; after each restart hold everything against what was answered and seen."""
    number = 0
    while run.goes_on():
        module = MODULES[number % len(MODULES)]
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            node = NodeProcess(Path(folder) / "node", module=module, forked=True)
            before = run.done
            counts = Counter(run.counts)
            try:
                drill = Drill(node, f"{run.seed} {number}")
                while drill.kills < KILLS_PER_NODE and run.goes_on():
                    drill.life()
                    run.done = before + drill.kills
                    run.counts = counts + drill.counts
                drill.check_replay()
                run.counts = counts + drill.counts
                run.counts[f"kills of {module}"] += drill.kills
            except BaseException:
                print(f"seed {run.seed}, node {number}; its log ends with:")
                print(node.log_path.read_text(errors="replace")[-4_000:])
                raise
            finally:
                node.kill()
        number += 1
    check_kinds(run.counts, run.done)


def check_kinds(counts: Counter[str], kills: int) -> None:
    """Raise where many kills never hit what they were to hit."""
    missed = [kind for kind in KINDS if not counts[kind]]
    assert kills < KILLS_WITH_ALL_KINDS or not missed, f"no {', no '.join(missed)}"
