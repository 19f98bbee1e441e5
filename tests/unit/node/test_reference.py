"""The committed reference pages say what the code says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from msgspec import structs

from dex.errors.v1 import errors_pb2
from dexcore import limits
from dexnode.reference import PAGES
from dexnode.settings import LimitSettings
from dexrpc import ServerConfig
from dexruntime import sequencer, verifier

FOLDER = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_writes(name: str) -> None:
    written = (FOLDER / name).read_text()
    assert written == PAGES[name](), "run: python -m dexnode.reference docs/reference"


def test_every_reason_is_documented() -> None:
    page = (FOLDER / "errors.md").read_text()
    for name, number in errors_pb2.ErrorReason.items():
        if number:
            assert f"| {number} | `{name.removeprefix('ERROR_REASON_')}` |" in page


def test_every_bound_is_on_the_page_of_limits() -> None:
    page = (FOLDER.parent / "limits.md").read_text()
    names = {field.name for field in fields(ServerConfig)} - {"codec"}
    names |= {field.name for field in structs.fields(LimitSettings)}
    missing = sorted(name for name in names if f"`{name}`" not in page)
    assert not missing, "limits that docs/limits.md does not have"


def test_a_limit_stands_once() -> None:
    rows = [
        line.split("|")[1].strip()
        for line in (FOLDER.parent / "limits.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith(("| What |", "| Limit |", "| ---"))
    ]
    twice = sorted({row for row in rows if rows.count(row) > 1 and not row.startswith("Setting")})
    assert not twice, "limits that docs/limits.md has twice"


def test_every_bound_of_the_core_is_on_the_page_of_limits() -> None:
    page = (FOLDER.parent / "limits.md").read_text()
    bounds = {name: getattr(limits, name) for name in vars(limits) if "_MAX" in name}
    for module in (sequencer, verifier):
        bounds |= {name: getattr(module, name) for name in vars(module) if "QUEUE_" in name}
    missing = sorted(
        name
        for name, value in bounds.items()
        if f"| {value // (10**9 if '_NS_' in name else 1):,} " not in page.replace(" s |", " |")
    )
    assert not missing, "limits that docs/limits.md does not have"
