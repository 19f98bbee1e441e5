"""The contract is formatted, linted and compatible with the last release, and makes `gen/`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.upgrade.releases import releases, unpack

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).with_name("buf")


def buf(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs buf and returns what it said."""
    command = [str(BUF), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def contract(tool: Callable[[str], Path], tmp_path: Path) -> Path:
    """A folder with buf.yaml, a copy of the protos, and the protos of others."""
    shutil.copytree(tool("protos"), tmp_path / ".tools" / "protos")
    shutil.copyfile(ROOT / "buf.yaml", tmp_path / "buf.yaml")
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    return tmp_path


def breaks(new: Path, old: Path) -> str:
    """What of `new` breaks callers of `old`; both are folders that hold a contract."""
    image = old / "old.binpb"
    built = buf("build", "protos", "--output", str(image), cwd=old)
    assert built.returncode == 0, built.stderr
    done = buf("breaking", "protos", "--exclude-imports", "--against", str(image), cwd=new)
    return done.stdout + done.stderr


def test_format() -> None:
    done = buf("format", "--diff", "--exit-code", "protos")
    assert done.returncode == 0, f"{done.stdout}\nmend: make format"


def test_lint(tool: Callable[[str], Path]) -> None:
    tool("protos")
    done = buf("lint", "protos")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_field_without_a_comment_is_found(contract: Path) -> None:
    proto = contract / "protos/dex/options/v1/options.proto"
    proto.write_text(proto.read_text() + "message Bare {\n  int64 price_ticks = 1;\n}\n")
    assert "COMMENT_FIELD" in buf("lint", "protos", "--error-format=json", cwd=contract).stdout


def test_compatible_with_the_last_release(
    contract: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    last = releases()[-1]
    old = tmp_path_factory.mktemp("released")
    if not unpack(last, old, "protos", "buf.yaml"):
        pytest.skip(f"the history of release {last.version} is not here: a shallow clone?")
    shutil.copytree(contract / ".tools", old / ".tools")
    found = breaks(contract, old)
    assert not found, f"{found}\nmend: add beside the old, deprecate, and remove in v2 only"


def test_a_removed_field_breaks(contract: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    old = tmp_path_factory.mktemp("old")
    shutil.copytree(contract, old, dirs_exist_ok=True)
    proto = contract / "protos/dex/orders/v1/signed_payload.proto"
    proto.write_text(proto.read_text().replace("  int64 nonce = 3", "  int64 nonce = 333"))
    assert '"3" with name "nonce"' in breaks(contract, old)


def test_gen_is_what_the_contract_makes(tool: Callable[[str], Path]) -> None:
    tool("bin/protoc-gen-go")
    tool("node_modules/.bin/protoc-gen-es")
    command = [sys.executable, str(ROOT / "tools" / "gen.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
