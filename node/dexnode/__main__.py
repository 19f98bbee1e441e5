"""``python -m dexnode``: the same as ``dex``."""

from __future__ import annotations

from dexnode.cli import main

if __name__ == "__main__":
    main()
