"""Small things the tests share: dialling probe methods, and waiting for what they see."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc

from tests.conformance.probe_service import PREFIX
from tests.support.waiting import wait_until

DEADLINE_SECONDS = 15.0


def unary(channel: Any, name: str) -> Any:
    """A probe method that takes and gives one message."""
    return channel.unary_unary(PREFIX + name)


def unary_stream(channel: Any, name: str) -> Any:
    """A probe method that streams its answers."""
    return channel.unary_stream(PREFIX + name)


def stream_unary(channel: Any, name: str) -> Any:
    """A probe method that takes a stream."""
    return channel.stream_unary(PREFIX + name)


def stream_stream(channel: Any, name: str) -> Any:
    """A probe method that streams both ways."""
    return channel.stream_stream(PREFIX + name)


def counters(channel: grpc.Channel) -> dict[str, int]:
    """What the server's probe has counted."""
    counted: dict[str, int] = json.loads(unary(channel, "Counters")(b"", timeout=DEADLINE_SECONDS))
    return counted


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Poll until `condition` holds; fails after DEADLINE_SECONDS."""
    wait_until(condition, what, DEADLINE_SECONDS)
