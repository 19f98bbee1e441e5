"""The whole table: each sabotage is noticed by the test it names, and only because of it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.sabotage.__main__ import red_word
from tests.sabotage.patches import Hunk, Sabotage, load_all
from tests.sabotage.workshop import CHECKOUT, Outcome, Workshop

TABLE_SECONDS_MAX = 1_100


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


RULES = "tests/unit/acceptance/test_trading_rules.py::"
CHARGE = "    total_atoms = -(-accrued // PPM)\n"


def broken(test: str, fails: str, new: str) -> Sabotage:
    """The rounding of fees, with something else in its place."""
    return Sabotage(
        "made up", RULES + test, fails, "", (Hunk("core/dexcore/funds.py", CHARGE, new),)
    )


def test_what_does_not_prove_anything_is_no_bite(tmp_path: Path) -> None:
    fee, other = "test_a_fee_is_rounded_up", "test_a_post_only_order_never_takes"
    down = "    total_atoms = accrued // PPM\n"
    cases = [
        (broken(fee, "== [TAKER_FEE_ATOMS]", down), "yes"),
        (broken(fee, "some other assertion", down), "OTHER FAILURE"),
        # The asserting line stands in the traceback, but it is not what failed.
        (broken(fee, "[result] = world.order", "    total_atoms = missing\n"), "OTHER FAILURE"),
        (broken(other, "assert refused", down), "NOT NOTICED"),
        (broken("test_nobody_wrote", "assert", down), "ABSENT"),
        (broken(fee, "SyntaxError", "    total_atoms = = 1\n"), "ABSENT"),
        # The code is mended after each.
        (broken(fee, "", CHARGE + "\n"), "NOT NOTICED"),
    ]
    with closing(Workshop(tmp_path)) as workshop:
        words = [red_word(case, workshop.judge_broken(case)[0]) for case, _ in cases]
    assert words == [word for _, word in cases]


def test_only_the_named_failure_counts() -> None:
    sabotage = load_all()[0]
    named = f"AssertionError: {sabotage.fails}"
    assert red_word(sabotage, Outcome("failed", [named])) == "yes"
    assert red_word(sabotage, Outcome("failed", ["ImportError: x", "import x"])) == "OTHER FAILURE"
    assert red_word(sabotage, Outcome("failed", [])) == "OTHER FAILURE"
    assert red_word(sabotage, Outcome("passed", [])) == "NOT NOTICED"
    assert red_word(sabotage, Outcome("setup failed", [named])) == "SETUP FAILED"
    assert red_word(sabotage, Outcome("absent", [named])) == "ABSENT"
