"""What operators ask of the node around the exchange is in its history and changes nothing else."""

from __future__ import annotations

from dexcore.checkpoint import encode_state
from dexcore.commands import RecordOperation
from dexcore.events import OperationRecorded
from dexcore.exchange import Exchange
from tests.unit.core.exchanges import START_NS


def test_a_recorded_operation_changes_the_history_alone() -> None:
    exchange, other = Exchange(), Exchange()
    outcome = exchange.apply(1, START_NS, RecordOperation("desk", "Drain"))
    assert outcome.events == [OperationRecorded("desk", "Drain")]
    other.apply(1, START_NS, RecordOperation("someone", "Drain"))
    assert exchange.event_hash != other.event_hash
    other.event_hash = exchange.event_hash
    assert encode_state(exchange) == encode_state(other)
