"""Logs are one JSON object a line, carry what was bound, and hold no secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from dexnode.logs import configure_logs
from dexnode.secret import Secret
from dexnode.settings import TelemetrySettings

HUSH = "open-sesame-7f3a"


@pytest.fixture
def configured() -> Iterator[Callable[..., io.StringIO]]:
    root = logging.getLogger()
    before = (root.handlers, root.level)

    def configure(**settings: Any) -> io.StringIO:
        stream = io.StringIO()
        configure_logs(TelemetrySettings(**settings), stream)
        return stream

    yield configure
    root.handlers, level = before
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_when_where_and_what(configured: Callable[..., io.StringIO]) -> None:
    stream = configured()
    log = structlog.stdlib.get_logger("dexnode.test")
    with structlog.contextvars.bound_contextvars(order_id="00ff", trace_id="ab"):
        log.info("order placed", quantity_lots=5)
    log.debug("not at this level")
    [line] = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "order placed",
        "level": "info",
        "logger": "dexnode.test",
        "order_id": "00ff",
        "quantity_lots": 5,
        "trace_id": "ab",
    }


def test_lines_of_libraries_come_out_the_same_way(
    configured: Callable[..., io.StringIO],
) -> None:
    stream = configured(log_level="warning")
    with structlog.contextvars.bound_contextvars(order_id="00ff"):
        logging.getLogger("some.library").warning("lost %d of %s", 3, "x", extra={"api_key": HUSH})
    logging.getLogger("some.library").info("not at this level")
    [line] = lines(stream)
    assert (line["event"], line["order_id"], line["level"]) == ("lost 3 of x", "00ff", "warning")
    assert line["api_key"] == "********"
    assert HUSH not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_nothing_secret_is_printed(configured: Callable[..., io.StringIO], log_format: str) -> None:
    stream = configured(log_format=log_format)
    log = structlog.stdlib.get_logger("dexnode.test")
    log.info(
        "started",
        private_key=HUSH,
        authorization=f"Dex {HUSH}",
        settings={"db": {"password": HUSH}, "headers": [("x", {"access_token": HUSH})]},
        value=Secret(HUSH),
        values=[Secret(HUSH)],
    )
    log.info("interpolated %s", Secret(HUSH))
    log.bind(seed_phrase=HUSH, wallet_mnemonic=HUSH, apiKey=HUSH).warning("bound")

    def fail(secret_argument: str) -> None:
        local_copy = secret_argument
        raise RuntimeError(f"failed with {len(local_copy)} characters")

    try:
        fail(HUSH)
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("some.library").exception("failed too")
    text = stream.getvalue()
    assert text.count("RuntimeError") >= 2
    assert HUSH not in text
    assert "********" in text


def test_what_only_sounds_alike_is_kept(configured: Callable[..., io.StringIO]) -> None:
    stream = configured()
    structlog.stdlib.get_logger("t").info(
        "x", public_key="aa", key="market", tokens=5, seed=1, monkey="b", private_key=None
    )
    [line] = lines(stream)
    kept = {name: line[name] for name in ("public_key", "key", "tokens", "seed", "monkey")}
    assert kept == {"public_key": "aa", "key": "market", "tokens": 5, "seed": 1, "monkey": "b"}
    assert line["private_key"] is None


def test_auto_is_json_off_a_terminal_and_console_is_for_people(
    configured: Callable[..., io.StringIO],
) -> None:
    stream = configured(log_format="auto")
    structlog.stdlib.get_logger("t").info("hello")
    assert lines(stream)[0]["event"] == "hello"
    stream = configured(log_format="console")
    structlog.stdlib.get_logger("t").info("hello", order_id="00ff")
    assert "hello" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
