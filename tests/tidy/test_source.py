"""The house rules over every file of the checkout, and each rule over a file that breaks it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tidy import checks
from tests.tidy.checks import Check

ROOT = Path(__file__).parents[2]
# Written by tools, or no text of ours.
SKIPPED = ("gen/", "requirements/", "tools/go/go.sum", "tools/package-lock.json", "LICENSE")
SUFFIXES = {
    ".cfg",
    ".json",
    ".md",
    ".mod",
    ".proto",
    ".py",
    ".toml",
    ".ts",
    ".go",
    ".txt",
    ".yaml",
    "",
}
PROJECTS = {"gen/python/pyproject.toml"}
FOLDERS = {"__pycache__", "build", "dist", "node_modules"}

BROKEN: dict[Check, tuple[str, str]] = {
    checks.file_length: ("node/a.py", "x = 1\n" * 601),
    checks.function_length: ("node/a.py", "def f():\n" + "    x = 1\n" * 60),
    checks.left_over: ("docs/a.md", "TO" + "DO: later"),
    checks.addresses: ("Makefile", "cd /ro" + "ot/main"),
    checks.one_title: ("docs/a.md", "# one\n\n# two\n"),
    checks.sleeping: ("tests/a.py", "async def test_a():\n    await trio.sleep(1)\n"),
    checks.floors: (
        "pyproject.toml",
        '[build-system]\nrequires = []\n[project]\ndependencies = ["trio"]\n',
    ),
}


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every hand-written text file of the checkout by its path."""
    found = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name for name in folders if name not in FOLDERS and (name == ".ci" or name[0] != ".")
        ]
        for name in names:
            file = Path(folder, name)
            path = file.relative_to(ROOT).as_posix()
            ours = not path.startswith(SKIPPED) or path in PROJECTS
            if ours and file.suffix in SUFFIXES and not name.startswith("."):
                found[path] = file.read_text()
    return found


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_every_file_keeps_the_rule(check: Check, texts: dict[str, str]) -> None:
    findings = [finding for path, text in texts.items() for finding in check(path, text)]
    assert not findings, "\n" + "\n".join(sorted(findings))


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_the_rule_finds_what_breaks_it(check: Check) -> None:
    assert list(check(*BROKEN[check]))


def test_hand_written_files_are_read(texts: dict[str, str]) -> None:
    assert {"Makefile", ".ci/run", "core/dexcore/__init__.py", "gen/python/pyproject.toml"} <= set(
        texts
    )
