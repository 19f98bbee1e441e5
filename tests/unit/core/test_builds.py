"""Which build of the core runs: never one of other sources than those that lie there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dexcompiled
from dexcompiled import BUILD, COMPILED, COMPILED_MODULES, INTERPRETED, VARIABLE, digest_of
from dexnode.doctor import core_build

ROOT = Path(__file__).parents[3]
NO_COMPILER = {"CC": "no-such-compiler"}


def python(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs this Python on the sources of a checkout."""
    ours = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return subprocess.run(
        [sys.executable, "-B", *arguments],
        env={**ours, "PYTHONPATH": str(checkout / "core"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def kind(checkout: Path, **environment: str) -> str:
    """What the module says it is."""
    done = python(checkout, "-c", "import dexcore.book as b; print(b.KIND)", **environment)
    return done.stdout.strip() or done.stderr.splitlines()[-1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose core is two modules, one of which has a build that says so."""
    core = tmp_path / "core"
    shutil.copytree(ROOT / "core" / "dexcompiled", core / "dexcompiled")
    (core / "dexcore").mkdir()
    shutil.copy(ROOT / "core" / "dexcore" / "__init__.py", core / "dexcore")
    (core / "dexcore" / "book.py").write_text("KIND = 'source'\n")
    (core / "dexcore" / "limits.py").write_text("ORDERS_MAX = 100\n")
    built = tmp_path / "build" / "compiled" / digest_of(core) / "dexcore"
    built.mkdir(parents=True)
    (built / "book.py").write_text("KIND = 'compiled'\n")
    return tmp_path


def test_what_was_made_of_these_sources_runs(checkout: Path) -> None:
    assert kind(checkout) == "compiled"
    assert kind(checkout, **{VARIABLE: COMPILED}) == "compiled"
    assert kind(checkout, **{VARIABLE: INTERPRETED}) == "source"


@pytest.mark.parametrize("name", ["book.py", "limits.py", "__init__.py"])
def test_a_changed_source_runs_as_it_is_written(checkout: Path, name: str) -> None:
    # Of the same length and time, so that only its bytes tell; compiled itself or not.
    source = checkout / "core" / "dexcore" / name
    sound, status = source.read_bytes(), source.stat()
    changed = sound.replace(b"t", b"T", 1) if name == "__init__.py" else sound[:-1] + b" "
    source.write_bytes(changed)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(changed) == len(sound)
    assert kind(checkout) == "source"
    source.write_bytes(sound)
    assert kind(checkout) == "compiled"


def test_a_new_and_a_missing_source_count(checkout: Path) -> None:
    extra = checkout / "core" / "dexcore" / "extra.py"
    extra.write_text("")
    assert kind(checkout) == "source"
    extra.unlink()
    assert kind(checkout) == "compiled"
    (checkout / "core" / "dexcore" / "limits.py").unlink()
    assert kind(checkout) == "source"


def test_a_build_that_is_asked_for_and_not_there_is_an_error(checkout: Path) -> None:
    shutil.rmtree(checkout / "build")
    assert kind(checkout) == "source"
    said = kind(checkout, **{VARIABLE: COMPILED})
    assert said == (
        "ImportError: TRIODEX_CORE=compiled, but there is no such build (never compiled): make dev"
    )
    said = kind(checkout, **{VARIABLE: "fast"})
    assert said == "ImportError: TRIODEX_CORE is 'fast': say compiled or interpreted, or unset it"


def test_without_a_compiler_the_tool_says_so_in_one_line(checkout: Path) -> None:
    (checkout / "tools").mkdir()
    tool = shutil.copy(ROOT / "tools" / "compile_core.py", checkout / "tools")
    shutil.rmtree(checkout / "build")
    done = python(checkout, str(tool), **NO_COMPILER)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "core: runs interpreted, slower but the same: no C compiler (no-such-compiler)\n"
    )
    assert python(checkout, str(tool), "--required", **NO_COMPILER).returncode == 1
    assert python(checkout, str(tool), "--can", **NO_COMPILER).returncode == 1


def test_what_is_to_be_compiled_is_there() -> None:
    for name in COMPILED_MODULES:
        assert (ROOT / "core" / f"{name.replace('.', '/')}.py").is_file(), name


def test_the_doctor_says_which_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = core_build()
    assert finding.text == f"{BUILD.kind}: {BUILD.why}"
    assert finding.verdict == ("yes" if BUILD.kind == COMPILED else "look")
    changed = dexcompiled.Build(INTERPRETED, "the sources changed since: make dev", None)
    monkeypatch.setattr(dexcompiled, "BUILD", changed)
    assert core_build() == (
        "core",
        "look",
        "interpreted: the sources changed since: make dev",
    )
