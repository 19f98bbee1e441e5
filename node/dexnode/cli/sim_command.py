"""``dex sim``: the deterministic simulation, where there is a source checkout."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from dexnode.cli.common import print_json

CHECKOUT: Final = Path(__file__).parents[3]
PROGRESS_SECONDS: Final = 1.0


@click.command()
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="The first seed."
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many.")
@click.option("--trace", is_flag=True, help="Print every event, in the order they happen.")
@click.option("--steps", is_flag=True, help="Print the node's scheduling points too.")
@click.option("--stop-at-point", type=click.IntRange(1), help="Power fails at this point alone.")
@click.option("--stop-at-step", type=click.IntRange(1), help="Power fails in this disk step alone.")
@click.option(
    "--lie",
    type=click.Choice(["datasync", "sync_directory"]),
    help="Let the disk only say that it did this: the simulation must notice.",
)
@click.option("--bad-network", is_flag=True, help="A quarter of all messages fail, nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print the totals as JSON.")
def sim(
    seed: int,
    seeds: int,
    trace: bool,
    steps: bool,
    stop_at_point: int | None,
    stop_at_step: int | None,
    lie: str | None,
    bad_network: bool,
    as_json: bool,
) -> None:
    """Run histories of a node, its clients, their network and its disk under faults.

    The node is the real one but for sockets, threads and the disk, and a seed decides
    the order of everything: the same seed is the same history, step by step. A seed
    that fails prints the promise that was broken and the command that shows it again.

    \b
      dex sim --seeds 100                  a hundred histories
      dex sim --seed 7 --trace             what happened in one of them
      dex sim --seed 7 --stop-at-point 40  the same clients, and one power failure
      dex sim --seeds 20 --lie datasync    a disk that lies: some seed must fail

    More in docs/simulation.md.
    """
    runner = _runner()
    sink = sys.stdout.write if trace or steps else None
    reports = []
    shown = time.monotonic()
    for number in range(seed, seed + seeds):
        try:
            report = runner.run_seed(
                number,
                stop_at_point=stop_at_point or 0,
                stop_at_step=stop_at_step or 0,
                lie=lie or "",
                bad_network=bad_network,
                sink=sink,
                steps=steps,
            )
        except runner.Failed as failed:
            raise _failure(failed, shown=sink is not None) from None
        _refuse_unreached(number, report, stop_at_point, stop_at_step)
        reports.append(report)
        if time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            click.echo(f"{len(reports):,} of {seeds:,} histories", err=True)
    sums = runner.totals(reports)
    if as_json:
        print_json(dict(sums))
        return
    last = reports[-1]
    click.echo(f"{seeds:,} {'history' if seeds == 1 else 'histories'} from seed {seed}: all held")
    click.echo("\n".join(runner.summary(sums)))
    click.echo(f"  {'log of the last one':32} {last.digest}")
    click.echo(f"  {'points and disk steps to stop at':32} {last.points:,} and {last.steps:,}")


def _runner() -> Any:
    """The simulator's own module: it is no part of the package."""
    if not (CHECKOUT / "tests" / "sim" / "runner.py").is_file():
        raise click.ClickException("the simulator is not in the package: run dex sim in a checkout")
    if str(CHECKOUT) not in sys.path:
        sys.path.append(str(CHECKOUT))
    try:
        return importlib.import_module("tests.sim.runner")
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"the simulator needs {error.name}, which is not installed: run make dev in the "
            "checkout"
        ) from None


def _refuse_unreached(
    seed: int, report: Any, stop_at_point: int | None, stop_at_step: int | None
) -> None:
    """A power failure that never came proves nothing."""
    for asked, had, what in (
        (stop_at_point, report.points, "points"),
        (stop_at_step, report.steps, "disk steps"),
    ):
        if asked is not None and asked > had:
            raise click.ClickException(
                f"seed {seed}: the history has only {had:,} {what}, power never failed"
            )


def _failure(failed: Any, *, shown: bool) -> click.ClickException:
    """What failed, how it came to that, and how to see it again."""
    if not shown:
        click.echo("".join(["the last events:\n", *failed.tail]), nl=False)
    return click.ClickException(f"{failed}\nreplay: {failed.command} --trace")
