"""The compiled core gives the results of the interpreted one, row by row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dexcompiled import COMPILED, INTERPRETED, VARIABLE
from tests.reference.mbo_venue import busy_day
from tests.support import mbo_files
from tests.support.builds import need_compiled

TABLES = ("fills", "closes", "top_of_book")
MEASURED = (
    "core",
    "core_reason",
    "results",
    *(f"{what}_seconds" for what in ("elapsed", "engine")),
)
RATES = ("commands_per_second", "engine_commands_per_second")


def run(path: Path, folder: Path, build: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "dexnode", "backtest", str(path), "--output", str(folder), "--json"],
        env={**os.environ, VARIABLE: build},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["core"] == build
    return {name: value for name, value in report.items() if name not in (*MEASURED, *RATES)}


def test_both_builds_give_the_same_rows(tmp_path: Path) -> None:
    need_compiled()
    path = mbo_files.write(tmp_path / "day.dbn", mbo_files.dbn(busy_day(6, 1_500).records, 3, {}))
    folders = {build: tmp_path / build for build in (INTERPRETED, COMPILED)}
    reports = [run(path, folder, build) for build, folder in folders.items()]
    assert reports[0] == reports[1]
    for name in TABLES:
        tables = [pq.read_table(folder / f"{name}.parquet") for folder in folders.values()]
        assert tables[0].num_rows > 300
        assert tables[0].equals(tables[1]), name
