"""The command line: ``dex``."""

from __future__ import annotations

from dexnode.cli.root import main

__all__ = ["main"]
