"""The seeded market's million commands through the whole exchange, in both builds of the core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Final

from dexcompiled import COMPILED, CORE, FOLDER, INTERPRETED, VARIABLE, build_of
from tests.soak.job import Run
from tests.support.pythons import ROOT
from tests.unit.core.seeded import GOLDEN

# Both builds, a million each.
COMMANDS: Final = 2 * max(GOLDEN)


def work(run: Run) -> None:
    """All events of the product, and what they say in plain ones, are the golden ones."""
    commands = max(count for count in GOLDEN if 2 * count <= max(run.goal, 2 * min(GOLDEN)))
    compiled = build_of(CORE, FOLDER, "").folder is not None
    run.figures["builds"] = f"{INTERPRETED}, {COMPILED if compiled else 'none compiled here'}"
    for build in (INTERPRETED, COMPILED if compiled else INTERPRETED):
        before = run.done
        with subprocess.Popen(
            [sys.executable, "-m", "tests.unit.core.seeded", str(commands)],
            cwd=ROOT,
            env={**os.environ, VARIABLE: build, "PYTHONPATH": str(ROOT / "core")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as program:
            assert program.stdout is not None
            assert program.stderr is not None
            said = ""
            for said in program.stderr:
                if said.strip().isdigit():
                    run.done = before + int(said)
                    run.tell()
            printed = program.stdout.read()
        assert program.returncode == 0, said
        assert json.loads(printed) == GOLDEN[commands], (build, printed)
        run.done = before + commands
        run.counts[f"commands, {build}"] += commands
