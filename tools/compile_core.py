"""Compiles the hot modules of the core with mypyc: `python tools/compile_core.py`.

What runs is decided by `core/dexcompiled` alone, which also says what is compiled; this program
makes the folder that it looks for, from copies of the sources, so that nothing which changes
meanwhile can get into it. Where a compiler, the headers of Python or mypyc are absent it says so in
one line and ends with 0: the same sources then run as they are. `--required` ends with 1 instead.
`--can` says by its exit code whether there is something to compile here and with what, before mypyc
is installed for it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
CORE: Final = ROOT / "core"
sys.path.insert(0, str(CORE))

from dexcompiled import COMPILED_MODULES, FOLDER, PACKAGES, digest_of  # noqa: E402

# Old builds are good again when a branch is; more than these are not kept.
BUILDS_KEPT: Final = 4
# Runs in the folder with the copies. Untyped libraries are objects to mypyc, as they are to us.
BUILD: Final = """
import sys
from setuptools import Distribution
from mypyc.build import mypycify
options = ["--config-file=", "--ignore-missing-imports", "--python-executable", sys.executable]
options += ["--no-incremental", *sys.argv[1:]]
how = {"opt_level": "3", "debug_level": "0", "target_dir": "c"}
extensions = mypycify(options, group_name="dexcore.compiled", **how)
distribution = Distribution({"name": "core", "ext_modules": extensions})
command = distribution.get_command_obj("build_ext")
command.build_lib, command.build_temp = "out", "o"
command.ensure_finalized()
command.run()
"""


def obstacle() -> str | None:
    """What keeps the core from being compiled here; None if nothing does."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"no C compiler ({compiler})"
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        return "no Python.h (on Debian: apt-get install python3-dev)"
    return None


def compile_core() -> str | None:
    """Make the folder of the sources as they are; what went wrong, if something did."""
    with tempfile.TemporaryDirectory(prefix="triodex-core-") as scratch:
        copies = Path(scratch)
        for package in ("dexcompiled", *PACKAGES):
            shutil.copytree(
                CORE / package, copies / package, ignore=shutil.ignore_patterns("*.pyc")
            )
        target = FOLDER / digest_of(copies)
        paths = [f"{name.replace('.', '/')}.py" for name in COMPILED_MODULES]
        done = subprocess.run(
            [sys.executable, "-c", BUILD, *paths],
            cwd=copies,
            env={**os.environ, "MYPYPATH": str(copies)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "log").write_text(done.stdout)
        if done.returncode:
            lines = [line for line in done.stdout.splitlines() if "error" in line.lower()]
            return f"{(lines or ['mypyc failed'])[0]}; all of it: {FOLDER / 'log'}"
        # Beside the target, so that it appears whole or not at all.
        whole = Path(tempfile.mkdtemp(prefix="new-", dir=FOLDER))
        shutil.copytree(copies / "out", whole, dirs_exist_ok=True)
        whole.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        whole.rename(target)
    _forget_old()
    return None


def _forget_old() -> None:
    builds = [path for path in FOLDER.iterdir() if path.is_dir()]
    builds.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in builds[BUILDS_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def main() -> int:
    """Compile unless it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--required", action="store_true", help="end with 1 where it cannot be")
    parser.add_argument("--can", action="store_true", help="only say whether it is to be done")
    options = parser.parse_args()
    if (FOLDER / digest_of(CORE)).is_dir():
        return 1 if options.can else 0
    problem = obstacle()
    if options.can:
        return 1 if problem else 0
    if problem is None and importlib.util.find_spec("mypyc") is None:
        problem = "no mypyc"
    if problem is None:
        started = time.monotonic()
        print("core: compiling ...", flush=True)
        problem = compile_core()
        if problem is None:
            print(f"core: compiled in {time.monotonic() - started:.0f} s")
            return 0
    print(f"core: runs interpreted, slower but the same: {problem}", file=sys.stderr)
    return 1 if options.required else 0


if __name__ == "__main__":
    sys.exit(main())
