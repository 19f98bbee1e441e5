"""Which verbs are served and to whom, and what is kept of a call: the count of open streams.

A call is refused here, before its handler, so that one rule covers the verbs that have none.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from pyarrow import flight

from dex.errors.v1 import errors_pb2
from dexflight.refusal import internal, not_served, unauthenticated

Headers = Mapping[str, Sequence[str | bytes]]
# Every open stream holds a thread and the columns it reads.
STREAMS_MAX = 64
# Name under which a handler finds its Call.
CALL = "call"
_log = logging.getLogger("dexflight")


# Verbs whose caller is asked who it is, where anyone is; DoGet asks for a ticket instead, always.
# A verb that is not among these is served to nobody.
_ASKED = frozenset(
    {
        flight.FlightMethod.LIST_FLIGHTS,
        flight.FlightMethod.GET_FLIGHT_INFO,
        flight.FlightMethod.GET_SCHEMA,
    }
)
_BY_TICKET = frozenset({flight.FlightMethod.DO_GET})


class Call(flight.ServerMiddleware):  # type: ignore[misc]
    """One call, and whether it holds one of the open streams."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._streaming = False

    def open_stream(self) -> bool:
        """Count this call as an open stream until it ends; False when too many are open."""
        self._streaming = self._calls.count(1)
        return self._streaming

    def call_completed(self, exception: BaseException | None) -> None:
        """Called by pyarrow when the last byte is sent or the call has failed."""
        del exception
        if self._streaming:
            self._calls.count(-1)


class Calls(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Admits every call or refuses it, and counts the open streams of them all."""

    def __init__(self, authenticate: Callable[[Headers], object] | None = None) -> None:
        """`authenticate` raises PermissionError to refuse; None admits everyone."""
        self._authenticate = authenticate
        self._lock = threading.Lock()
        self._streams = 0

    def start_call(self, info: flight.CallInfo, headers: Headers) -> Call:
        """Called by pyarrow at the start of every call. Raises a refusal."""
        if info.method in _ASKED:
            self._admit(headers)
        elif info.method not in _BY_TICKET:
            raise not_served()
        return Call(self)

    def _admit(self, headers: Headers) -> None:
        if self._authenticate is None:
            return
        try:
            self._authenticate(headers)
        except PermissionError as error:
            reason = errors_pb2.ERROR_REASON_UNAUTHENTICATED
            raise unauthenticated(reason, "authorization", str(error)) from None
        except Exception as error:
            _log.exception("a Flight caller could not be checked")
            raise internal() from error

    def count(self, change: int) -> bool:
        """Change the number of open streams, unless that makes too many."""
        with self._lock:
            if self._streams + change > STREAMS_MAX:
                return False
            self._streams += change
            return True
