"""What is remembered of a signed command: plain values, and all that its sender was told."""

from __future__ import annotations

import pytest

from dexcore.commands import decode_command
from dexcore.exchange import Exchange
from dexcore.nonces import answered, row_of
from dexcore.results import Outcome
from tests.unit.core.test_golden import GOLDENS


def told(outcome: Outcome) -> tuple[object, ...]:
    return (
        *(outcome.sequence, outcome.time_ns, outcome.reason, outcome.field, outcome.key),
        *(outcome.results, outcome.amounts),
    )


@pytest.mark.parametrize("name", GOLDENS)
def test_an_answer_is_kept_whole_in_plain_values(name: str) -> None:
    exchange = Exchange()
    rows = exchange.nonces.rows
    checked = fills = 0
    for sequence, (time_ns, data) in enumerate(GOLDENS[name]["commands"], 1):
        known = len(rows)
        outcome = exchange.apply(sequence, time_ns, decode_command(bytes.fromhex(data)))
        if outcome.repeated or len(rows) != known + 1:
            continue
        row = rows[next(reversed(rows))]
        assert {type(value) for value in row} <= {int, str, bytes}, "the collector walks through it"
        answer = answered(row)
        assert answer[2:] == told(outcome), "a retry is told something else"
        assert row_of(*answer) == row
        checked += 1
        fills += sum(len(item.fills) for item in outcome.items)
    assert checked
    assert fills or "keys" in name or "epochs" in name
