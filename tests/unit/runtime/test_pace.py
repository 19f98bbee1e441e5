"""A process that takes its time leaves most of a core, and then hurries."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

from dexruntime import pace

# Burns so much CPU; says how much that was and how long it rested for it.
BURNER: Final = """
import json, sys, time
from dexruntime import pace

rested, sleep = 0.0, time.sleep

def rest(seconds):
    global rested
    rested += seconds
    sleep(seconds)

time.sleep = rest
used = time.process_time()
with pace.unhurried(float(sys.argv[1])):
    while time.process_time() - used < float(sys.argv[2]):
        pass
print(json.dumps([time.process_time() - used, rested]))
"""


def burn(unhurried_seconds: float, cpu_seconds: float) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", BURNER, str(unhurried_seconds), str(cpu_seconds)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    used, rested = json.loads(done.stdout)
    return used, rested


def test_no_more_than_its_share_while_it_takes_its_time() -> None:
    used, rested = burn(60, 0.3)
    # The last slice may be without its rest, and a kernel's tick is some milliseconds.
    assert used - 0.05 <= pace.SHARE * (used + rested), "took more of the core than its share"


def test_when_the_time_is_over_it_rests_no_more() -> None:
    _, rested = burn(0.2, 0.4)
    assert rested <= 0.2, "went on resting"
    assert burn(0, 0.1)[1] == 0, "rested without being told"
