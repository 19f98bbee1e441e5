"""What every test may ask for: tools and recorded market data. The header names what is absent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import dexcompiled

ROOT = Path(__file__).parent
TOOLS = ROOT / ".tools"
# Recorded data is never committed and no test may fail without it.
SHARED_DATA = Path(os.environ.get("TRIODEX_SHARED_DATA", ROOT.parent / "shared" / "data"))
RECORDINGS = ("binance-spot-btcusdt-20240809.jsonl.gz", "btc-perp-1m-202201.csv.gz")


def pytest_report_header() -> list[str]:
    """Says which core runs, and names what is absent, so that a skip surprises nobody."""
    lines = [f"core: {dexcompiled.BUILD.kind} ({dexcompiled.BUILD.why})"]
    absent = [name for name in RECORDINGS if not (SHARED_DATA / name).exists()]
    if absent:
        lines.append(
            f"absent recordings: {', '.join(absent)} (TRIODEX_SHARED_DATA names their folder)"
        )
    return lines


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Path]:
    """Gives the path of something below `.tools/`, such as `bin/grpcurl`.

    A test that asks for what is absent skips; with CI=true it fails.
    """

    def find(name: str) -> Path:
        path = TOOLS / name
        if not path.exists():
            missing = f".tools/{name} is absent: make tools"
            if os.environ.get("CI") == "true":
                pytest.fail(missing)
            pytest.skip(missing)
        return path

    return find


@pytest.fixture(scope="session")
def recording() -> Callable[[str], Path]:
    """Gives the path of a recording by its file name; a test that asks for an absent one skips."""

    def find(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"{name} is absent: TRIODEX_SHARED_DATA names its folder")
        return path

    return find
