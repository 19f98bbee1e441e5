"""The exchange as a pure state machine.

Commands go in with their sequence and time, events come out; the same commands
give the same events and the same state on every machine. Nothing here reads a
clock, draws a random number, touches a file or uses a float: time, ids and
references are inputs. See ``docs/architecture.md``.
"""

from __future__ import annotations

from dexcompiled import prefer_compiled

# Before anything of this package is imported: whether modules are the sources or made of them.
prefer_compiled(__name__, __path__)
