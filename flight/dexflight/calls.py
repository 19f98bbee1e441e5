"""What the service keeps of a call while it runs: its headers, and the count of open streams."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from pyarrow import flight

Headers = Mapping[str, Sequence[str | bytes]]
# Every open stream holds a thread and the columns it reads.
STREAMS_MAX = 64
# Name under which a handler finds its Call.
CALL = "call"


class Call(flight.ServerMiddleware):  # type: ignore[misc]
    """One call: its headers, and whether it holds one of the open streams."""

    def __init__(self, headers: Headers, calls: Calls) -> None:
        self.headers = headers
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
    """Makes a Call of every call and counts the open streams of them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams = 0

    def start_call(self, info: flight.CallInfo, headers: Headers) -> Call:
        """Called by pyarrow at the start of every call."""
        del info
        return Call(headers, self)

    def count(self, change: int) -> bool:
        """Change the number of open streams, unless that makes too many."""
        with self._lock:
            if self._streams + change > STREAMS_MAX:
                return False
            self._streams += change
            return True
