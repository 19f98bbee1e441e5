"""The whole table: each sabotage is noticed by the test it names, and only because of it."""

from __future__ import annotations

import subprocess
import sys

from tests.sabotage.__main__ import red_word
from tests.sabotage.patches import load_all
from tests.sabotage.workshop import CHECKOUT, Outcome

TABLE_SECONDS_MAX = 600


def test_every_sabotage_bites() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.sabotage"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TABLE_SECONDS_MAX,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, "a sabotage is not noticed: see the table above"


def test_only_the_named_failure_counts() -> None:
    sabotage = load_all()[0]
    named = f"AssertionError: {sabotage.fails}"
    assert red_word(sabotage, Outcome("failed", [named])) == "yes"
    assert red_word(sabotage, Outcome("failed", ["ImportError: x", "import x"])) == "OTHER FAILURE"
    assert red_word(sabotage, Outcome("failed", [])) == "OTHER FAILURE"
    assert red_word(sabotage, Outcome("passed", [])) == "NOT NOTICED"
    assert red_word(sabotage, Outcome("setup failed", [named])) == "SETUP FAILED"
    assert red_word(sabotage, Outcome("absent", [named])) == "ABSENT"
