"""Writes `gen/` from `protos/` (`make gen`), or says where the two differ (`--check`).

buf.gen.yaml names the plugins; buf compiles. Beside our own packages the Python and TypeScript
trees get `buf/validate`: the contract's messages carry its options, so they cannot be imported
without it, and no package provides it for these runtimes (ADR 0001).
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VALIDATE = ".tools/protos/buf/validate/validate.proto"
VALIDATE_TEMPLATE = """
version: v2
plugins:
  - protoc_builtin: python
    protoc_path: [.venv/bin/python, -m, grpc_tools.protoc]
    out: gen/python
  - local: .venv/bin/protoc-gen-mypy
    out: gen/python
  - local: .tools/node_modules/.bin/protoc-gen-es
    out: gen/typescript
    opt: [target=js+dts, import_extension=js]
"""
# What generation owns, below `gen/`. The packaging files beside it are kept by hand.
OWNED = ("python/dex", "python/buf", "go/dex", "typescript")


def buf(*arguments: str) -> None:
    """Runs buf with the project's own plugins and runtimes first on the path."""
    path = os.pathsep.join([str(ROOT / ".tools" / "bin"), os.environ.get("PATH", os.defpath)])
    command = [str(ROOT / ".venv" / "bin" / "buf"), *arguments]
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stderr.strip()}\nbuf {arguments[0]} failed")


def generate(out: Path) -> None:
    """Writes `gen/` below the empty folder `out`."""
    buf("generate", "protos", "--output", str(out))
    for stub in (out / "gen" / "python").rglob("*_pb2_grpc.pyi"):
        if not stub.with_suffix(".py").exists():
            stub.unlink()
    # From an image without source info: the code is needed, the comments are not ours to repeat.
    image = str(out / "validate.binpb")
    buf("build", ".tools/protos", "--path", VALIDATE, "--exclude-source-info", "--output", image)
    buf("generate", image, "--path", "buf", "--template", VALIDATE_TEMPLATE, "--output", str(out))


def files(gen: Path) -> set[Path]:
    """Every generated file below a `gen` folder, relative to it."""
    return {
        path.relative_to(gen)
        for owned in OWNED
        for path in (gen / owned).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences() -> list[str]:
    """The generated files that are missing, left over, or not what the contract makes."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, kept = Path(folder, "gen"), ROOT / "gen"
        made, there = files(fresh), files(kept)
        found = [f"gen/{path} is missing" for path in made - there]
        found += [f"gen/{path} comes from no proto" for path in there - made]
        found += [
            f"gen/{path} is not what the contract makes"
            for path in made & there
            if not filecmp.cmp(fresh / path, kept / path, shallow=False)
        ]
    return sorted(found)


def replace() -> None:
    """Puts a fresh `gen/` in the place of the old one, once all of it could be made."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        for owned in OWNED:
            shutil.rmtree(ROOT / "gen" / owned, ignore_errors=True)
            shutil.copytree(Path(folder, "gen", owned), ROOT / "gen" / owned)


def main() -> int:
    """Generates, or with `--check` prints the differences and answers 1 when there are any."""
    if sys.argv[1:] == ["--check"]:
        found = differences()
        print(
            "\n".join([*found, "mend: make gen, then commit gen/"] if found else ["gen is clean"])
        )
        return 1 if found else 0
    replace()
    return 0


if __name__ == "__main__":
    sys.exit(main())
