"""The exchange against its naive twin: answers, trades, balances and books after every command."""

from __future__ import annotations

from collections import Counter

from tests.unit.core.beside_twin import run_beside
from tests.unit.core.exchanges import seed_of
from tests.unit.core.features import EXPECTED

RUNS, COMMANDS = 50, 2_000


def test_a_short_run_matches_the_twin() -> None:
    """Of one seed, so that what breaks the core is found each time."""
    for seed in ("one", "two"):
        run_beside(seed, 1_000)


def test_a_hundred_thousand_random_commands_match_the_twin() -> None:
    seed = seed_of("tests/property/test_exchange_twin.py -k hundred_thousand")
    met: Counter[str] = Counter()
    for run in range(RUNS):
        met.update(run_beside(f"{seed} {run}", COMMANDS))
    print("\n".join(f"{count:9,} {name}" for name, count in sorted(met.items())))
    assert met["commands"] == 100_000
    missing = [name for name in sorted(EXPECTED) if not met[name]]
    assert not missing, f"never met: {missing}"
