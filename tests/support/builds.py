"""The compiled build of the core, for tests that hold it beside the interpreted one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dexcompiled import CORE, FOLDER, build_of

ROOT = Path(__file__).parents[2]


def need_compiled() -> None:
    """Skip where the core is not compiled; with CI=true fail where it could have been."""
    here = build_of(CORE, FOLDER, "")
    if here.folder is not None:
        return
    can = subprocess.run(
        [sys.executable, str(ROOT / "tools/compile_core.py"), "--can"], check=False
    )
    if os.environ.get("CI") == "true" and can.returncode == 0:
        pytest.fail(f"not run: {here.why}")
    pytest.skip(f"not run: {here.why}")
