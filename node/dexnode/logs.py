"""Structured logs: one event a line, as JSON or for a console, with nothing secret in it.

Call and order ids are bound once (`structlog.contextvars.bind_contextvars(order_id=...)`) and stand
in every line of the same task. Lines of libraries, which use the standard module, come out the same
way and pass the same redaction.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog

from dexnode.secret import MASK, Secret
from dexnode.settings import TelemetrySettings

# A public key is no secret, and neither is a market's or an idempotency key.
_SECRET_NAME: Final = re.compile(
    r"secret|passw(or)?d|passphrase|mnemonic|seed_phrase|credential|authorization|api_?key"
    r"|(private|signing|secret|session|master)_?key|(^|_)token$|access_token|bearer|cookie",
    re.IGNORECASE,
)
_DEPTH_MAX: Final = 6
NOISY: Final = ("hpack", "h2", "grpc", "urllib3", "opentelemetry.attributes")
# Locals would show keys and payloads that no redaction by name can find.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def redact(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Masks every Secret, and every value under a name that sounds like a key to something."""
    return {name: _clean(name, value, _DEPTH_MAX) for name, value in event.items()}


def _clean(name: str, value: Any, depth: int) -> Any:
    if isinstance(value, Secret) or (value and _SECRET_NAME.search(name)):
        return MASK
    if depth == 0:
        return value
    if isinstance(value, Mapping):
        return {key: _clean(str(key), item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", item, depth - 1) for item in value]
    return value


def configure_logs(settings: TelemetrySettings, stream: TextIO | None = None) -> None:
    """Send structlog and the standard module's logs to `stream`, standard error by default."""
    target = sys.stderr if stream is None else stream
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    is_console = settings.log_format == "console" or (
        settings.log_format == "auto" and target.isatty()
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact]
    if is_console:
        renderer = structlog.dev.ConsoleRenderer(
            colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        last.append(renderer)
    else:
        last += [_TRACEBACKS, structlog.processors.JSONRenderer()]
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
