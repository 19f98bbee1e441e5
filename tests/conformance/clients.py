"""Small things the tests share: dialling probe methods, and waiting without sleeping blindly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import grpc

from tests.conformance.probe_service import PREFIX

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
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.01)
