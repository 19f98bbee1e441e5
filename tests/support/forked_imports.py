"""Everything a node imports when it runs, for the process that nodes are forked from."""

from __future__ import annotations

import gc

import dexnode.cli.node_commands
import dexnode.logs
import dexnode.node
import dexnode.telemetry
import tests.support.volatile_node

__all__: list[str] = []
_ = (dexnode, tests)

# Children collect garbage too: what is here already is not theirs to look at, and stays shared.
gc.collect()
gc.freeze()
