"""Running seeds: what `dex sim`, the tests and the soak have in common."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final

from tests.sim.events import SECOND_NS
from tests.sim.simulation import Plan, Report, Simulation

TAIL_LINES: Final = 25
# What the summary tells first, in this order; all else follows by name.
FIRST: Final = ("payloads sent", "answers", "answers given again", "records", "snapshots")


class Failed(Exception):
    """A seed failed; ``tail`` is the end of its log, ``command`` shows it again."""

    def __init__(self, seed: int, command: str, cause: BaseException, tail: list[str]) -> None:
        super().__init__(f"seed {seed}: {type(cause).__name__}: {cause}")
        self.seed = seed
        self.command = command
        self.cause = cause
        self.tail = tail

    def __reduce__(self) -> tuple[type[Failed], tuple[object, ...]]:
        """From one process to another, as the soak runs it."""
        return Failed, (self.seed, self.command, self.cause, self.tail)


def run_seed(
    seed: int,
    *,
    stop_at_point: int = 0,
    stop_at_step: int = 0,
    lie: str = "",
    bad_network: bool = False,
    sink: Callable[[str], object] | None = None,
    steps: bool = False,
) -> Report:
    """Run one history; raises Failed.

    With a point or step to stop the machine at, the history has no other misfortune.
    """
    plan = Plan.of(seed)
    command = f"dex sim --seed {seed}"
    if stop_at_point or stop_at_step:
        plan = plan.alone(stop_at_point, stop_at_step)
    if bad_network:
        plan = plan.on_a_bad_network()
        command += " --bad-network"
    for option, value in (
        ("stop-at-point", stop_at_point),
        ("stop-at-step", stop_at_step),
        ("lie", lie),
    ):
        command += f" --{option} {value}" if value else ""
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def keep(line: str) -> None:
        tail.append(line)
        if sink is not None:
            sink(line)

    simulation = Simulation(seed, plan, keep, steps=steps, lie=lie)
    try:
        return simulation.run()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Failed(seed, command, _cause(error), list(tail)) from error


def totals(reports: Iterable[Report]) -> Counter[str]:
    """What happened in several histories together."""
    sums: Counter[str] = Counter()
    for report in reports:
        sums.update(report.counts)
        sums["histories"] += 1
        sums["events"] += report.events
        sums["virtual seconds"] += report.virtual_ns // SECOND_NS
    return +sums


def summary(sums: Counter[str]) -> list[str]:
    """The totals for people, a line each."""
    order = {name: at for at, name in enumerate(FIRST)}
    names = sorted(sums, key=lambda name: (order.get(name, len(order)), name))
    return [f"  {name:32} {sums[name]:>12,}" for name in names if sums[name]]


def _cause(error: BaseException) -> BaseException:
    """The first error of a group: it is what went wrong, the rest followed."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
