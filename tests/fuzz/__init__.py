"""Fuzzing: one target a family of inputs, a committed corpus, engines with and without coverage.

`python -m tests.fuzz FAMILY FILE` feeds files to a target, `--runs N` fuzzes. docs/soak/README.md
tells of the long run.
"""
