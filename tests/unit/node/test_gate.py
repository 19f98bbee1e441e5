"""The gate keeps out what is too much, cheaply, fairly, and for no longer than it is too much."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from google.rpc.error_details_pb2 import RetryInfo

from dex.errors.v1 import errors_pb2
from dexnode.admission import Admission
from dexnode.admission_interceptor import StrikeInterceptor
from dexnode.authz import PermissionTable
from dexnode.errors import error_info, refuse
from dexnode.gate import NodeGate
from dexnode.memory_watch import MemoryWatch, memory_there_is, resident_bytes
from dexnode.services import binding
from dexnode.settings import LimitSettings
from dexrpc import Method, MethodKind, Peer, RpcError

NS = 10**9
MS = 10**6
LIMITS = LimitSettings(
    calls_in_flight_max=8,
    subscribers_max=3,
    subscribers_per_connection_max=2,
    sessions_max=3,
    sessions_per_connection_max=2,
    operator_calls_max=16,
    bad_signatures_per_minute=1,
)


async def _never(*_arguments: object) -> None:
    raise AssertionError("the gate runs no handler")


def method(path: str, kind: MethodKind = MethodKind.UNARY_UNARY) -> Method:
    return Method(path, kind, _never, bytes, bytes)


PLACE = method("/dex.orders.v1.OrderIntake/PlaceOrder")
CANCEL = method("/dex.orders.v1.OrderIntake/CancelOrder")
STREAM = method("/dex.orders.v1.OrderIntake/OrderStream", MethodKind.STREAM_STREAM)
BOOK = method("/dex.matching.v1.Matching/GetBook")
FOLLOW = method("/dex.matching.v1.Matching/StreamBook", MethodKind.UNARY_STREAM)
STATUS = method("/dex.admin.v1.Admin/GetNodeStatus")
HEALTH = method("/grpc.health.v1.Health/Check")
WATCH = method("/grpc.health.v1.Health/Watch", MethodKind.UNARY_STREAM)
REFLECTION = method(
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", MethodKind.STREAM_STREAM
)


class Stand:
    """A gate, its clock, and what it counted."""

    def __init__(self) -> None:
        self.now_ns = NS
        self.refused: list[tuple[str, str]] = []
        self.memory = MemoryWatch(1_000)
        self.admission = Admission(LIMITS, lambda: self.now_ns)
        self.gate = NodeGate(
            LIMITS,
            PermissionTable.from_services(binding.SERVED),
            self.admission,
            self.memory,
            lambda reason, ceiling: self.refused.append((reason, ceiling)),
            lambda: self.now_ns,
        )

    def enter(self, what: Method, peer: Peer) -> str:
        """`in`, or the ceiling that was met."""
        error = self.gate.admit(what, peer)
        if error is None:
            return "in"
        info = error_info(error)
        assert info is not None
        return str(info.metadata.get("ceiling", info.reason))


@pytest.fixture
def stand() -> Stand:
    return Stand()


@pytest.fixture
def peers() -> Iterator[Peer]:
    return (Peer(f"10.0.0.{number}:1", False) for number in range(1_000))


def retry_ms(error: RpcError | None) -> int:
    assert error is not None
    [retry] = [detail for detail in error.details if isinstance(detail, RetryInfo)]
    return int(retry.retry_delay.ToMilliseconds())


def test_calls_are_bounded_and_one_connection_gets_half(
    stand: Stand, peers: Iterator[Peer]
) -> None:
    greedy = next(peers)
    assert [stand.enter(PLACE, greedy) for _ in range(5)] == ["in"] * 4 + ["connection_calls"]
    others = [stand.enter(BOOK, next(peers)) for _ in range(5)]
    assert others == ["in"] * 4 + ["calls"], "one connection took it all"
    stand.gate.leave(PLACE, greedy)
    assert stand.enter(PLACE, greedy) == "in", "room that was given back stays closed"
    assert stand.refused == [("OVERLOADED", "connection_calls"), ("OVERLOADED", "calls")]


def test_cancels_go_on_when_nothing_else_does(stand: Stand, peers: Iterator[Peer]) -> None:
    for _ in range(8):
        assert stand.enter(PLACE, next(peers)) == "in"
    assert stand.enter(PLACE, next(peers)) == "calls"
    assert stand.enter(CANCEL, next(peers)) == "in", "places starve cancels"
    assert stand.enter(CANCEL, next(peers)) == "in"
    assert stand.enter(CANCEL, next(peers)) == "calls", "cancels have no bound"
    assert stand.enter(STATUS, next(peers)) == "in", "the operator is kept out"
    assert stand.enter(HEALTH, next(peers)) == "in"


def test_subscribers_are_bounded_in_all_and_on_a_connection(
    stand: Stand, peers: Iterator[Peer]
) -> None:
    one = next(peers)
    assert [stand.enter(FOLLOW, one) for _ in range(3)] == [
        "in",
        "in",
        "connection_subscribers",
    ]
    assert stand.enter(FOLLOW, next(peers)) == "in"
    assert stand.enter(FOLLOW, next(peers)) == "subscribers"
    stand.gate.leave(FOLLOW, one)
    assert stand.enter(FOLLOW, next(peers)) == "in"
    assert {c.name: c.used for c in stand.gate.ceilings()}["subscribers"] == 3


def test_streams_of_any_other_kind_are_bounded_too(stand: Stand, peers: Iterator[Peer]) -> None:
    one = next(peers)
    assert [stand.enter(what, one) for what in (STREAM, WATCH, REFLECTION)] == [
        "in",
        "in",
        "connection_sessions",
    ]
    assert stand.enter(FOLLOW, one) == "in", "market data is counted with them"
    assert stand.enter(WATCH, next(peers)) == "in"
    assert stand.enter(REFLECTION, next(peers)) == "sessions"
    assert {c.name: c.used for c in stand.gate.ceilings()}["sessions"] == 3
    stand.gate.leave(WATCH, one)
    assert stand.enter(STREAM, next(peers)) == "in"


def test_strangers_cannot_take_the_operators_room(stand: Stand, peers: Iterator[Peer]) -> None:
    stranger, operator = next(peers), next(peers)
    stand.admission.note_operator(operator)
    assert [stand.enter(STATUS, stranger) for _ in range(3)] == [
        "in",
        "in",
        "connection_operator_calls",
    ]
    for _ in range(6):
        assert stand.enter(STATUS, next(peers)) == "in"
    assert stand.enter(STATUS, next(peers)) == "operator_calls"
    assert [stand.enter(STATUS, operator) for _ in range(9)] == ["in"] * 8 + ["operator_calls"]
    assert stand.enter(PLACE, next(peers)) == "in", "operators take the room of calls"
    assert {c.name: c.used for c in stand.gate.ceilings()}["operator_calls"] == 16
    stand.gate.leave(STATUS, operator)
    assert stand.enter(STATUS, operator) == "in"


def test_memory_over_its_ceiling_leaves_strangers_one_operator_call(
    stand: Stand, peers: Iterator[Peer]
) -> None:
    stranger, operator = next(peers), next(peers)
    stand.admission.note_operator(operator)
    stand.memory.look(1_000)
    assert [stand.enter(STATUS, stranger) for _ in range(2)] == ["in", "connection_operator_calls"]
    assert [stand.enter(STATUS, operator) for _ in range(4)] == ["in"] * 4
    assert stand.enter(HEALTH, stranger) == "in"
    assert stand.enter(WATCH, stranger) == "memory"


async def test_a_burst_behind_the_gate_is_not_looked_at_either(
    stand: Stand, peers: Iterator[Peer]
) -> None:
    forger = next(peers)
    strikes = StrikeInterceptor(stand.admission, PermissionTable.from_services(binding.SERVED))
    ctx: Any = SimpleNamespace(method=STATUS, peer=forger, state={})
    looked_at = 0

    async def verify() -> None:
        nonlocal looked_at
        looked_at += 1
        raise refuse(errors_pb2.ERROR_REASON_TOKEN_INVALID)

    for _ in range(20):
        with pytest.raises(RpcError):
            await strikes(ctx, verify)
    assert looked_at == 2, "a connection that cools down costs signatures"


def test_the_delay_is_as_long_as_the_queue_takes(stand: Stand, peers: Iterator[Peer]) -> None:
    """Eight calls inside that leave at ten a second take 800 ms."""
    inside = []
    for _ in range(8):
        peer = next(peers)
        stand.enter(PLACE, peer)
        inside.append(peer)
    assert retry_ms(stand.gate.admit(PLACE, next(peers))) == 100, "nothing was measured yet"
    for _ in range(30):
        stand.now_ns += 100 * MS
        stand.gate.leave(PLACE, inside.pop(0))
        inside.append(next(peers))
        assert stand.enter(PLACE, inside[-1]) == "in"
    assert retry_ms(stand.gate.admit(PLACE, next(peers))) == 800
    for _ in range(300):
        stand.now_ns += 20 * NS
        stand.gate.leave(PLACE, inside.pop(0))
        inside.append(next(peers))
        stand.enter(PLACE, inside[-1])
    assert retry_ms(stand.gate.admit(PLACE, next(peers))) == 5_000, "the delay has no bound"


def test_a_refusal_is_made_once_and_sent_many_times(stand: Stand, peers: Iterator[Peer]) -> None:
    for _ in range(8):
        stand.enter(PLACE, next(peers))
    first = stand.gate.admit(PLACE, next(peers))
    assert first is not None
    assert stand.gate.admit(BOOK, next(peers)) is first


def test_memory_over_its_ceiling_lets_only_cancels_in(stand: Stand, peers: Iterator[Peer]) -> None:
    stand.memory.look(999)
    assert stand.enter(PLACE, next(peers)) == "in"
    stand.memory.look(1_000)
    for what in (PLACE, BOOK, FOLLOW, STREAM):
        assert stand.enter(what, next(peers)) == "memory", what
    assert stand.enter(CANCEL, next(peers)) == "in"
    assert stand.enter(STATUS, next(peers)) == "in"
    stand.memory.look(980)
    assert stand.enter(PLACE, next(peers)) == "memory", "it opens and shuts at every look"
    stand.memory.look(969)
    assert stand.enter(PLACE, next(peers)) == "in"


def test_a_connection_that_cools_down_is_not_looked_at(stand: Stand, peers: Iterator[Peer]) -> None:
    forger, honest = next(peers), next(peers)
    bad = refuse(20)  # SIGNATURE_INVALID
    stand.admission.note_refusal(forger, bad)
    assert stand.enter(PLACE, forger) == "in"
    stand.admission.note_refusal(forger, bad)
    assert stand.enter(PLACE, forger) == "COOLING_DOWN"
    assert stand.enter(STREAM, forger) == "COOLING_DOWN"
    assert stand.enter(STATUS, forger) == "COOLING_DOWN", "tokens are looked at for ever"
    assert stand.enter(BOOK, forger) == "in", "what proves nothing is not refused"
    assert stand.enter(PLACE, honest) == "in"
    stand.now_ns += LIMITS.cool_down_seconds * NS
    assert stand.enter(PLACE, forger) == "in"


def test_the_watch_reads_this_process() -> None:
    assert 10 << 20 < resident_bytes() < memory_there_is()
    assert 0 < MemoryWatch(0).bytes_max < memory_there_is()
