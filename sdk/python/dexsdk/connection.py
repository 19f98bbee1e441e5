"""What both clients make of their arguments."""

from __future__ import annotations

from dexsdk.channel import Tls
from dexsdk.errors import CallerError
from dexsdk.keys import Key
from dexsdk.session import Session
from dexsdk.times import NS_PER_SECOND


def make_session(
    network_id: str,
    key: Key | None,
    account_id: str | None,
    timeout_seconds: float,
    reconnect_timeout_seconds: float,
) -> Session:
    """The session of a client."""
    return Session(
        network_id=network_id,
        key=key,
        account_id=account_id or "",
        timeout_ns=int(timeout_seconds * NS_PER_SECOND),
        reconnect_timeout_ns=int(reconnect_timeout_seconds * NS_PER_SECOND),
    )


def flight_target(
    address: str, flight_address: str | None, tls: Tls | None
) -> tuple[str, Tls | None]:
    """Where Flight is: as given, else one port above gRPC's (7400, 7401)."""
    if flight_address is None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise CallerError("FIELD_INVALID", "an address is host:port", field="address")
        flight_address = f"{host}:{int(port) + 1}"
    return flight_address, tls
