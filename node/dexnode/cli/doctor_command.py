"""``dex doctor``: what a node would find here."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click
import trio

from dexnode.cli.common import json_option, print_json, print_table


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), default=Path("data"))
@json_option
def doctor(data_dir: Path, as_json: bool) -> None:
    """Check that this machine can run a node: Python, libraries, disk, ports.

    Ends with 1 when something would keep a node from running well.
    """
    from dexnode.doctor import examine

    findings = trio.run(partial(examine, data_dir))
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        print_table(("check", "ok", "finding"), [(f.check, f.verdict, f.text) for f in findings])
    if any(finding.verdict == "no" for finding in findings):
        sys.exit(1)
