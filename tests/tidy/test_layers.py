"""The import rules of pyproject.toml hold, and every package of ours is under them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).with_name("lint-imports")


def lint(config: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter over the installed packages."""
    command = [str(LINT), "--no-cache", "--config", str(config)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_imports_point_one_way() -> None:
    done = lint(ROOT / "pyproject.toml")
    assert done.returncode == 0, (
        f"{done.stdout}{done.stderr}\nmend: move what both need down a layer"
    )


def test_a_broken_rule_is_found(tmp_path: Path) -> None:
    config = tmp_path / ".importlinter"
    config.write_text(
        "[importlinter]\nroot_packages =\n  dexcore\n  dexruntime\n"
        "[importlinter:contract:upside-down]\nname = upside down\ntype = layers\n"
        "layers =\n  dexcore\n  dexruntime\n"
    )
    assert "dexruntime is not allowed to import dexcore" in lint(config).stdout


def test_every_package_is_under_the_rules() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hatch = project["tool"]["hatch"]["build"]
    roots = [*hatch["dev-mode-dirs"], "sdk/python"]
    packages = {path.parent for root in roots for path in (ROOT / root).glob("*/__init__.py")}
    ruled = set(project["tool"]["importlinter"]["root_packages"])
    assert {path.name for path in packages} == ruled, "mend: [tool.importlinter] root_packages"
    shipped = {ROOT / package for package in hatch["targets"]["wheel"]["packages"]}
    shipped.add(ROOT / "sdk/python/dexsdk")
    assert packages <= shipped, "mend: [tool.hatch.build.targets.wheel] packages"
