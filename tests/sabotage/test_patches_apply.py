"""Every patch still fits the code and names a test that exists, or fits no more and says so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.sabotage.patches import FOLDER, PatchError, Sabotage, load, load_all, patched
from tests.sabotage.workshop import CHECKOUT

NAMES = sorted(path.stem for path in FOLDER.glob("*.patch"))


def defined_tests(path: Path) -> set[str]:
    """Names of a file's test functions and test classes."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


@pytest.mark.parametrize("name", NAMES)
def test_a_sabotage_fits(name: str) -> None:
    sabotage = load(FOLDER / f"{name}.patch")
    for path, text in patched(sabotage, CHECKOUT).items():
        assert text != (CHECKOUT / path).read_text()
        # Broken as meant: a file that does not even compile proves nothing.
        compile(text, path, "exec")
    file, _, test = sabotage.test.partition("::")
    assert test.partition("[")[0] in defined_tests(CHECKOUT / file)


def test_what_must_be_broken_is_broken() -> None:
    assert len(load_all()) >= 50


def write(folder: Path, diff: str) -> Sabotage:
    path = folder / "some.patch"
    path.write_text(f"test: a::b\nfails: assert x\nwhy: because\n\n{diff}")
    return load(path)


DIFF = "--- a/code.py\n+++ b/code.py\n@@ -1 +1 @@\n one\n-two\n+2\n"


def test_a_hunk_is_found_by_its_text_wherever_it_is(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("zero\none\ntwo\nthree\n")
    assert patched(write(tmp_path, DIFF), tmp_path) == {"code.py": "zero\none\n2\nthree\n"}


@pytest.mark.parametrize("code", ["one\n  two\n", "one\ntwo\none\ntwo\n", "none\ntwo\n"])
def test_a_hunk_that_fits_nowhere_or_twice_is_refused(tmp_path: Path, code: str) -> None:
    (tmp_path / "code.py").write_text(code)
    with pytest.raises(PatchError, match="not once"):
        patched(write(tmp_path, DIFF), tmp_path)


@pytest.mark.parametrize("diff", ["", "--- a/code.py\n+++ b/code.py\n@@\n one\n", "no diff\n"])
def test_a_file_that_is_no_sabotage_is_refused(tmp_path: Path, diff: str) -> None:
    with pytest.raises(PatchError):
        write(tmp_path, diff)
