"""The committed reference pages say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from dex.errors.v1 import errors_pb2
from dexnode.reference import PAGES

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
