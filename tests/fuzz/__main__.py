"""`python -m tests.fuzz FAMILY FILE ...` feeds files to a target; `--runs N` fuzzes it.

With atheris (the extra `fuzz`, or the copy that the soak installs below build/) coverage guides the
inputs; without it they are spoiled copies of the corpus. What breaks an invariant is written to the
folder of `--artifacts`; once mended it becomes a file of tests/fuzz/corpus that says what it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz import engine
from tests.fuzz.families import FAMILIES, load
from tests.fuzz.family import CORPUS


def main() -> int:
    """Replay, write seeds, or fuzz."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("files", nargs="*", type=Path, help="inputs to feed")
    parser.add_argument("--runs", type=int, default=0, help="fuzz for so many executions")
    parser.add_argument("--seconds", type=int, default=0, help="at most so long")
    parser.add_argument("--seed", type=int, default=1, help="of the choices; 1 or more")
    parser.add_argument("--engine", choices=("atheris", "mutator"), default="atheris")
    parser.add_argument("--artifacts", type=Path, default=Path("build/fuzz"), help="for findings")
    parser.add_argument("--seeds", action="store_true", help="write valid inputs to the corpus")
    options = parser.parse_args()
    if options.seeds:
        family = load(options.family)
        for number, data in enumerate(family.seeds(family.make())):
            (CORPUS / options.family).mkdir(parents=True, exist_ok=True)
            (CORPUS / options.family / f"seed-{number:02d}.bin").write_bytes(data)
        return 0
    if options.runs:
        options.artifacts.mkdir(parents=True, exist_ok=True)
        job = engine.Job(
            options.family, options.runs, options.seconds, options.seed, options.artifacts
        )
        return engine.ENGINES[options.engine](job)
    target = load(options.family).make()
    for file in options.files:
        data = file.read_bytes()
        before = sum(target.taken)
        target(data)
        ending = "taken" if sum(target.taken) > before else "refused"
        print(f"{file}: {target.name_of(data)}: {ending}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
