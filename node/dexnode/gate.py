"""The node's gate: what is too much at the moment is refused before any work is done for it.

Theory of operation. Everything a node does for a call is bounded by how many calls it lets in: each
waits for a signature, for the sequencer and for the disk, and leaves when it has its answer. So the
number of unary calls inside is the length of the queue, whatever they wait for, and the rate at
which they leave says how long the next would wait. Past the ceiling a call is refused in the
reader's task, before a task is made or its message read, with that time as RetryInfo.

One connection gets half of the ceiling at most. Cancels get a quarter more than the rest, since who
cannot cancel is stuck with risk. Memory over its ceiling lets only cancels, operators and health
checks in.

Anyone can call an operator's method, and what comes of it is found out by a signature. These calls
have a ceiling of their own, so that no other load keeps an operator out; half of it is kept for
connections on which an operator has proven itself. A connection that has not may have an eighth of
it, and one call while memory is over its ceiling.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import Final, NamedTuple, final

from dex.errors.v1 import errors_pb2
from dexnode.admission import Admission
from dexnode.authz import ACCOUNT_READ, OPERATOR, PUBLIC_PREFIX, SIGNED, PermissionTable
from dexnode.errors import refuse
from dexnode.memory_watch import MemoryWatch
from dexnode.rate_limit import ClockNs
from dexnode.settings import LimitSettings
from dexrpc import Method, MethodKind, Peer, RpcError
from dexruntime.drain_rate import DELAY_NS_MAX, DrainRate

CANCEL_METHODS: Final = frozenset({"CancelOrder", "CancelAll", "SetDeadMansSwitch"})
# Delays are told in steps, so that a refusal is made once and sent many times.
DELAY_STEP_NS: Final = 50 * 10**6
_STATE: Final = "gate"


class _Kind(enum.IntEnum):
    """What a method is to the gate."""

    OPEN = 0
    """Always let in: it looks at nothing and waits for nothing."""
    CALL = 1
    CANCEL = 2
    SUBSCRIBER = 3
    SESSION = 4
    """Any other stream: it holds its sender back by itself, and is counted by itself."""
    OPERATOR = 5


# The kinds whose number inside is the length of the queue.
_CALLS: Final = frozenset({_Kind.CALL, _Kind.CANCEL})


class _Rule(NamedTuple):
    kind: _Kind
    proves: bool
    """Whether a signature or token is looked at."""


class Ceiling(NamedTuple):
    """One ceiling at the moment, for the metrics."""

    name: str
    used: int
    limit: int


@final
class NodeGate:
    """The dexrpc.Gate of a node."""

    def __init__(
        self,
        settings: LimitSettings,
        permissions: PermissionTable,
        admission: Admission,
        memory: MemoryWatch,
        refused: Callable[[str, str], None],
        clock_ns: ClockNs = time.monotonic_ns,
    ) -> None:
        """`refused(reason, ceiling)` is called for everything that is not let in."""
        self._permissions = permissions
        self._admission = admission
        self._memory = memory
        self._refused = refused
        self._clock_ns = clock_ns
        self._rules: dict[str, _Rule] = {}
        self._rate = DrainRate()
        self._errors: dict[tuple[str, int], RpcError] = {}
        self._used = [0] * len(_Kind)
        self._calls = 0
        calls_max = settings.calls_in_flight_max
        self._calls_max = calls_max
        self._connection_calls_max = max(1, calls_max // 2)
        self._subscribers_max = settings.subscribers_max
        self._connection_subscribers_max = settings.subscribers_per_connection_max
        self._sessions_max = settings.sessions_max
        self._connection_sessions_max = settings.sessions_per_connection_max
        self._operator_calls_max = settings.operator_calls_max

    @property
    def calls_in_flight(self) -> int:
        """Unary calls inside that wait for the node, cancels among them."""
        return self._calls

    def ceilings(self) -> tuple[Ceiling, ...]:
        """Where every ceiling stands."""
        memory = self._memory
        return (
            Ceiling("calls", self._calls, self._calls_max),
            Ceiling("operator_calls", self._used[_Kind.OPERATOR], self._operator_calls_max),
            Ceiling("sessions", self._used[_Kind.SESSION], self._sessions_max),
            Ceiling("subscribers", self._used[_Kind.SUBSCRIBER], self._subscribers_max),
            Ceiling("memory_bytes", memory.resident_bytes, memory.bytes_max),
        )

    def admit(self, method: Method, peer: Peer) -> RpcError | None:
        """See dexrpc.Gate."""
        rule = self._rules.get(method.path) or self._rule(method)
        kind = rule.kind
        if kind is _Kind.OPEN:
            return None
        if rule.proves:
            cooling = self._admission.cooling(peer)
            if cooling is not None:
                self._refused("COOLING_DOWN", "cool_down")
                return cooling
        counts = peer.state.get(_STATE)
        if counts is None:
            counts = peer.state[_STATE] = [0] * len(_Kind)
        ceiling = self._ceiling_met(kind, counts, peer)
        if ceiling:
            self._refused("OVERLOADED", ceiling)
            return self._overloaded(ceiling)
        counts[kind] += 1
        self._used[kind] += 1
        if kind in _CALLS:
            self._calls += 1
        return None

    def leave(self, method: Method, peer: Peer) -> None:
        """See dexrpc.Gate."""
        kind = self._rules[method.path].kind
        if kind is _Kind.OPEN:
            return
        peer.state[_STATE][kind] -= 1
        self._used[kind] -= 1
        if kind in _CALLS:
            self._calls -= 1
            self._rate.drained(1, self._clock_ns(), is_busy=self._calls > 0)

    def _ceiling_met(self, kind: _Kind, counts: list[int], peer: Peer) -> str:
        """The ceiling that keeps a call of that kind out, or nothing."""
        if kind is _Kind.CANCEL:
            over = self._calls >= self._calls_max * 5 // 4
            return "calls" if over else ""
        if kind is _Kind.OPERATOR:
            return self._operator_ceiling_met(counts[kind], peer)
        if self._memory.is_high:
            return "memory"
        if kind is _Kind.CALL:
            if self._calls >= self._calls_max:
                return "calls"
            if counts[_Kind.CALL] >= self._connection_calls_max:
                return "connection_calls"
        elif kind is _Kind.SUBSCRIBER:
            if self._used[kind] >= self._subscribers_max:
                return "subscribers"
            if counts[kind] >= self._connection_subscribers_max:
                return "connection_subscribers"
        elif self._used[kind] >= self._sessions_max:
            return "sessions"
        elif counts[kind] >= self._connection_sessions_max:
            return "connection_sessions"
        return ""

    def _operator_ceiling_met(self, count: int, peer: Peer) -> str:
        """The same for an operator's method, of which this connection has `count` inside."""
        used, used_max = self._used[_Kind.OPERATOR], self._operator_calls_max
        if self._admission.is_operator(peer):
            return "operator_calls" if used >= used_max else ""
        if used >= max(1, used_max // 2):
            return "operator_calls"
        connection_max = 1 if self._memory.is_high else max(1, used_max // 8)
        return "connection_operator_calls" if count >= connection_max else ""

    def _overloaded(self, ceiling: str) -> RpcError:
        delay_ns = DELAY_NS_MAX if ceiling == "memory" else self._rate.delay_ns(self._calls)
        steps = -(-delay_ns // DELAY_STEP_NS)
        error = self._errors.get((ceiling, steps))
        if error is None:
            error = self._errors[ceiling, steps] = refuse(
                errors_pb2.ERROR_REASON_OVERLOADED,
                f"The node is at its ceiling of {ceiling.replace('_', ' ')}.",
                metadata={"ceiling": ceiling},
                retry_delay_ns=steps * DELAY_STEP_NS,
            )
        return error

    def _rule(self, method: Method) -> _Rule:
        asked = self._permissions.asked(method.path)
        permission = None if asked is None else asked.permission
        proves = permission in {SIGNED, ACCOUNT_READ, OPERATOR}
        if permission == OPERATOR:
            kind = _Kind.OPERATOR
        elif method.path.startswith(PUBLIC_PREFIX):
            is_unary = method.kind is MethodKind.UNARY_UNARY
            kind = _Kind.OPEN if is_unary else _Kind.SESSION
        elif method.kind is MethodKind.UNARY_STREAM:
            kind = _Kind.SUBSCRIBER
        elif method.kind is not MethodKind.UNARY_UNARY:
            kind = _Kind.SESSION
        elif method.path.rpartition("/")[2] in CANCEL_METHODS:
            kind = _Kind.CANCEL
        else:
            kind = _Kind.CALL
        rule = self._rules[method.path] = _Rule(kind, proves)
        return rule
