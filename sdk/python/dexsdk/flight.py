"""Performs a Pull: GetFlightInfo with the access token, then DoGet, by blocking."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import grpc

from dexsdk.channel import Tls
from dexsdk.effects import Pull
from dexsdk.errors import DexError, Unavailable, from_status, status_code

if TYPE_CHECKING:
    import pyarrow as pa

_CALL_TIMEOUT_SECONDS: Final = 300.0


def pull_table(address: str, tls: Tls | None, pull: Pull, stop: threading.Event) -> pa.Table:
    """The rows of a query as one table; `stop` ends it early, with Unavailable.

    pyarrow is imported here, so that a client that never pulls does not need it loaded.
    """
    import pyarrow as pa
    from pyarrow import flight

    headers = [(name.encode(), value.encode()) for name, value in pull.metadata]
    options = flight.FlightCallOptions(timeout=_CALL_TIMEOUT_SECONDS, headers=headers)
    descriptor = flight.FlightDescriptor.for_command(pull.query.SerializeToString())
    try:
        with _connect(address, tls) as client:
            info = client.get_flight_info(descriptor, options)
            batches: list[pa.RecordBatch] = []
            schema = info.schema
            for endpoint in info.endpoints:
                # The node serves every endpoint itself: the connection at hand is the right one.
                reader = client.do_get(endpoint.ticket, options)
                schema = reader.schema
                for chunk in reader:
                    if stop.is_set():
                        reader.cancel()
                        raise Unavailable("CANCELLED", "the pull was given up")
                    batches.append(chunk.data)
            return pa.Table.from_batches(batches, schema)
    except (flight.FlightError, pa.ArrowException) as error:
        raise _dex_error(error) from error


def _connect(address: str, tls: Tls | None) -> Any:
    from pyarrow import flight

    if tls is None:
        return flight.connect(f"grpc+tcp://{address}")
    ca, private_key, certificate = tls.pems()
    return flight.connect(
        f"grpc+tls://{address}",
        tls_root_certs=ca,
        private_key=private_key,
        cert_chain=certificate,
    )


def _dex_error(error: Exception) -> DexError:
    from pyarrow import flight

    details: bytes = getattr(error, "extra_info", b"")
    codes: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
        (flight.FlightUnavailableError, grpc.StatusCode.UNAVAILABLE),
        (flight.FlightTimedOutError, grpc.StatusCode.DEADLINE_EXCEEDED),
        (flight.FlightCancelledError, grpc.StatusCode.CANCELLED),
        (flight.FlightUnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
        (flight.FlightUnauthorizedError, grpc.StatusCode.PERMISSION_DENIED),
    )
    code = next((code for kind, code in codes if isinstance(error, kind)), None)
    if code is None:
        # Flight has few kinds of its own; the node's Status says which it is.
        code = status_code(details) or grpc.StatusCode.INTERNAL
    return from_status(code, str(error), details)
