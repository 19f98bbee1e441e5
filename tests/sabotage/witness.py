"""A pytest plugin for the copy: what each test raised, and where the code came from.

`pytest -p tests.sabotage.witness` writes a JSON file to TRIODEX_WITNESS. Reports of pytest would
not do: they print the source of the test, so the text of an assertion stands in them whether or
not it is the one that failed.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

OUTCOMES: dict[str, dict[str, Any]] = {}


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The error itself, or those in a group."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def evidence(error: BaseException) -> list[str]:
    """Type and message of what was raised, and the line of a test if that line raised it."""
    found = [f"{type(error).__name__}: {error}"]
    frames = traceback.extract_tb(error.__traceback__)
    if frames and f"{os.sep}tests{os.sep}" in frames[-1].filename:
        found.append(frames[-1].line or "")
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Keep what the test raised; a failure of its setup is not the test's own."""
    report = yield
    if call.when == "call" or report.outcome != "passed":
        found: list[str] = []
        if call.excinfo is not None and call.when == "call":
            found = [line for leaf in leaves(call.excinfo.value) for line in evidence(leaf)]
        OUTCOMES[item.nodeid] = {
            "outcome": report.outcome if call.when == "call" else f"{call.when} {report.outcome}",
            "evidence": found,
        }
    return report


def strays(checkout: Path) -> list[str]:
    """Modules that were imported from the checkout although this is a copy of it."""
    environment = checkout / ".venv"
    found = []
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not file:
            continue
        path = Path(file)
        if path.is_relative_to(checkout) and not path.is_relative_to(environment):
            found.append(file)
    return sorted(found)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was seen."""
    import dexcore

    seen = {
        "outcomes": OUTCOMES,
        "strays": strays(Path(os.environ["TRIODEX_CHECKOUT"])),
        "from_copy": Path(dexcore.__file__ or "").is_relative_to(session.config.rootpath),
    }
    Path(os.environ["TRIODEX_WITNESS"]).write_text(json.dumps(seen))
