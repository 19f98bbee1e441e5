"""How much work the interpreted core does: counted, so that a test asserts no speed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from dexcompiled import BUILD, COMPILED


def bytecodes(act: Callable[[], object]) -> int:
    """How many bytecodes of Python a call runs; skips the test where the core is compiled.

    What C does at one of them, sorting a list, counts as one.
    """
    if BUILD.kind == COMPILED:
        pytest.skip("compiled code runs no bytecodes to count")
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count
